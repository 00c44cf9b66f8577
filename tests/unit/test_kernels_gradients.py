"""Gradients of the oracle by finite differences, with every regulariser on and its masks fixed."""

import itertools

import pytest
import torch
from torch import Tensor

from grunlock.kernels.reference import gru_scan, lstm_scan

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
