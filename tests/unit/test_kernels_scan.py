"""The gated recurrence: what it means, the numpy twin against the oracle, gradients, refusals."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from grunlock.errors import ShapeError
from grunlock.kernels import scan_autograd, scan_portable, scan_reference
from grunlock.kernels.library import LIBRARY_PATH, REFERENCE, use_kernel
from grunlock.kernels.scan import CELLS, SCAN_GATES, Cell, scan_forward
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


ALWAYS = 200.0  # sigmoid of it is 1


def gates_of(keep: Tensor, candidate: Tensor) -> Tensor:
    """minGRU's, of both directions alike."""
    return torch.cat([keep, candidate], dim=1).repeat(1, 2)


@pytest.mark.usefixtures("kernel")
def test_keep_says_how_much_of_the_old_state_stays() -> None:
    sizes = [2, 2, 1]
    h0 = torch.tensor([[0.5, -2.0], [3.0, 1.0]]).repeat(2, 1, 1)
    candidate, always = torch.arange(10.0).reshape(5, 2), torch.full((5, 2), ALWAYS)
    output, final = scan_autograd.gated_scan(
        gates_of(always, candidate), sizes, "mingru", h0, num_directions=2
    )
    torch.testing.assert_close(output, h0[0, [0, 1, 0, 1, 0]].repeat(1, 2))
    torch.testing.assert_close(final, h0)
    output, final = scan_autograd.gated_scan(
        gates_of(-always, candidate), sizes, "mingru", h0, num_directions=2
    )
    torch.testing.assert_close(output, candidate.repeat(1, 2))
    torch.testing.assert_close(final, candidate[[4, 3, 0, 1]].view(2, 2, 2))


@pytest.mark.usefixtures("kernel")
def test_one_sequence_by_hand() -> None:
    keep, candidate = torch.tensor([[0.5], [0.25], [0.75]]), torch.tensor([[4.0], [8.0], [-1.0]])
    gates = gates_of(torch.logit(keep), candidate)
    output, final = scan_autograd.gated_scan(gates, [1, 1, 1], "mingru", num_directions=2)
    torch.testing.assert_close(output[:, 0], torch.tensor([2.0, 6.5, 4.625]))
    torch.testing.assert_close(output[:, 1], torch.tensor([4.96875, 5.9375, -0.25]))
    torch.testing.assert_close(final[:, 0, 0], torch.tensor([4.625, 4.96875]))


@pytest.mark.usefixtures("kernel")
def test_the_output_gate_shows_a_part_of_the_state() -> None:
    keep, candidate = torch.tensor([[0.5], [0.25]]), torch.tensor([[0.5], [-0.25]])
    shown = torch.tensor([[0.75], [0.25]])
    gates = torch.cat([torch.logit(keep), torch.atanh(candidate), torch.logit(shown)], dim=1)
    output, final = scan_autograd.gated_scan(gates, [1, 1], "qrnn")
    torch.testing.assert_close(output[:, 0], torch.tensor([0.25 * 0.75, -0.125 * 0.25]))
    assert final.tolist() == [[[pytest.approx(-0.125)]]]


@pytest.mark.usefixtures("kernel")
@every_cell
def test_a_sequence_is_the_same_alone_and_among_others(cell: Cell) -> None:
    random = torch.Generator().manual_seed(3)
    lengths = [7, 4, 4, 1]
    layout = pack_layout(np.array(lengths))
    rows = torch.from_numpy(layout.rows)  # packed row n is this one of the sequences one after another
    gates = torch.randn(sum(lengths), 2 * len(SCAN_GATES[cell]) * 19, generator=random)
    output, final = scan_autograd.gated_scan(gates[rows], layout.batch_sizes.tolist(), cell, num_directions=2)
    together = torch.empty_like(output)
    together[rows] = output
    pieces = zip(*(values.split(lengths) for values in (gates, together)), final.unbind(1), strict=True)
    for own, found, last in pieces:
        alone, end = scan_autograd.gated_scan(own, [1] * len(own), cell, num_directions=2)
        torch.testing.assert_close(found, alone)
        torch.testing.assert_close(last[:, None], end)


