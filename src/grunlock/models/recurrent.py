"""The recurrent encoder: norm, GRU or LSTM, layer after layer, on packed rows."""

from typing import TypedDict

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from grunlock.kernels.native import Precision
from grunlock.layers import GRU, LSTM
from grunlock.layers.gru import NUM_GATES as GRU_GATES
from grunlock.layers.initialization import Initialization, initialize_recurrent
from grunlock.layers.lstm import NUM_GATES as LSTM_GATES
from grunlock.layers.packing import IndexedRows
from grunlock.models.encoded import CarriedStates, EncodedSequences
from grunlock.models.rows import build_norm, normalize
from grunlock.recipe.model_options import GruOptions, LstmOptions


class RecurrentEncoder(nn.Module):
    """num_layers of (norm, recurrent layer). E = H, or 2H with two directions."""

    def __init__(self, input_size: int, options: GruOptions | LstmOptions, chrono_steps: int) -> None:
        super().__init__()
        self.output_size = options.output_size(input_size)
        self.norms = nn.ModuleList()
        self.layers = nn.ModuleList()
        for index in range(options.num_layers):
            width = input_size if index == 0 else self.output_size
            if options.norm is not None:
                self.norms.append(build_norm(options.norm, width))
            self.layers.append(build_layer(width, options, chrono_steps))

    def forward(self, rows: IndexedRows | PackedSequence) -> EncodedSequences:  # D wide
        return self.advance(rows, None)[0]

    def advance(
        self, rows: IndexedRows | PackedSequence, states: CarriedStates | None
    ) -> tuple[EncodedSequences, CarriedStates]:
        """See SteppedEncoder; with two directions from the first step only."""
        carried: CarriedStates = []
        for index, layer in enumerate(self.layers):
            if self.norms:
                rows = normalize(self.norms[index], rows)
            before = None if states is None else states[index]
            given = before[0] if before is not None and len(before) == 1 else before
            rows, state = layer(rows, given)
            carried.append(state if isinstance(state, tuple) else (state,))
        assert isinstance(rows, PackedSequence)
        final = torch.cat(tuple(carried[-1][0]), dim=1)
        return EncodedSequences(rows.data, final, rows.batch_sizes), carried


class LayerArguments(TypedDict):
    """What GRU and LSTM layers take alike."""

    bidirectional: bool
    layer_norm: bool
    input_dropout: float
    output_dropout: float
    state_dropout: float
    weight_dropout: float
    zoneout: float
    precision: Precision


def build_layer(width: int, options: GruOptions | LstmOptions, chrono_steps: int) -> GRU | LSTM:
    """One recurrent layer with the recipe's regularisers and initial weights."""
    arguments = LayerArguments(
        bidirectional=options.bidirectional,
        layer_norm=options.cell_norm,
        input_dropout=options.input_dropout,
        output_dropout=options.output_dropout,
        state_dropout=options.state_dropout,
        weight_dropout=options.weight_dropout,
        zoneout=options.zoneout,
        precision=options.precision,
    )
    layer: GRU | LSTM
    if isinstance(options, GruOptions):
        layer = GRU(width, options.hidden_size, reset_after=options.reset_after, **arguments)
        memory_bias, num_gates = options.update_bias, GRU_GATES
    else:
        layer = LSTM(width, options.hidden_size, **arguments)
        memory_bias, num_gates = options.forget_bias, LSTM_GATES
    start = Initialization(options.recurrent_init, options.input_init, memory_bias, chrono_steps)
    initialize_recurrent(layer, num_gates, start)
    return layer
