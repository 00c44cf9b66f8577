"""The oracle's gradients by finite differences with fixed masks, and its layers against its scans."""

import itertools
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from grunlock.kernels import NORM_EPS
from grunlock.kernels.counter_random import zoneout_bits
from grunlock.kernels.direction import DrawnZoneout, GruDirection, LstmDirection
from grunlock.kernels.reference import gru_layer, gru_scan, lstm_layer, lstm_scan

Direction = GruDirection | LstmDirection

BATCH_SIZES = [3, 3, 2, 1]  # lengths 4, 3, 2
B, H, N = 3, 4, sum(BATCH_SIZES)


def double(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def mask(*shape: int) -> Tensor:
    return (torch.rand(*shape) < 0.5).double()


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("reset_after", "reverse", "layer_norm"),
    list(itertools.product([True, False], [True, False], [True, False])),
)
def test_gru_gradcheck_with_all_regularizers(reset_after: bool, reverse: bool, layer_norm: bool) -> None:
    state_mask, zoneout, weight_mask = mask(B, H) * 2, mask(N, H), mask(3 * H, H) * 2

    def run(gates: Tensor, weight: Tensor, bias: Tensor, h0: Tensor, norm: Tensor) -> tuple[Tensor, Tensor]:
        return gru_scan(
            gates,
            BATCH_SIZES,
            weight * weight_mask,
            bias,
            h0,
            reverse=reverse,
            reset_after=reset_after,
            state_mask=state_mask,
            zoneout=zoneout,
            norm_weight=norm if layer_norm else None,
        )

    inputs = (double(N, 3 * H), double(3 * H, H), double(3 * H), double(B, H), double(3 * H))
    assert torch.autograd.gradcheck(run, inputs)


@pytest.mark.parametrize(("reverse", "layer_norm"), list(itertools.product([True, False], [True, False])))
def test_lstm_gradcheck_with_all_regularizers(reverse: bool, layer_norm: bool) -> None:
    state_mask, zoneout, cell_zoneout = mask(B, H) * 2, mask(N, H), mask(N, H)

    def run(
        gates: Tensor, weight: Tensor, bias: Tensor, h0: Tensor, c0: Tensor, norm: Tensor
    ) -> tuple[Tensor, ...]:
        return lstm_scan(
            gates,
            BATCH_SIZES,
            weight,
            bias,
            h0,
            c0,
            reverse=reverse,
            state_mask=state_mask,
            zoneout=zoneout,
            cell_zoneout=cell_zoneout,
            norm_weight=norm if layer_norm else None,
        )

    inputs = (double(N, 4 * H), double(4 * H, H), double(4 * H), double(B, H), double(B, H), double(4 * H))
    assert torch.autograd.gradcheck(run, inputs)


def test_state_mask_hides_the_state_from_the_product_only() -> None:
    """With everything masked the recurrent product is its bias; z still carries the old state on."""
    gates, weight, h0 = double(N, 3 * H), double(3 * H, H), double(B, H)
    bias = torch.zeros(3 * H, dtype=torch.float64)
    masked, _ = gru_scan(gates, BATCH_SIZES, weight, bias, h0, state_mask=torch.zeros(B, H).double())
    no_weight, _ = gru_scan(gates, BATCH_SIZES, torch.zeros_like(weight), bias, h0)
    torch.testing.assert_close(masked, no_weight)
    assert not torch.allclose(masked[:B], gru_scan(gates, BATCH_SIZES, weight, bias, h0 * 0)[0][:B])


def test_zoneout_mask_of_ones_keeps_the_initial_state() -> None:
    gates, weight, bias, h0 = double(N, 3 * H), double(3 * H, H), double(3 * H), double(B, H)
    _, final = gru_scan(gates, BATCH_SIZES, weight, bias, h0, zoneout=torch.ones(N, H).double())
    torch.testing.assert_close(final, h0)


def test_founding_document_form_is_the_same_function() -> None:
    """h = (1 - z') h_prev + z' n with z' = 1 - z: negate the update gate's weights and biases."""
    gates, weight, bias, h0 = double(N, 3 * H), double(3 * H, H), double(3 * H), double(B, H)
    ours, _ = gru_scan(gates, BATCH_SIZES, weight, bias, h0)
    sign = torch.ones(3 * H, dtype=torch.float64)
    sign[H : 2 * H] = -1
    h = h0
    first, theirs = 0, []
    for active in BATCH_SIZES:
        x, h_prev = (gates * sign)[first : first + active], h[:active]
        a = h_prev @ (weight * sign[:, None]).T + bias * sign
        r = torch.sigmoid(x[:, :H] + a[:, :H])
        z = torch.sigmoid(x[:, H : 2 * H] + a[:, H : 2 * H])
        n = torch.tanh(x[:, 2 * H :] + r * a[:, 2 * H :])
        h = (1 - z) * h_prev + z * n
        theirs.append(h)
        first += active
    torch.testing.assert_close(ours, torch.cat(theirs))


# Layers ------------------------------------------------------------------------------------------------

U, D, RATE = 5, 3, 0.4
INDEX = torch.tensor([0, 3, 1, 1, 4, 0, 1, 4, 0])  # nobody reads vector 2
SEEDS = (11, 2**63 + 5)
FORMS = ["direct", "indexed", "masked", "indexed and masked"]


