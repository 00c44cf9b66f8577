"""The compiled window product against the oracle in float64: every instruction set, any number of threads.

Inputs are of size 1 and weights such that outputs are, too. A float32 sum of K products is off by some
u * sqrt(K) of its size, u = 2^-24: 1e-5 of the largest number leaves room for sums over all rows here.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from grunlock.errors import ShapeError
from grunlock.kernels import window, window_autograd, window_reference
from grunlock.kernels.library import LIBRARY_PATH, REFERENCE, use_kernel
from tests.parity.agreement import DisagreementError, assert_agrees, with_gradients
from tests.parity.native_cases import kernel, usable_kernels

KERNELS = usable_kernels()
needs_library = pytest.mark.skipif(not KERNELS, reason="installed without compiled kernels")
every_kernel = pytest.mark.parametrize("name", KERNELS)

WindowProduct = Callable[..., Tensor]


@dataclass(frozen=True)
class Case:
    """lengths: longest first. num_vectors: None for one of each row's own."""

    lengths: tuple[int, ...]
    input_size: int
    output_size: int
    offsets: tuple[int, ...] = (0,)
    num_vectors: int | None = None

    @property
    def batch_sizes(self) -> list[int]:
        return [sum(length > t for length in self.lengths) for t in range(self.lengths[0])]

    def __str__(self) -> str:
        vectors = "" if self.num_vectors is None else f" U{self.num_vectors}"
        sizes = f"B{len(self.lengths)} T{self.lengths[0]}{vectors} D{self.input_size} O{self.output_size}"
        return f"{sizes} {self.offsets}"


RAGGED = (9, 5, 5, 2, 1, 1)
CASES = [
    Case((1,), 1, 1),
    Case(RAGGED, 7, 5),
    Case(RAGGED, 7, 5, num_vectors=4),
    Case(RAGGED, 5, 7, (2,)),
    Case(RAGGED, 33, 18, (-1, 0, 1)),
    Case(RAGGED, 33, 18, (-1, 0, 1), num_vectors=6),
    Case(RAGGED, 16, 130, (0, -30, 3)),
    Case((40, 40, 31, 7, 1), 130, 48, num_vectors=140),  # more vectors than rows
    Case((60,) * 20 + (59, 12, 3), 96, 144, (0, 1)),  # enough for threads
    Case((60,) * 20 + (59, 12, 3), 96, 144, (0, -1), num_vectors=700),
]
every_case = pytest.mark.parametrize("case", CASES, ids=str)


@dataclass(frozen=True)
class Problem:
    vectors: Tensor  # [U, D]
    index: Tensor  # [N]
    weight: Tensor  # [K * O, D]
    bias: Tensor  # [O]
    cotangent: Tensor  # [N, O]


def draw_problem(case: Case) -> Problem:
    random = torch.Generator().manual_seed(0)
    N, D, size, K = sum(case.lengths), case.input_size, case.output_size, len(case.offsets)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    index = torch.arange(N)
    if case.num_vectors is not None:
        index = torch.randint(case.num_vectors, (N,), generator=random)
    vectors = draw(case.num_vectors or N, D)
    return Problem(vectors, index, draw(K * size, D) / sqrt(K * D), draw(size), draw(N, size))


def solve(
    product: WindowProduct, case: Case, dtype: torch.dtype = torch.float32, problem: Problem | None = None
) -> dict[str, Tensor]:
    """Values and gradients."""
    problem = problem or draw_problem(case)
    names = ("vectors", "weight", "bias")
    leaves = {name: getattr(problem, name).to(dtype).requires_grad_() for name in names}
    output = product(
        leaves["vectors"], problem.index, case.batch_sizes, case.offsets, leaves["weight"], leaves["bias"]
    )
    return with_gradients({"output": output}, leaves, [problem.cotangent.to(dtype)])


def compare(product: WindowProduct, case: Case) -> None:
    expected = solve(window_reference.window_product, case, torch.float64)
    assert_agrees(solve(product, case), {name: value.float() for name, value in expected.items()})


