"""The compiled gated recurrence against the oracle in float64: every instruction set, any number of threads.

A state is a mean of candidates and h0 with the weights of the gates, so it is as large as they are, and an
error made in one step shrinks in the next ones. The bounds of agreement.py, relative to the largest number,
then need no allowance for the length.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from grunlock.kernels import scan_autograd, scan_reference
from grunlock.kernels.library import LIBRARY_PATH, REFERENCE, use_kernel
from grunlock.kernels.scan import CELLS, SCAN_GATES, Cell, scan_forward
from tests.parity.agreement import DisagreementError, assert_agrees, with_gradients
from tests.parity.native_cases import kernel, usable_kernels

KERNELS = usable_kernels()
needs_library = pytest.mark.skipif(not KERNELS, reason="installed without compiled kernels")
every_kernel = pytest.mark.parametrize("name", KERNELS)
every_cell = pytest.mark.parametrize("cell", list(CELLS))

GatedScan = Callable[..., tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Case:
    """lengths: longest first."""

    lengths: tuple[int, ...]
    hidden_size: int
    num_directions: int = 2
    h0: bool = True

    @property
    def batch_sizes(self) -> list[int]:
        return [sum(length > t for length in self.lengths) for t in range(self.lengths[0])]

    def __str__(self) -> str:
        first = " h0" if self.h0 else ""
        return f"B{len(self.lengths)} T{self.lengths[0]} H{self.hidden_size} x{self.num_directions}{first}"


CASES = [
    Case((1,), 1, 1),
    Case((9, 5, 5, 2, 1, 1), 7, h0=False),
    Case((6, 6, 3), 33),
    Case((40, 40, 31, 7, 1), 65),
    Case((4,) * 70, 130, 1, h0=False),  # more sequences than a tile has
    Case((3, 2, 1), 1100),  # more units than a tile has
    Case((60,) * 20 + (59, 12, 3), 96),  # enough for threads
]
every_case = pytest.mark.parametrize("case", CASES, ids=str)


@dataclass(frozen=True)
class Problem:
    gates: Tensor  # [N, directions * gH]
    h0: Tensor | None  # [directions, B, H]
    cotangents: list[Tensor]


def draw_problem(case: Case, cell: Cell, seed: int = 0) -> Problem:
    random = torch.Generator().manual_seed(seed)
    B, H, N, directions = len(case.lengths), case.hidden_size, sum(case.lengths), case.num_directions

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    return Problem(
        2.0 * draw(N, directions * len(SCAN_GATES[cell]) * H),
        draw(directions, B, H) if case.h0 else None,
        [draw(N, directions * H), draw(directions, B, H)],
    )


def solve(scan: GatedScan, case: Case, cell: Cell, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Values and gradients."""
    problem = draw_problem(case, cell)
    leaves = {"gates": problem.gates.to(dtype).requires_grad_()}
    if problem.h0 is not None:
        leaves["h0"] = problem.h0.to(dtype).requires_grad_()
    output, final = scan(
        leaves["gates"], case.batch_sizes, cell, leaves.get("h0"), num_directions=case.num_directions
    )
    cotangents = [cotangent.to(dtype) for cotangent in problem.cotangents]
    return with_gradients({"output": output, "final": final}, leaves, cotangents)


def compare(scan: GatedScan, case: Case, cell: Cell) -> None:
    expected = solve(scan_reference.gated_scan, case, cell, torch.float64)
    assert_agrees(solve(scan, case, cell), {name: value.float() for name, value in expected.items()})


