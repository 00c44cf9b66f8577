"""The compiled gated recurrence against the oracle in float64: every instruction set, any number of threads.

A state is a mean of candidates and h0 with the weights of the gates, so it is as large as they are, and an
error made in one step shrinks in the next ones. The bounds of agreement.py, relative to the largest number,
then need no allowance for the length.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from grunlock.kernels import scan_autograd, scan_portable, scan_reference
from grunlock.kernels.library import LIBRARY_PATH, REFERENCE, use_kernel
from grunlock.kernels.scan import CELLS, SCAN_GATES, Cell, scan_backward, scan_forward
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

    gates = 2.0 * draw(N, directions * len(SCAN_GATES[cell]) * H)
    if cell == "given":
        gates = torch.sigmoid(gates)
    return Problem(
        gates,
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
@every_kernel
@pytest.mark.parametrize(("reverse", "h0"), list(product([False, True], repeat=2)))
def test_one_direction_agrees_with_the_oracle(name: str, reverse: bool, h0: bool) -> None:
    """keep and candidate apart, each some columns of another array."""

    def as_gated(scan: GatedScan) -> GatedScan:
        def run(
            gates: Tensor, sizes: list[int], cell: Cell, h0: Tensor | None, num_directions: int
        ) -> object:
            keep, candidate = gates.chunk(2, dim=1)
            first = None if h0 is None else h0[0]
            output, final = scan(keep, candidate, sizes, first, reverse=reverse)
            return output, final[None]

        return run

    case = Case((9, 5, 5, 2, 1, 1), 37, 1, h0)
    expected = solve(as_gated(scan_reference.linear_scan), case, "given", torch.float64)
    with kernel(name):
        found = solve(as_gated(scan_autograd.linear_scan), case, "given")
    assert_agrees(found, {name: value.float() for name, value in expected.items()})


@needs_library
@every_cell
@every_kernel
def test_arrays_of_numpy_give_the_same_bits(name: str, cell: Cell) -> None:
    case = Case((9, 5, 5, 2, 1, 1), 37, 1)
    problem = draw_problem(case, cell)
    assert problem.h0 is not None
    gates = [gate.numpy() for gate in problem.gates.chunk(len(SCAN_GATES[cell]), dim=1)]
    first, (doutput, dfinal) = problem.h0[0].numpy(), [c.numpy() for c in problem.cotangents]
    with kernel(name):
        expected = solve(scan_autograd.gated_scan, case, cell)
        output, final = scan_forward(gates, case.batch_sizes, first, cell=cell)
        dgates, dh0 = scan_backward(gates, output, doutput, case.batch_sizes, first, dfinal[0], cell=cell)
    found = {
        "output": output,
        "final": final[None],
        "grad_gates": np.concatenate(dgates, axis=1),
        "grad_h0": dh0[None],
    }
    assert same_bits({name: torch.from_numpy(value) for name, value in found.items()}, expected)


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
    ("n + k * (h - n)", "h + k * (n - h)"),
    ("np.tanh(candidate)", "candidate"),
    ("return f / (f + i), candidate", "return f, candidate"),
    ("doutput[rows] + running", "running"),
    ("dh[rows] * keep[rows]", "dh[rows]"),
    ("dh * (before - candidate)", "dh * (output - candidate)"),
    ("dh * (1 - keep)", "dh * keep"),
    ("return dk * (k * (1 - k)), dn\n", "return dk * k, dn\n"),
    ("dn * (1 - n * n)", "dn * (1 - n)"),
    ("slope * (i - 1)", "slope * (1 - i)"),
    ("_steps(batch_sizes, not reverse)", "_steps(batch_sizes, reverse)"),
]


def twin_differs(text: str) -> bool:
    """Whether this source, in place of scan_portable's, disagrees with the oracle somewhere."""
    namespace: dict[str, object] = {"__name__": "mutated_scan"}
    exec(compile(text, "mutated_scan.py", "exec"), namespace)

    class Twin(torch.autograd.Function):
        @staticmethod
        def forward(ctx, cell, sizes, reverse, h0, *gates):
            ctx.given = cell, sizes, reverse, h0, gates
            output, final = namespace["forward"]([g.numpy() for g in gates], sizes, h0.numpy(), cell, reverse)
            ctx.output = output
            return torch.from_numpy(output), torch.from_numpy(final)

        @staticmethod
        def backward(ctx, doutput, dfinal):
            cell, sizes, reverse, h0, gates = ctx.given
            rows = [g.numpy() for g in gates]
            arguments = ctx.output, doutput.numpy(), sizes, h0.numpy(), dfinal.numpy()
            dgates, dh0 = namespace["backward"](rows, *arguments, cell, reverse)
            return (None, None, None, *map(torch.from_numpy, (dh0, *dgates)))

    def scan(gates: Tensor, sizes: list[int], cell: Cell, h0: Tensor, *, num_directions: int) -> object:
        outputs, finals = [], []
        for place, columns in enumerate(gates.chunk(num_directions, dim=1)):
            parts = columns.chunk(len(SCAN_GATES[cell]), dim=1)
            output, final = Twin.apply(cell, sizes, place == 1, h0[place], *parts)
            outputs.append(output)
            finals.append(final)
        return torch.cat(outputs, dim=1), torch.stack(finals)

    try:
        for cell in CELLS:
            compare(scan, CASES[2], cell)
    except DisagreementError:
        return True
    return False


def test_planted_errors_are_caught() -> None:
    source = Path(scan_portable.__file__).read_text()
    assert not twin_differs(source)
    for old, new in MUTATIONS:
        assert source.count(old) == 1, f"the twin was rewritten: write this mutation anew: {old}"
        assert twin_differs(source.replace(old, new)), old


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