def same_bits(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return all(torch.equal(found[name], value) for name, value in expected.items())


# ---- agreement --------------------------------------------------------------------------------------


@needs_library
@every_case
@every_kernel
def test_agrees_with_the_oracle(name: str, case: Case) -> None:
    with kernel(name, threads=2):
        compare(window_autograd.window_product, case)


@needs_library
@every_kernel
def test_columns_of_wider_arrays(name: str) -> None:
    """The gradient comes as columns of another; inputs are transposed."""
    case = CASES[5]

    def product(vectors: Tensor, index: Tensor, *others: object) -> Tensor:
        among_others = torch.cat([vectors.T, vectors.T]).T[:, case.input_size :]
        result = window_autograd.window_product(among_others, index, *others)  # type: ignore[arg-type]
        return torch.cat([torch.ones_like(result), result], dim=1)[:, case.output_size :]

    with kernel(name):
        compare(product, case)


@needs_library
@every_case
@every_kernel
def test_arrays_of_numpy_give_the_same_bits(name: str, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "FEW_VECTORS", 0)
    problem = draw_problem(case)
    with kernel(name):
        expected = solve(window_autograd.window_product, case)["output"]
        found = window.window_product(
            problem.vectors.numpy(),
            problem.index.numpy(),
            np.array(case.batch_sizes),
            case.offsets,
            problem.weight.numpy(),
            problem.bias.numpy(),
        )
    assert torch.equal(torch.from_numpy(found), expected)


@needs_library
def test_only_what_is_wanted_is_computed() -> None:
    case = CASES[5]
    expected = solve(window_autograd.window_product, case)
    problem = draw_problem(case)
    for wanted in ("vectors", "weight", "bias"):
        leaves = {
            name: getattr(problem, name).clone().requires_grad_(name == wanted)
            for name in ("vectors", "weight", "bias")
        }
        output = window_autograd.window_product(
            leaves["vectors"], problem.index, case.batch_sizes, case.offsets, leaves["weight"], leaves["bias"]
        )
        output.backward(problem.cotangent)  # type: ignore[no-untyped-call]
        gradients = {name: leaf.grad for name, leaf in leaves.items()}
        assert torch.equal(gradients.pop(wanted), expected[f"grad_{wanted}"])
        assert set(gradients.values()) == {None}


# ---- threads ----------------------------------------------------------------------------------------


@needs_library
@every_case
@every_kernel
def test_results_do_not_depend_on_the_number_of_threads(name: str, case: Case) -> None:
    with kernel(name, threads=1):
        alone = solve(window_autograd.window_product, case)
    for threads in (2, 3, 5):
        with kernel(name, threads):
            assert same_bits(solve(window_autograd.window_product, case), alone)


# ---- refusals ---------------------------------------------------------------------------------------


@needs_library
@pytest.mark.parametrize("wrong", [-1, 6])
def test_an_index_of_no_vector_is_refused(wrong: int) -> None:
    case = CASES[5]
    problem = draw_problem(case)
    problem.index[3] = wrong
    with pytest.raises(ShapeError, match="names vectors that are not there"):
        solve(window_autograd.window_product, case, problem=problem)


# ---- the comparison bites ---------------------------------------------------------------------------

MUTATIONS = [
    ("bias.expand(len(index), -1)", "torch.zeros(len(index), len(bias), dtype=bias.dtype)"),
    ("shifted_rows(sizes, offset)", "shifted_rows(sizes, -offset)"),
    ("offsets, strict=True", "offsets[::-1], strict=True"),
    ("functional.pad(vectors, (0, 0, 0, 1))", "functional.pad(vectors, (0, 0, 0, 1), value=1.0)"),
    ("total = total + part", "total = total + part.detach()"),
]


def oracle_of(text: str) -> WindowProduct:
    namespace: dict[str, WindowProduct] = {}
    exec(compile(text, "mutated_window.py", "exec"), namespace)
    return namespace["window_product"]


def test_planted_errors_are_caught() -> None:
    """In the oracle: had the kernel such an error, it would differ from the oracle as much."""
    source = Path(window_reference.__file__).read_text()
    compare(oracle_of(source), CASES[5])
    for old, new in MUTATIONS:
        assert source.count(old) == 1, f"the oracle was rewritten: write this mutation anew: {old}"
        with pytest.raises(DisagreementError):
            compare(oracle_of(source.replace(old, new)), CASES[5])


@needs_library
def test_a_planted_error_in_what_the_kernel_reads_is_caught() -> None:
    case = CASES[5]
    expected = solve(window_reference.window_product, case, torch.float64)
    problem = draw_problem(case)
    found = solve(window_autograd.window_product, case, problem=replace(problem, index=problem.index.roll(1)))
    with pytest.raises(DisagreementError):
        assert_agrees(found, {name: value.float() for name, value in expected.items()})


def test_without_the_library_the_oracle_computes() -> None:
    if LIBRARY_PATH.is_file():
        use_kernel(REFERENCE)
    try:
        for case in CASES:
            assert same_bits(
                solve(window_autograd.window_product, case), solve(window_reference.window_product, case)
            )
    finally:
        use_kernel(None)
