"""Pooling over packed rows: what it means, ties, the numpy path against the oracle, gradients, refusals."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from grunlock.errors import ShapeError
from grunlock.kernels import pool, pool_autograd, pool_reference
from grunlock.kernels.pool import PooledPart
from grunlock.shapes import pack_layout

SIZES = [3, 2, 1]  # sequences a, b, c: rows a0 b0 c0 | a1 b1 | a2
BOTH: tuple[PooledPart, ...] = ("max", "mean")


def rows_by_hand(dtype: torch.dtype) -> Tensor:
    a, b, c = [[1.0, 4], [2, 4], [2, 4]], [[0, 1], [0, 5]], [[3, 3]]
    return torch.tensor([a[0], b[0], c[0], a[1], b[1], a[2]], dtype=dtype).requires_grad_()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_states_that_tie_for_the_maximum_share_its_gradient(dtype: torch.dtype) -> None:
    rows = rows_by_hand(dtype)
    (highest,) = pool_autograd.pool_rows(rows, SIZES, ("max",))
    assert highest.tolist() == [[2, 4], [0, 5], [3, 3]]
    cotangent = torch.tensor([[1.0, 3], [1, 2], [5, 7]], dtype=dtype)
    (gradient,) = torch.autograd.grad(highest, rows, cotangent)
    assert gradient.tolist() == [[0, 1], [0.5, 0], [5, 7], [0.5, 1], [0.5, 2], [0.5, 1]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_means_by_hand(dtype: torch.dtype) -> None:
    rows = rows_by_hand(dtype)
    mean, highest = pool_autograd.pool_rows(rows, SIZES, ("mean", "max"))
    assert mean[1:].tolist() == [[0, 3], [3, 3]]
    assert mean[0].tolist() == pytest.approx([5 / 3, 4])
    cotangent = torch.tensor([[3.0, 6], [2, 4], [5, 7]], dtype=dtype)
    gradients = torch.autograd.grad([mean, highest], rows, [cotangent, torch.zeros_like(highest)])
    assert gradients[0].tolist() == [[1, 2], [1, 2], [5, 7], [1, 2], [1, 2], [1, 2]]


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    size=st.integers(1, 4),
    seed=st.integers(0, 1000),
)
def test_numpy_agrees_with_the_oracle(lengths: list[int], size: int, seed: int) -> None:
    """In float64: any disagreement is a mistake, not rounding."""
    layout = pack_layout(np.array(lengths))
    rows = np.random.default_rng(seed).standard_normal((layout.num_rows, size))
    found = pool.pool_rows(rows, layout, BOTH)
    expected = pool_reference.pool_rows(torch.from_numpy(rows), layout.batch_sizes.tolist(), BOTH)
    for got, want in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, want.numpy(), rtol=1e-12, atol=1e-12)


def test_finite_differences() -> None:
    rows = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    assert torch.autograd.gradcheck(lambda rows: pool_autograd.pool_rows(rows, SIZES, BOTH), (rows,))


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match="`rows`"):
        pool_autograd.pool_rows(torch.rand(6), SIZES, BOTH)
    with pytest.raises(ShapeError, match="do not fit the packed rows"):
        pool_autograd.pool_rows(torch.rand(5, 4), SIZES, BOTH)
    with pytest.raises(ShapeError, match="`rows`"):
        pool.pool_rows(np.zeros((5, 4), np.float32), pack_layout(np.array([3, 2, 1])), BOTH)