@pytest.mark.usefixtures("kernel")
@every_cell
def test_activations_that_saturate(cell: Cell) -> None:
    """No overflow, and NaN where a NaN came in only."""
    extremes = [-1e30, -200.0, -30.0, 0.0, 30.0, 200.0, 1e30]
    keep = torch.tensor([[a, b] for a in extremes for b in extremes])
    third = [keep.flip(1)] * (len(SCAN_GATES[cell]) - 2)  # input gates against forget gates, all pairs
    gates = torch.cat([keep, torch.ones_like(keep), *third], dim=1)
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


def compare_twin(cell: Cell, lengths: list[int], hidden_size: int, h0: bool, seed: int) -> None:
    """In float64: any disagreement is a mistake, not rounding."""
    random = torch.Generator().manual_seed(seed)
    sizes, num_gates = sizes_of(lengths), len(SCAN_GATES[cell])

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=random)

    gates = draw(sum(lengths), 2 * num_gates * hidden_size)
    first = draw(2, len(lengths), hidden_size) if h0 else None
    expected, last = scan_reference.gated_scan(gates, sizes, cell, first, num_directions=2)
    outputs = expected.chunk(2, dim=1)
    for place, columns in enumerate(gates.chunk(2, dim=1)):
        parts = [gate.numpy() for gate in columns.chunk(num_gates, dim=1)]
        start = None if first is None else first[place].numpy()
        output, final = scan_portable.forward(parts, sizes, start, cell, place == 1)
        np.testing.assert_allclose(output, outputs[place].numpy(), rtol=1e-10, atol=1e-11)
        np.testing.assert_allclose(final, last[place].numpy(), rtol=1e-10, atol=1e-11)


@settings(max_examples=60, deadline=None)
@given(
    cell=st.sampled_from(list(CELLS)),
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=7),
    hidden_size=st.integers(1, 5),
    h0=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_the_twin_agrees_with_the_oracle(
    cell: Cell, lengths: list[int], hidden_size: int, h0: bool, seed: int
) -> None:
    compare_twin(cell, lengths, hidden_size, h0, seed)


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
    apart = [product[:, g * H : (g + 1) * H] for g in (3, 4, 1)[: len(SCAN_GATES[cell])]]
    dense = [np.ascontiguousarray(gate) for gate in apart]
    wide = np.full((sum(sizes), 3 * H), 7.0, np.float32)
    output, final = scan_forward(apart, sizes, cell=cell, reverse=reverse, output=wide[:, H : 2 * H])
    expected, last = scan_forward(dense, sizes, cell=cell, reverse=reverse)
    assert np.array_equal(output, expected)
    assert np.array_equal(final, last)
    assert (wide[:, :H] == 7.0).all()
    assert (wide[:, 2 * H :] == 7.0).all()


# ---- refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [[], [2, 2], [1, 2, 2], [3, 2, 0], [6, -1], [3, 3]])
def test_steps_that_do_not_fit_are_refused(sizes: list[int]) -> None:
    gates = torch.rand(5, 6)
    with pytest.raises(ShapeError, match="do not fit the packed rows"):
        scan_autograd.gated_scan(gates, sizes, "mingru")
    with pytest.raises(ShapeError, match="do not fit the packed rows"):
        scan_forward([gates.numpy()] * 2, sizes, cell="mingru")


def test_other_shapes_and_types_are_refused() -> None:
    gates, sizes = torch.rand(5, 6), [3, 2]
    with pytest.raises(ShapeError, match="`h0`"):
        scan_autograd.gated_scan(gates, sizes, "mingru", torch.zeros(1, 2, 3))
    with pytest.raises(ShapeError, match="cannot be those of the cell mingru"):
        scan_autograd.gated_scan(gates[:, :5], sizes, "mingru")
    with pytest.raises(ShapeError, match="one or two directions"):
        scan_autograd.gated_scan(gates, sizes, "mingru", num_directions=3)
    rows = gates.numpy()
    with pytest.raises(ShapeError, match="takes other gates"):
        scan_forward([rows, rows], sizes, cell="minlstm")
    with pytest.raises(ShapeError, match="`gates`"):
        scan_forward([rows, rows[:, :2]], sizes, cell="mingru")
    with pytest.raises(ShapeError, match="wrong type"):
        scan_forward([rows, rows.astype(np.float64)], sizes, cell="mingru")
    with pytest.raises(ShapeError, match="side by side"):
        scan_forward([rows, np.asfortranarray(rows)], sizes, cell="mingru")
    with pytest.raises(ShapeError, match="`output`"):
        scan_forward([rows, rows], sizes, cell="mingru", output=np.empty((5, 4), np.float32))
