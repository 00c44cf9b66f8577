"""The recurrent encoder: norm, GRU or LSTM, layer after layer, on packed rows."""

from dataclasses import dataclass, replace
from typing import TypedDict

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from grunlock.kernels import NORM_EPS
from grunlock.kernels.native import Precision
from grunlock.layers import GRU, LSTM
from grunlock.layers.gru import NUM_GATES as GRU_GATES
from grunlock.layers.initialization import Initialization, initialize_recurrent
from grunlock.layers.lstm import NUM_GATES as LSTM_GATES
from grunlock.layers.norm import PackedBatchNorm
from grunlock.layers.packing import IndexedRows
from grunlock.recipe.model_options import GruOptions, LstmOptions


@dataclass(frozen=True)
class EncodedSequences:
    """What pooling reads."""

    rows: Tensor  # [N, E] state after every step, packed
    final: Tensor  # [B, E] each direction's state after its last step


class RecurrentEncoder(nn.Module):
    """num_layers of (norm, recurrent layer). E = H, or 2H with two directions."""

    def __init__(self, input_size: int, options: GruOptions | LstmOptions, chrono_steps: int) -> None:
        super().__init__()
        self.output_size = options.hidden_size * (2 if options.bidirectional else 1)
        self.norms = nn.ModuleList()
        self.layers = nn.ModuleList()
        for index in range(options.num_layers):
            width = input_size if index == 0 else self.output_size
            if options.norm is not None:
                self.norms.append(
                    PackedBatchNorm(width) if options.norm == "batch" else nn.LayerNorm(width, eps=NORM_EPS)
                )
            self.layers.append(build_layer(width, options, chrono_steps))

    def forward(self, rows: IndexedRows | PackedSequence) -> EncodedSequences:  # D wide
        for index, layer in enumerate(self.layers):
            if self.norms:
                rows = normalize(self.norms[index], rows)
            output, state = layer(rows)
            rows = output
        hidden = state[0] if isinstance(state, tuple) else state  # [directions, B, H]
        return EncodedSequences(output.data, torch.cat(tuple(hidden), dim=1))


def normalize(norm: nn.Module, rows: IndexedRows | PackedSequence) -> IndexedRows | PackedSequence:
    """Norm in front of a layer. Equal rows are normalised once; their number counts in statistics."""
    if isinstance(rows, PackedSequence):
        return rows._replace(data=norm(rows.data))
    counts = (rows.counts(),) if isinstance(norm, PackedBatchNorm) else ()
    return replace(rows, vectors=norm(rows.vectors, *counts))


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
