"""Encoders whose gates read inputs only: minGRU, minLSTM, QRNN."""

from typing import Literal

import torch
from torch import nn

from grunlock.layers.dropout import drop_variational
from grunlock.layers.packing import IndexedRows
from grunlock.layers.scan import ScanLayer
from grunlock.models.encoded import CarriedStates, EncodedSequences
from grunlock.models.rows import build_norm, drop_inputs, normalize
from grunlock.recipe.model_options import MinGruOptions, MinLstmOptions, QrnnOptions


class ScanEncoder(nn.Module):
    """num_layers of (norm, scan layer)."""

    def __init__(
        self, input_size: int, options: MinGruOptions | MinLstmOptions | QrnnOptions, chrono_steps: int
    ) -> None:
        super().__init__()
        self.output_size = options.output_size(input_size)
        self.input_dropout = options.input_dropout
        self.output_dropout = options.output_dropout
        self.norms = nn.ModuleList()
        self.layers = nn.ModuleList()
        for index in range(options.num_layers):
            width = self.output_size if index else input_size
            if options.norm is not None:
                self.norms.append(build_norm(options.norm, width))
            layer = ScanLayer(
                width,
                options.hidden_size,
                options.kind,
                bidirectional=options.bidirectional,
                window_steps=options.window_steps if isinstance(options, QrnnOptions) else 1,
            )
            start_keeping(layer, options.keep_bias, chrono_steps)
            self.layers.append(layer)

    def forward(self, rows: IndexedRows) -> EncodedSequences:
        return self.advance(rows, None)[0]

    def advance(
        self, rows: IndexedRows, states: CarriedStates | None
    ) -> tuple[EncodedSequences, CarriedStates]:
        """See SteppedEncoder; with two directions, or a window of steps, from the first step only."""
        sizes = rows.batch_sizes
        carried: CarriedStates = []
        for index, layer in enumerate(self.layers):
            if self.norms:
                rows = normalize(self.norms[index], rows)
            rows = drop_inputs(rows, self.input_dropout, training=self.training)
            output, final, state = layer(rows, None if states is None else states[index][0])
            carried.append((state,))
            output = drop_variational(output, sizes.tolist(), self.output_dropout, self.training)
            rows = IndexedRows.of_rows(output, sizes)
        return EncodedSequences(rows.vectors, final, sizes), carried


@torch.no_grad()
def start_keeping(layer: ScanLayer, keep_bias: float | Literal["chrono"], chrono_steps: int) -> None:
    """Biases of the keep gates; "chrono" as in layers.initialization."""
    for gates in layer.directions:
        bias = gates.get_parameter("keep.bias")
        if keep_bias == "chrono":
            bias.uniform_(1.0, max(1.0 + 1e-6, chrono_steps - 1.0)).log_()
        else:
            bias.fill_(keep_bias)
