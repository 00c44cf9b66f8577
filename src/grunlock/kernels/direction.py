"""One direction of one recurrent layer: the weights, first states and masks that a kernel is given.

No arithmetic and no checks. torch is named for the type checker only, so importing this is cheap.
Whether time runs forward or backward follows from a direction's place in the kernel's list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class DrawnZoneout:
    """A zoneout mask [N, H] that the kernel draws itself, bit for bit as counter_random.zoneout_bits.

    rate: chance that a unit keeps its old state, 0 <= rate < 1.
    seed: 0 <= seed < 2**64.
    """

    rate: float
    seed: int


@dataclass(frozen=True)
class GruDirection:
    """What reference.gru_scan needs besides inputs, and the weights that project them.

    zoneout: a mask [N, H] of 0 / 1, or a mask to draw, or the rate (the expectation, for inference).
    """

    weight_ih: Tensor  # [3H, D]
    weight_hh: Tensor  # [3H, H]
    bias_ih: Tensor | None  # [3H]
    bias_hh: Tensor | None  # [3H]
    norm_weight_ih: Tensor | None = None  # [3H] gain of the layer norm on weight_ih @ x; both or neither
    norm_weight_hh: Tensor | None = None  # [3H] gain of the layer norm on weight_hh @ h
    h0: Tensor | None = None  # [B, H]; None: zeros
    state_mask: Tensor | None = None  # [B, H]
    zoneout: Tensor | float | DrawnZoneout | None = None


@dataclass(frozen=True)
class LstmDirection:
    """The same for reference.lstm_scan, whose two states each have a start and a zoneout."""

    weight_ih: Tensor  # [4H, D]
    weight_hh: Tensor  # [4H, H]
    bias_ih: Tensor | None  # [4H]
    bias_hh: Tensor | None  # [4H]
    norm_weight_ih: Tensor | None = None  # [4H]
    norm_weight_hh: Tensor | None = None  # [4H]
    h0: Tensor | None = None  # [B, H]
    c0: Tensor | None = None  # [B, H]
    state_mask: Tensor | None = None  # [B, H]
    zoneout: Tensor | float | DrawnZoneout | None = None
    cell_zoneout: Tensor | float | DrawnZoneout | None = None