def same_bits(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(
        torch.equal(found[name], value) for name, value in expected.items()
    )


# ---- agreement --------------------------------------------------------------------------------------


@needs_library
@every_case
@every_cell
@every_kernel
def test_agrees_with_the_oracle(name: str, cell: Cell, case: Case) -> None:
    with kernel(name, threads=2):
        compare(scan_autograd.gated_scan, case, cell)


@needs_library
@every_cell
@every_kernel
def test_columns_of_wider_arrays(name: str, cell: Cell) -> None:
    """Gates are columns of another array, and so is the gradient of the output."""

    def scan(gates: Tensor, *others: object, num_directions: int) -> tuple[Tensor, Tensor]:
        wide = torch.cat([torch.zeros(len(gates), 5), gates], dim=1)
        output, final = scan_autograd.gated_scan(wide[:, 5:], *others, num_directions=num_directions)  # type: ignore[arg-type]
        return torch.cat([torch.ones_like(output), output], dim=1)[:, output.shape[1] :], final

    with kernel(name):
        compare(scan, CASES[2], cell)


@needs_library
@every_cell
@every_kernel
def test_arrays_of_numpy_give_the_same_bits(name: str, cell: Cell) -> None:
    case = Case((9, 5, 5, 2, 1, 1), 37, 1)
    problem = draw_problem(case, cell)
    assert problem.h0 is not None
    gates = [gate.numpy() for gate in problem.gates.chunk(len(SCAN_GATES[cell]), dim=1)]
    with kernel(name):
        expected = solve(scan_autograd.gated_scan, case, cell)
        output, final = scan_forward(gates, case.batch_sizes, problem.h0[0].numpy(), cell=cell)
    assert torch.equal(torch.from_numpy(output), expected["output"])
    assert torch.equal(torch.from_numpy(final[None]), expected["final"])


@needs_library
@every_cell
def test_gradients_of_one_result_alone(cell: Cell) -> None:
    """The other result's gradient is then not there, or zeros spread out of one number."""
    case = CASES[2]
    problem = draw_problem(case, cell)
    sizes, two = case.batch_sizes, case.num_directions

    def gradients(scan: GatedScan, dtype: torch.dtype, which: int) -> dict[str, Tensor]:
        gates = problem.gates.to(dtype).requires_grad_()
        result = scan(gates, sizes, cell, None, num_directions=two)[which]
        return {"gates": torch.autograd.grad(result.sum(), gates)[0].float()}

    for which in (0, 1):
        expected = gradients(scan_reference.gated_scan, torch.float64, which)
        assert_agrees(gradients(scan_autograd.gated_scan, torch.float32, which), expected)


# ---- threads ----------------------------------------------------------------------------------------


@needs_library
@every_case
@every_cell
@every_kernel
def test_results_do_not_depend_on_the_number_of_threads(name: str, cell: Cell, case: Case) -> None:
    with kernel(name, threads=1):
        alone = solve(scan_autograd.gated_scan, case, cell)
    for threads in (2, 3, 5):
        with kernel(name, threads):
            assert same_bits(solve(scan_autograd.gated_scan, case, cell), alone)


# ---- the comparison bites ---------------------------------------------------------------------------

MUTATIONS = [
    ("n + k * (h_prev - n)", "h_prev + k * (n - h_prev)"),
    ("torch.tanh(candidate)", "candidate"),
    ("torch.sigmoid(ratio), candidate", "torch.sigmoid(keep), candidate"),
    ("states * torch.sigmoid(parts[2])", "states"),
    ("states * torch.sigmoid(parts[2])", "states * torch.sigmoid(parts[2]).detach()"),
    ("return (n + k * (h_prev - n),)", "return (n + k * (h_prev.detach() - n),)"),
    ("reverse=place == 1", "reverse=False"),
    ("first = None if h0 is None else h0[place]", "first = None if h0 is None else h0[0]"),
]


def oracle_differs(text: str) -> bool:
    """Whether this source, in place of scan_reference's, disagrees with it somewhere."""
    namespace: dict[str, GatedScan] = {}
    exec(compile(text, "mutated_scan.py", "exec"), namespace)
    try:
        for cell in CELLS:
            compare(namespace["gated_scan"], CASES[2], cell)
    except DisagreementError:
        return True
    return False


def test_planted_errors_are_caught() -> None:
    """In the oracle: had the kernel such an error, it would differ from the oracle as much."""
    source = Path(scan_reference.__file__).read_text()
    assert not oracle_differs(source)
    for old, new in MUTATIONS:
        assert source.count(old) == 1, f"the oracle was rewritten: write this mutation anew: {old}"
        assert oracle_differs(source.replace(old, new)), new


def test_without_the_library_the_oracle_computes() -> None:
    if LIBRARY_PATH.is_file():
        use_kernel(REFERENCE)
    try:
        for cell in CELLS:
            assert same_bits(
                solve(scan_autograd.gated_scan, CASES[1], cell),
                solve(scan_reference.gated_scan, CASES[1], cell),
            )
    finally:
        use_kernel(None)