def layer_inputs(form: str) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Vectors, index and input mask."""
    index = INDEX if "indexed" in form else None
    rows = double(N if index is None else U, D)
    return rows, index, mask(B, D) * 2 if "masked" in form else None


def weights(gates: int, layer_norm: bool) -> list[Tensor | None]:
    """Of one direction, in the order of its fields."""
    sizes: list[tuple[int, ...]] = [(gates * H, D), (gates * H, H)] + [(gates * H,)] * 4
    return [double(*size) if layer_norm or place < 4 else None for place, size in enumerate(sizes)]


def projected(rows: Tensor, index: Tensor | None, input_mask: Tensor | None, direction: Direction) -> Tensor:
    """Input gates of every packed row by itself, in the order of the definition."""
    spread = rows if index is None else rows[index]
    if input_mask is not None:
        owners = [sequence for active in BATCH_SIZES for sequence in range(active)]
        spread = spread * input_mask[owners]
    gates = spread @ direction.weight_ih.T
    if direction.norm_weight_ih is not None:
        blocks = gates.unflatten(1, (-1, H))
        centred = blocks - blocks.mean(2, keepdim=True)
        gates = (centred / (centred.square().mean(2, keepdim=True) + NORM_EPS).sqrt()).flatten(1)
        gates = gates * direction.norm_weight_ih
    return gates + direction.bias_ih


def leaves(rows: Tensor, directions: Sequence[Direction]) -> tuple[Tensor, ...]:
    fields = [value for direction in directions for value in vars(direction).values()]
    return rows, *(v for v in fields if isinstance(v, Tensor) and v.requires_grad)


def assert_same(found: Sequence[Tensor], expected: Sequence[Tensor], inputs: tuple[Tensor, ...]) -> None:
    """Values, and gradients of a sum that tells all of them apart."""
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)
    cotangents = [torch.randn_like(value) for value in expected]
    ours, theirs = (torch.autograd.grad(values, inputs, cotangents) for values in (found, expected))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-12)


LAYER_CASES = list(itertools.product(FORMS, [1, 2], [True, False]))


@pytest.mark.parametrize(("form", "num_directions", "layer_norm"), LAYER_CASES)
@pytest.mark.parametrize("reset_after", [True, False])
def test_gru_layer_is_projection_and_scan(
    form: str, num_directions: int, layer_norm: bool, reset_after: bool
) -> None:
    rows, index, input_mask = layer_inputs(form)
    directions = [
        GruDirection(*weights(3, layer_norm), double(B, H), mask(B, H) * 2, DrawnZoneout(RATE, seed))
        for seed in SEEDS[:num_directions]
    ]
    found = gru_layer(rows, index, BATCH_SIZES, directions, input_mask=input_mask, reset_after=reset_after)
    results = [
        gru_scan(
            projected(rows, index, input_mask, direction),
            BATCH_SIZES,
            direction.weight_hh,
            direction.bias_hh,
            direction.h0,
            reverse=bool(place),
            reset_after=reset_after,
            state_mask=direction.state_mask,
            zoneout=torch.from_numpy(zoneout_bits(SEEDS[place], N, H, RATE)).double(),
            norm_weight=direction.norm_weight_hh,
        )
        for place, direction in enumerate(directions)
    ]
    expected = torch.cat([r[0] for r in results], dim=1), torch.stack([r[1] for r in results])
    assert_same(found, expected, leaves(rows, directions))


@pytest.mark.parametrize(("form", "num_directions", "layer_norm"), LAYER_CASES)
def test_lstm_layer_is_projection_and_scan(form: str, num_directions: int, layer_norm: bool) -> None:
    rows, index, input_mask = layer_inputs(form)
    directions = [
        LstmDirection(
            *weights(4, layer_norm),
            double(B, H),
            double(B, H),
            mask(B, H) * 2,
            DrawnZoneout(RATE, seed),
            DrawnZoneout(RATE, seed + 1),
        )
        for seed in SEEDS[:num_directions]
    ]
    found = lstm_layer(rows, index, BATCH_SIZES, directions, input_mask=input_mask)
    results = [
        lstm_scan(
            projected(rows, index, input_mask, direction),
            BATCH_SIZES,
            direction.weight_hh,
            direction.bias_hh,
            direction.h0,
            direction.c0,
            reverse=bool(place),
            state_mask=direction.state_mask,
            zoneout=torch.from_numpy(zoneout_bits(SEEDS[place], N, H, RATE)).double(),
            cell_zoneout=torch.from_numpy(zoneout_bits(SEEDS[place] + 1, N, H, RATE)).double(),
            norm_weight=direction.norm_weight_hh,
        )
        for place, direction in enumerate(directions)
    ]
    outputs, hidden, cells = zip(*results, strict=True)
    expected = torch.cat(outputs, dim=1), torch.stack(hidden), torch.stack(cells)
    assert_same(found, expected, leaves(rows, directions))


def test_a_layer_starts_from_zeros_and_takes_a_rate() -> None:
    rows = double(N, D)
    parameters = weights(3, layer_norm=False)
    without = gru_layer(rows, None, BATCH_SIZES, [GruDirection(*parameters, zoneout=RATE)])
    zeros = torch.zeros(B, H, dtype=torch.float64)
    spelt_out = torch.full((N, H), RATE, dtype=torch.float64)
    given = GruDirection(*parameters, h0=zeros, zoneout=spelt_out)
    for found, expected in zip(without, gru_layer(rows, None, BATCH_SIZES, [given]), strict=True):
        torch.testing.assert_close(found, expected)
