"""Layers whose gates read inputs only, so that time is one elementwise recurrence: minGRU, minLSTM, QRNN.

All products stand in front of the recurrence, which kernels/scan.py states. A keep gate of 1 keeps the old
state, as everywhere here; the papers' minGRU has it the other way round.
"""

from typing import cast

import torch
from torch import Tensor, nn

from grunlock.kernels.scan import SCAN_GATES, Cell
from grunlock.kernels.scan_autograd import gated_scan
from grunlock.layers.packing import IndexedRows
from grunlock.layers.window import WindowLinear, window_product
from grunlock.shapes import last_rows


class ScanLayer(nn.Module):
    """One layer forward in time, and perhaps backward. E = H for each direction.

    cell: "mingru" and "minlstm" (Feng 2024) or "qrnn" (Bradbury 2016), which has an output gate besides
        (fo-pooling).
    window_steps: that each gate reads, the present one and those behind it in its direction.

    Attributes:
        directions: for each direction its gates by name, each a linear map of its own.
    """

    def __init__(
        self, input_size: int, hidden_size: int, cell: Cell, *, bidirectional: bool, window_steps: int = 1
    ) -> None:
        super().__init__()
        self.cell = cell
        self.directions = nn.ModuleList()
        for behind in (-1, 1)[: 1 + bidirectional]:
            offsets = [behind * k for k in range(window_steps)]
            gates = {name: WindowLinear(input_size, hidden_size, offsets) for name in SCAN_GATES[cell]}
            self.directions.append(nn.ModuleDict(gates))

    def forward(self, rows: IndexedRows, h0: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Rows D wide, from states h0 [directions, B, H] or zeros.

        Gives output rows [N, E], what each direction gives after its last step [B, E], and the states then
        [directions, B, H].
        """
        sizes = rows.batch_sizes
        output, final = gated_scan(
            self._products(rows), sizes.tolist(), self.cell, h0, num_directions=len(self.directions)
        )  # [N, E], [directions, B, H]
        if self.cell != "qrnn":
            return output, torch.cat(tuple(final), dim=1), final
        last, size = torch.from_numpy(last_rows(sizes.numpy())), final.shape[2]
        finals = [output[:, :size].index_select(0, last)]
        if len(self.directions) == 2:
            finals.append(output[: final.shape[1], size:])  # backward in time the first step is the last
        return output, torch.cat(finals, dim=1), final

    def _products(self, rows: IndexedRows) -> Tensor:
        """[N, directions * gH] before activation; as one product where all read the same steps."""
        by_direction = [
            [cast(WindowLinear, gates.get_submodule(name)) for name in SCAN_GATES[self.cell]]
            for gates in self.directions
        ]
        if by_direction[0][0].offsets == (0,):
            return window_product(rows, [gate for gates in by_direction for gate in gates])
        return torch.cat([window_product(rows, gates) for gates in by_direction], dim=1)
