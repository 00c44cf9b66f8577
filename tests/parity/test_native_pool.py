"""The compiled pooling against the oracle in float64: every instruction set, any number of threads.

Rows are of size 1. A maximum is one of them; of a mean of T rows, float32 rounds off some u * sqrt(T) of its
size, u = 2^-24, and less of a gradient: the bounds of agreement.py leave room for all lengths here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from grunlock.kernels import pool, pool_autograd, pool_reference
from grunlock.kernels.library import LIBRARY_PATH, REFERENCE, use_kernel
from grunlock.kernels.pool import PooledPart
from grunlock.shapes import pack_layout
from tests.parity.agreement import DisagreementError, assert_agrees, with_gradients
from tests.parity.native_cases import kernel, usable_kernels

KERNELS = usable_kernels()
needs_library = pytest.mark.skipif(not KERNELS, reason="installed without compiled kernels")
every_kernel = pytest.mark.parametrize("name", KERNELS)

Pool = Callable[..., tuple[Tensor, ...]]
BOTH: tuple[PooledPart, ...] = ("max", "mean")
PARTS: list[tuple[PooledPart, ...]] = [BOTH, ("max",), ("mean",)]
every_choice = pytest.mark.parametrize("parts", PARTS, ids="+".join)


@dataclass(frozen=True)
class Case:
    """lengths: longest first. values: how many different ones a row may hold, for ties; None: any."""

    lengths: tuple[int, ...]
    size: int
    values: int | None = None

    @property
    def batch_sizes(self) -> list[int]:
        return [sum(length > t for length in self.lengths) for t in range(self.lengths[0])]

    def __str__(self) -> str:
        ties = "" if self.values is None else f" of {self.values} values"
        return f"B{len(self.lengths)} T{self.lengths[0]} E{self.size}{ties}"


RAGGED = (9, 5, 5, 2, 1, 1)
CASES = [
    Case((1,), 1),
    Case((1, 1, 1), 5),
    Case((30,), 33, values=3),
    Case(RAGGED, 7),
    Case(RAGGED, 64, values=3),
    Case(RAGGED, 259, values=2),  # more columns than a tile has
    Case((60,) * 20 + (59, 12, 3), 144),  # enough for threads
    Case((40, 40, 31, 7, 1), 1100, values=5),
]
every_case = pytest.mark.parametrize("case", CASES, ids=str)


def draw_rows(case: Case) -> Tensor:  # [N, E]
    random = torch.Generator().manual_seed(0)
    rows = torch.randn(sum(case.lengths), case.size, generator=random)
    return rows if case.values is None else (rows * case.values / 4).round() / case.values + 0.1


def solve(
    pool_rows: Pool,
    case: Case,
    parts: tuple[PooledPart, ...] = BOTH,
    dtype: torch.dtype = torch.float32,
    rows: Tensor | None = None,
) -> dict[str, Tensor]:
    """Values and gradients."""
    rows = (draw_rows(case) if rows is None else rows.clone()).to(dtype).requires_grad_()
    values = dict(zip(parts, pool_rows(rows, case.batch_sizes, parts), strict=True))
    random = torch.Generator().manual_seed(1)
    cotangents = [torch.randn(len(case.lengths), case.size, generator=random) for _ in parts]
    return with_gradients(values, {"rows": rows}, [cotangent.to(dtype) for cotangent in cotangents])


def compare(pool_rows: Pool, case: Case, parts: tuple[PooledPart, ...] = BOTH) -> None:
    expected = solve(pool_reference.pool_rows, case, parts, torch.float64)
    assert_agrees(solve(pool_rows, case, parts), {name: value.float() for name, value in expected.items()})


def same_bits(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return all(torch.equal(found[name], value) for name, value in expected.items())


# ---- agreement --------------------------------------------------------------------------------------


@needs_library
@every_case
@every_choice
@every_kernel
def test_agrees_with_the_oracle(name: str, parts: tuple[PooledPart, ...], case: Case) -> None:
    with kernel(name, threads=2):
        compare(pool_autograd.pool_rows, case, parts)
        compare(pool_autograd.pool_rows, case, parts[::-1])


@needs_library
@every_kernel
def test_columns_of_wider_arrays(name: str) -> None:
    """Rows are columns of another array, and so are the gradients."""
    case = CASES[5]

    def pool_rows(rows: Tensor, *others: object) -> tuple[Tensor, ...]:
        wide = torch.cat([torch.zeros(len(rows), 5), rows], dim=1)
        pooled = torch.cat(pool_autograd.pool_rows(wide[:, 5:], *others), dim=1)  # type: ignore[arg-type]
        return pooled.split(case.size, dim=1)

    with kernel(name):
        compare(pool_rows, case)


@needs_library
@every_kernel
def test_transposed_rows(name: str) -> None:
    def pool_rows(rows: Tensor, *others: object) -> tuple[Tensor, ...]:
        return pool_autograd.pool_rows(rows.T.contiguous().T, *others)  # type: ignore[arg-type]

    with kernel(name):
        compare(pool_rows, CASES[4])


@needs_library
@every_kernel
@pytest.mark.parametrize("part", BOTH)
def test_gradients_of_one_result_alone(name: str, part: PooledPart) -> None:
    case = CASES[4]

    def gradient() -> Tensor:
        rows = draw_rows(case).requires_grad_()
        pooled = dict(zip(BOTH, pool_autograd.pool_rows(rows, case.batch_sizes, BOTH), strict=True))
        pooled[part].square().sum().backward()  # type: ignore[no-untyped-call]
        assert rows.grad is not None
        return rows.grad

    with kernel(name):
        found = gradient()
    use_kernel(REFERENCE)
    try:
        assert_agrees({"rows": found}, {"rows": gradient()})
    finally:
        use_kernel(None)


@needs_library
@every_kernel
def test_numbers_that_are_not_finite(name: str) -> None:
    """As in torch's own maximum: a NaN is above infinity, and its gradient is NaN at every step."""
    case = Case(RAGGED, 37, values=3)
    rows = draw_rows(case)
    rows[0, :5] = torch.inf  # row 0 is the first step of the longest sequence, row 6 its second
    rows[6, 1:4] = torch.inf
    rows[6, 2] = torch.nan
    rows[-1, 3] = torch.nan
    rows[2, 8:20] = -torch.inf
    rows[5, 20] = torch.nan  # a sequence of one step
    expected = solve(pool_reference.pool_rows, case, rows=rows)
    assert expected["max"][0, :4].isnan().tolist() == [False, False, True, True]
    assert expected["grad_rows"].isnan().sum() == 2 * 9 + 1
    with kernel(name):
        found = solve(pool_autograd.pool_rows, case, rows=rows)
    for part, value in expected.items():
        torch.testing.assert_close(found[part], value, rtol=1e-5, atol=1e-5, equal_nan=True)


