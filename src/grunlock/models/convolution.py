"""Convolutions over time: TextCNN's as an encoder, and one in front of any encoder."""

import torch
from torch import nn

from grunlock.layers.dropout import drop_variational
from grunlock.layers.packing import IndexedRows
from grunlock.layers.window import WindowLinear
from grunlock.models.encoded import EncodedSequences, ending_at_last_step
from grunlock.models.rows import build_norm, drop_inputs
from grunlock.recipe.model_options import ConvOptions, StemOptions
from grunlock.shapes import centred_window


class ConvEncoder(nn.Module):
    """relu(convolution) for each width, side by side (Kim 2014). E = H * widths.

    Every step has a window, completed with zeros at the ends, so that short texts have one too.
    """

    def __init__(self, input_size: int, options: ConvOptions) -> None:
        super().__init__()
        self.output_size = options.output_size(input_size)
        self.input_dropout = options.input_dropout
        self.output_dropout = options.output_dropout
        self.windows = nn.ModuleList(
            WindowLinear(input_size, options.hidden_size, centred_window(width)) for width in options.widths
        )

    def forward(self, rows: IndexedRows) -> EncodedSequences:
        rows = drop_inputs(rows, self.input_dropout, training=self.training)
        output = torch.cat([torch.relu(window(rows)) for window in self.windows], dim=1)
        sizes = rows.batch_sizes
        output = drop_variational(output, sizes.tolist(), self.output_dropout, self.training)
        return ending_at_last_step(output, sizes)


class ConvStem(nn.Module):
    """x + dropout(relu(norm(convolution of x))), perhaps several: neighbours seen before the first step."""

    def __init__(self, size: int, options: StemOptions) -> None:
        super().__init__()
        self.windows = nn.ModuleList(
            WindowLinear(size, size, centred_window(width)) for width in options.widths
        )
        norms = [] if options.norm is None else [build_norm(options.norm, size) for _ in options.widths]
        self.norms = nn.ModuleList(norms)
        self.dropout = nn.Dropout(options.dropout)

    def forward(self, rows: IndexedRows) -> IndexedRows:
        for i, window in enumerate(self.windows):
            seen = self.norms[i](window(rows)) if len(self.norms) else window(rows)
            added = self.dropout(torch.relu(seen))
            rows = IndexedRows.of_rows(rows.spread() + added, rows.batch_sizes)
        return rows
