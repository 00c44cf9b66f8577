"""The LSTM as a torch module, with the same regularisers as the GRU, for fair comparison."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from grunlock.kernels.dispatch import training_kernel
from grunlock.layers.packing import pack
from grunlock.layers.stack import Direction, Regularization, add_parameters, initial_states, run_stack

NUM_GATES = 4


class LSTM(nn.Module):
    """Long short-term memory over ragged sequences, a drop-in for torch.nn.LSTM (without projections).

    Equations: grunlock.kernels.reference.lstm_scan. Arguments, shapes and errors: see layers.gru.GRU;
    hx and the second result are pairs (h, c), each [L * directions, B, H]. zoneout acts on both states
    with masks of their own.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        input_dropout: float = 0.0,
        output_dropout: float = 0.0,
        state_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        zoneout: float = 0.0,
        layer_norm: bool = False,
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.batch_first = batch_first
        self.dropout = dropout
        self.bidirectional = bidirectional
        self.regularization = Regularization(
            input_dropout, output_dropout, state_dropout, weight_dropout, zoneout
        )
        add_parameters(
            self,
            NUM_GATES,
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            bidirectional=bidirectional,
            layer_norm=layer_norm,
            device=device,
            dtype=dtype,
        )

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: tuple[Tensor, Tensor] | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor | PackedSequence, tuple[Tensor, Tensor]]:
        packed = pack(input, lengths, self.batch_first, self.input_size)
        num_states = self.num_layers * (2 if self.bidirectional else 1)
        initial = initial_states(hx, packed, (num_states, self.hidden_size), 2)
        rows, (h, c) = run_stack(
            self,
            self._scan,
            packed,
            initial,
            self.num_layers,
            self.bidirectional,
            self.dropout,
            self.regularization,
        )
        return packed.restore(rows, self.batch_first), (packed.unsort(h), packed.unsort(c))

    def _scan(
        self, input_gates: Tensor, batch_sizes: list[int], initial: tuple[Tensor, ...], direction: Direction
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        output, h, c = training_kernel().lstm_scan(
            input_gates,
            batch_sizes,
            direction.weight_hh,
            direction.bias_hh,
            initial[0],
            initial[1],
            reverse=direction.reverse,
            state_mask=direction.state_mask,
            zoneout=direction.zoneout[0],
            cell_zoneout=direction.zoneout[1],
            norm_weight=direction.norm_weight,
        )
        return output, (h, c)
