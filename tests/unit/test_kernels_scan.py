"""The gated recurrence: what it means, the numpy twin against the oracle, gradients, refusals."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from grunlock.errors import ShapeError
from grunlock.kernels import scan_autograd, scan_portable, scan_reference
from grunlock.kernels.library import LIBRARY_PATH, REFERENCE, use_kernel
from grunlock.kernels.scan import CELLS, SCAN_GATES, Cell, scan_backward, scan_forward
from grunlock.shapes import pack_layout

every_cell = pytest.mark.parametrize("cell", list(CELLS))


@pytest.fixture(params=["reference", "compiled"])
def kernel(request: pytest.FixtureRequest) -> Iterator[None]:
    """The twin, and the kernel that this machine would choose."""
    if request.param == "compiled" and not LIBRARY_PATH.is_file():
        pytest.skip("no compiled kernels")
    use_kernel(REFERENCE if request.param == "reference" else None)
    yield
    use_kernel(None)


def sizes_of(lengths: list[int]) -> list[int]:
    return pack_layout(np.array(lengths)).batch_sizes.tolist()


# ---- meaning ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("reverse", [False, True])
def test_keep_says_how_much_of_the_old_state_stays(reverse: bool) -> None:
    sizes = [2, 2, 1]
    h0 = torch.tensor([[0.5, -2.0], [3.0, 1.0]])
    candidate = torch.arange(10.0).reshape(5, 2)
    output, final = scan_autograd.linear_scan(torch.ones(5, 2), candidate, sizes, h0, reverse=reverse)
    torch.testing.assert_close(output, h0[[0, 1, 0, 1, 0]])
    torch.testing.assert_close(final, h0)
    output, final = scan_autograd.linear_scan(torch.zeros(5, 2), candidate, sizes, h0, reverse=reverse)
    assert torch.equal(output, candidate)
    assert torch.equal(final, candidate[[0, 1] if reverse else [4, 3]])


@pytest.mark.usefixtures("kernel")
def test_one_sequence_by_hand() -> None:
    keep, candidate = torch.tensor([[0.5], [0.25], [0.75]]), torch.tensor([[4.0], [8.0], [-1.0]])
    output, final = scan_autograd.linear_scan(keep, candidate, [1, 1, 1])
    assert output[:, 0].tolist() == [2.0, 6.5, 4.625]
    assert final.tolist() == [[4.625]]
    output, final = scan_autograd.linear_scan(keep, candidate, [1, 1, 1], reverse=True)
    assert output[:, 0].tolist() == [4.96875, 5.9375, -0.25]
    assert final.tolist() == [[4.96875]]


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("reverse", [False, True])
def test_a_sequence_is_the_same_alone_and_among_others(reverse: bool) -> None:
    random = torch.Generator().manual_seed(3)
    lengths = [7, 4, 4, 1]
    layout = pack_layout(np.array(lengths))
    rows = torch.from_numpy(layout.rows)  # packed row n is this one of the sequences one after another
    keep = torch.rand(sum(lengths), 19, generator=random)
    candidate = torch.randn(sum(lengths), 19, generator=random)
    sizes = layout.batch_sizes.tolist()
    output, final = scan_autograd.linear_scan(keep[rows], candidate[rows], sizes, reverse=reverse)
    together = torch.empty_like(output)
    together[rows] = output
    pieces = zip(*(values.split(lengths) for values in (keep, candidate, together)), final, strict=True)
    for k, n, found, last in pieces:
        alone, end = scan_autograd.linear_scan(k, n, [1] * len(k), reverse=reverse)
        assert torch.equal(found, alone)
        assert torch.equal(last[None], end)


@pytest.mark.usefixtures("kernel")
@every_cell
def test_activations_that_saturate(cell: Cell) -> None:
    """No overflow, and NaN where a NaN came in only."""
    extremes = [-1e30, -200.0, -30.0, 0.0, 30.0, 200.0, 1e30]
    keep = torch.tensor([[a, b] for a in extremes for b in extremes])
    if cell == "given":
        keep = torch.sigmoid(keep)
    gates = torch.cat([keep] * (len(SCAN_GATES[cell]) - 1) + [torch.ones_like(keep)], dim=1)
    if cell == "minlstm":
        gates[:, 2:4] = keep.flip(1)  # input gates against forget gates, all pairs
    gates.requires_grad_()
    output, _ = scan_autograd.gated_scan(gates, [len(keep)], cell)
    (gradient,) = torch.autograd.grad(output.sum(), gates)
    assert output.isfinite().all()
    assert gradient.isfinite().all()
    assert ((output >= 0.0) & (output <= 1.0)).all()
    with torch.no_grad():
        gates[3, 0] = torch.nan
        broken, _ = scan_autograd.gated_scan(gates, [len(keep)], cell)
    assert broken.isnan().nonzero().tolist() == [[3, 0]]


# ---- the numpy twin against the oracle --------------------------------------------------------------


def compare_twin(
    twin: Any, cell: Cell, lengths: list[int], hidden_size: int, reverse: bool, h0: bool, seed: int = 0
) -> None:
    """In float64: any disagreement is a mistake, not rounding."""
    rng = np.random.default_rng(seed)
    sizes, B, N = sizes_of(lengths), len(lengths), sum(lengths)
    gates = [rng.standard_normal((N, hidden_size)) for _ in SCAN_GATES[cell]]
    if cell == "given":
        gates[0] = rng.random((N, hidden_size))
    first = rng.standard_normal((B, hidden_size)) if h0 else None
    doutput, dfinal = rng.standard_normal((N, hidden_size)), rng.standard_normal((B, hidden_size))

    leaves = [torch.from_numpy(gate).requires_grad_() for gate in gates]
    start = torch.zeros(B, hidden_size).double() if first is None else torch.from_numpy(first)
    start.requires_grad_()
    keep, candidate = scan_reference.activated(torch.cat(leaves, dim=1), cell)
    expected = scan_reference.linear_scan(keep, candidate, sizes, start, reverse=reverse)
    cotangents = [torch.from_numpy(doutput), torch.from_numpy(dfinal)]
    gradients = torch.autograd.grad(expected, [*leaves, start], cotangents)

    output, final = twin.forward(gates, sizes, first, cell, reverse)
    dgates, dh0 = twin.backward(gates, output, doutput, sizes, first, dfinal, cell, reverse)
    for ours, theirs in zip((output, final, *dgates, dh0), (*expected, *gradients), strict=True):
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-10, atol=1e-11)


@settings(max_examples=60, deadline=None)
@given(
    cell=st.sampled_from(list(CELLS)),
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=7),
    hidden_size=st.integers(1, 5),
    reverse=st.booleans(),
    h0=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_the_twin_agrees_with_the_oracle(
    cell: Cell, lengths: list[int], hidden_size: int, reverse: bool, h0: bool, seed: int
) -> None:
    compare_twin(scan_portable, cell, lengths, hidden_size, reverse, h0, seed)


@every_cell
@pytest.mark.parametrize("directions", [1, 2])
def test_finite_differences(cell: Cell, directions: int) -> None:
    random = torch.Generator().manual_seed(1)
    sizes, H = [3, 2, 2, 1], 2

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=random).requires_grad_()

    gates, h0 = draw(sum(sizes), directions * len(SCAN_GATES[cell]) * H), draw(directions, sizes[0], H)

    def run(gates: Tensor, h0: Tensor) -> tuple[Tensor, Tensor]:
        return scan_autograd.gated_scan(gates, sizes, cell, h0, num_directions=directions)

    assert torch.autograd.gradcheck(run, (gates, h0))
    assert torch.autograd.gradgradcheck(run, (gates, h0), fast_mode=True)


# ---- arrays of numpy --------------------------------------------------------------------------------


@pytest.mark.usefixtures("kernel")
@every_cell
@pytest.mark.parametrize("reverse", [False, True])
def test_columns_of_wider_arrays(cell: Cell, reverse: bool) -> None:
    """Read in place and written in place; nothing beside them is touched."""
    rng = np.random.default_rng(2)
    sizes, H = sizes_of([5, 3, 3, 1]), 11
    product = rng.random((sum(sizes), 5 * H), dtype=np.float32)
    apart = [product[:, g * H : (g + 1) * H] for g in (3, 1, 4)[: len(SCAN_GATES[cell])]]
    dense = [np.ascontiguousarray(gate) for gate in apart]
    wide = np.full((sum(sizes), 3 * H), 7.0, np.float32)
    doutput = rng.random(wide.shape, dtype=np.float32)[:, H : 2 * H]
    output, final = scan_forward(apart, sizes, cell=cell, reverse=reverse, output=wide[:, H : 2 * H])
    expected, last = scan_forward(dense, sizes, cell=cell, reverse=reverse)
    assert np.array_equal(output, expected)
    assert np.array_equal(final, last)
    assert (wide[:, :H] == 7.0).all()
    assert (wide[:, 2 * H :] == 7.0).all()
    dgates, dh0 = scan_backward(apart, output, doutput, sizes, cell=cell, reverse=reverse)
    right, right_dh0 = scan_backward(dense, expected, doutput.copy(), sizes, cell=cell, reverse=reverse)
    for found, wanted in zip((*dgates, dh0), (*right, right_dh0), strict=True):
        assert np.array_equal(found, wanted)


# ---- refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [[], [2, 2], [1, 2, 2], [3, 2, 0], [6, -1], [3, 3]])
def test_steps_that_do_not_fit_are_refused(sizes: list[int]) -> None:
    keep, candidate = torch.rand(5, 3), torch.rand(5, 3)
    with pytest.raises(ShapeError, match="do not fit the packed rows"):
        scan_autograd.linear_scan(keep, candidate, sizes)
    with pytest.raises(ShapeError, match="do not fit the packed rows"):
        scan_forward([keep.numpy(), candidate.numpy()], sizes)


def test_other_shapes_and_types_are_refused() -> None:
    keep, sizes = torch.rand(5, 3), [3, 2]
    with pytest.raises(ShapeError, match="`candidate`"):
        scan_autograd.linear_scan(keep, keep[:, :2], sizes)
    with pytest.raises(ShapeError, match="`h0`"):
        scan_autograd.linear_scan(keep, keep, sizes, torch.zeros(2, 3))
    with pytest.raises(ShapeError, match="cannot be those of the cell mingru"):
        scan_autograd.gated_scan(keep, sizes, "mingru")
    with pytest.raises(ShapeError, match="one or two directions"):
        scan_autograd.gated_scan(torch.rand(5, 6), sizes, "mingru", num_directions=3)
    rows = keep.numpy()
    with pytest.raises(ShapeError, match="takes other gates"):
        scan_forward([rows, rows], sizes, cell="minlstm")
    with pytest.raises(ShapeError, match="wrong type"):
        scan_forward([rows, rows.astype(np.float64)], sizes)
    with pytest.raises(ShapeError, match="side by side"):
        scan_forward([rows, np.asfortranarray(rows)], sizes)
    with pytest.raises(ShapeError, match="`output`"):
        scan_forward([rows, rows], sizes, output=np.empty((5, 4), np.float32))
