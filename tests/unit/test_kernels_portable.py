"""The numpy kernel gives the oracle's numbers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grunlock.kernels import portable, reference
from grunlock.shapes import pack_layout

lengths_lists = st.lists(st.integers(1, 9), min_size=1, max_size=7)


@settings(max_examples=60, deadline=None)
@given(
    lengths=lengths_lists,
    hidden_size=st.integers(1, 9),
    lstm=st.booleans(),
    reverse=st.booleans(),
    reset_after=st.booleans(),
    layer_norm=st.booleans(),
    zoneout=st.sampled_from([None, 0.3]),
    seed=st.integers(0, 1000),
)
def test_portable_agrees_with_reference(
    lengths: list[int],
    hidden_size: int,
    lstm: bool,
    reverse: bool,
    reset_after: bool,
    layer_norm: bool,
    zoneout: float | None,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    layout = pack_layout(np.array(lengths))
    H, B, g = hidden_size, len(lengths), 4 if lstm else 3

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape)  # float64: any disagreement is a mistake, not rounding

    gates, weight, bias, norm = draw(layout.num_rows, g * H), draw(g * H, H), draw(g * H), draw(g * H)
    states = [draw(B, H) for _ in range(2 if lstm else 1)]
    common = {"reverse": reverse, "zoneout": zoneout}
    numpy_extra = {"norm_weight": norm if layer_norm else None}
    torch_extra = {"norm_weight": torch.from_numpy(norm) if layer_norm else None}
    if not lstm:
        common["reset_after"] = reset_after
    else:
        torch_extra["cell_zoneout"] = zoneout
    name = "lstm_scan" if lstm else "gru_scan"
    sizes = layout.batch_sizes.tolist()
    found = getattr(portable, name)(gates, sizes, weight, bias, *states, **common, **numpy_extra)
    tensors = [torch.from_numpy(a) for a in (weight, bias, *states)]
    expected = getattr(reference, name)(torch.from_numpy(gates), sizes, *tensors, **common, **torch_extra)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-10, atol=1e-11)


def test_sigmoid_saturates_without_overflow() -> None:
    with np.errstate(all="raise"):
        values = portable.sigmoid(np.array([-1e30, -100.0, 0.0, 100.0, 1e30], dtype=np.float32))
    assert values == pytest.approx([0, 0, 0.5, 1, 1], abs=1e-7)
