"""The window product: what it means, the numpy path against the oracle, gradients, refusals."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grunlock.errors import ShapeError
from grunlock.kernels import window, window_autograd, window_reference
from grunlock.kernels.window import check_sizes
from grunlock.shapes import pack_layout

SIZES = [3, 2, 1]  # sequences a, b, c: rows a0 b0 c0 | a1 b1 | a2


def test_neighbours_by_hand() -> None:
    vectors = torch.tensor([[1.0], [10.0], [100.0]])
    index = torch.tensor([0, 1, 2, 1, 2, 0])  # a reads 1, 10, 1; b reads 10, 100; c reads 100
    weight, bias = torch.tensor([[2.0], [3.0]]), torch.tensor([0.5])
    for product in (window_autograd.window_product, window_reference.window_product):
        found = product(vectors, index, SIZES, (0, -1), weight, bias)  # 2 now, 3 before
        assert found[:, 0].tolist() == [2.5, 20.5, 200.5, 23.5, 230.5, 32.5]
        found = product(vectors, index, SIZES, (0, 1), weight, bias)
        assert found[:, 0].tolist() == [32.5, 320.5, 200.5, 23.5, 200.5, 2.5]


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    num_vectors=st.integers(1, 9),
    offsets=st.lists(st.integers(-7, 7), min_size=1, max_size=3),
    sizes=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    seed=st.integers(0, 1000),
)
def test_numpy_agrees_with_the_oracle(
    lengths: list[int], num_vectors: int, offsets: list[int], sizes: tuple[int, int], seed: int
) -> None:
    """In float64: any disagreement is a mistake, not rounding."""
    rng = np.random.default_rng(seed)
    layout = pack_layout(np.array(lengths))
    vectors = rng.standard_normal((num_vectors, sizes[0]))
    index = rng.integers(num_vectors, size=layout.num_rows)
    weight = rng.standard_normal((len(offsets) * sizes[1], sizes[0]))
    bias = rng.standard_normal(sizes[1])
    found = window.window_product(vectors, index, layout.batch_sizes, offsets, weight, bias)
    tensors = [torch.from_numpy(values) for values in (vectors, index, weight, bias)]
    expected = window_reference.window_product(
        *tensors[:2], layout.batch_sizes.tolist(), offsets, *tensors[2:]
    )
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("offsets", [(0,), (0, -1), (-1, 0, 1)])
def test_finite_differences(offsets: tuple[int, ...]) -> None:
    random = torch.Generator().manual_seed(1)
    shapes = (4, 3), (len(offsets) * 2, 3), (2,)
    leaves = [torch.randn(*shape, dtype=torch.float64, generator=random).requires_grad_() for shape in shapes]
    index = torch.randint(4, (6,), generator=random)

    def run(vectors: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return window_autograd.window_product(vectors, index, SIZES, offsets, weight, bias)

    assert torch.autograd.gradcheck(run, leaves)


def test_shapes_that_do_not_fit_are_refused() -> None:
    check_sizes((9, 4), (6, 4), (3,), (0, 1))
    with pytest.raises(ShapeError, match="`vectors`"):
        check_sizes((9,), (6, 4), (3,), (0, 1))
    with pytest.raises(ShapeError, match="`weight`"):
        check_sizes((9, 4), (6, 4), (3,), (0,))
    with pytest.raises(ShapeError, match="`bias`"):
        check_sizes((9, 4), (6, 4), (3, 1), (0, 1))
    with pytest.raises(ShapeError, match="do not fit the packed rows"):
        window_autograd.window_product(
            torch.rand(5, 4), torch.arange(5), SIZES, (0,), torch.rand(3, 4), torch.rand(3)
        )