@needs_library
@every_case
@every_choice
@every_kernel
def test_arrays_of_numpy_give_the_same_numbers(name: str, parts: tuple[PooledPart, ...], case: Case) -> None:
    layout, rows = pack_layout(np.array(case.lengths)), draw_rows(case)
    with kernel(name):
        expected = pool_autograd.pool_rows(rows, case.batch_sizes, parts)
        found = pool.pool_rows(rows.numpy(), layout, parts)
    for got, want in zip(found, expected, strict=True):
        assert torch.equal(torch.from_numpy(got), want)


# ---- threads ----------------------------------------------------------------------------------------


@needs_library
@every_case
@every_kernel
def test_results_do_not_depend_on_the_number_of_threads(name: str, case: Case) -> None:
    with kernel(name, threads=1):
        alone = solve(pool_autograd.pool_rows, case)
    for threads in (2, 3, 5):
        with kernel(name, threads):
            assert same_bits(solve(pool_autograd.pool_rows, case), alone)


# ---- the comparison bites ---------------------------------------------------------------------------

MUTATIONS = [
    ('segment_reduce(states, "max"', 'segment_reduce(states, "min"'),
    ('segment_reduce(states, "mean"', 'segment_reduce(states, "sum"'),
    ("sequence_lengths(sizes))", "sequence_lengths(sizes)[::-1].copy())"),
    ("sequence_major_rows(sizes))", "np.arange(len(rows)))"),
    ('grad / torch.segment_reduce(taken, "sum", lengths=lengths, axis=0)', "grad"),  # ties get all of it
    ("states == highest", "states >= 0 * highest"),
]


def oracle_of(text: str) -> Pool:
    namespace: dict[str, Pool] = {}
    exec(compile(text, "mutated_pool.py", "exec"), namespace)
    return namespace["pool_rows"]


def test_planted_errors_are_caught() -> None:
    """In the oracle: had the kernel such an error, it would differ from the oracle as much."""
    source = Path(pool_reference.__file__).read_text()
    compare(oracle_of(source), CASES[4])
    for old, new in MUTATIONS:
        assert source.count(old) == 1, f"the oracle was rewritten: write this mutation anew: {old}"
        with pytest.raises(DisagreementError):
            compare(oracle_of(source.replace(old, new)), CASES[4])


@needs_library
def test_a_planted_error_in_what_the_kernel_reads_is_caught() -> None:
    case = CASES[4]

    def pool_rows(rows: Tensor, *others: object) -> tuple[Tensor, ...]:
        return pool_autograd.pool_rows(rows.roll(1, dims=0), *others)  # type: ignore[arg-type]

    with pytest.raises(DisagreementError):
        compare(pool_rows, case)


def test_without_the_library_the_oracle_computes() -> None:
    if LIBRARY_PATH.is_file():
        use_kernel(REFERENCE)
    try:
        for case in CASES:
            expected = solve(pool_reference.pool_rows, case)
            assert same_bits(solve(pool_autograd.pool_rows, case), expected)
    finally:
        use_kernel(None)
