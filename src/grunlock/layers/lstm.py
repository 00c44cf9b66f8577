"""The LSTM as a torch module, with the same regularisers as the GRU, for fair comparison."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from grunlock.kernels.dispatch import training_kernel
from grunlock.layers.packing import pack
from grunlock.layers.stack import (
    Direction,
    Regularization,
    describe,
    initial_states,
    reset_uniform,
    run_stack,
    set_up,
)

NUM_GATES = 4


class LSTM(nn.Module):
    """Long short-term memory over ragged sequences, a drop-in for torch.nn.LSTM (without projections).

    Equations: grunlock.kernels.reference.lstm_scan. Arguments, shapes and errors: see layers.gru.GRU;
    hx and the second result are pairs (h, c), each [L * directions, B, H]. zoneout acts on both states
    with masks of their own.
    """

    input_size: int
    hidden_size: int
    num_layers: int
    bias: bool
    batch_first: bool
    dropout: float
    bidirectional: bool
    layer_norm: bool
    regularization: Regularization

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
        set_up(
            self,
            NUM_GATES,
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            layer_norm=layer_norm,
            regularization=Regularization(
                input_dropout, output_dropout, state_dropout, weight_dropout, zoneout
            ),
            device=device,
            dtype=dtype,
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights as torch does. Better ones: layers.initialization."""
        reset_uniform(self, self.hidden_size)

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: tuple[Tensor, Tensor] | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor | PackedSequence, tuple[Tensor, Tensor]]:
        packed = pack(input, lengths, self.batch_first, self.input_size)
        initial = initial_states(self, hx, packed, num_states=2)
        rows, (h, c) = run_stack(self, self._scan, packed, initial)
        return packed.restore(rows, self.batch_first), (packed.unsort(h), packed.unsort(c))

    def extra_repr(self) -> str:
        """Sizes and whatever is not torch's default, for print(module)."""
        return describe(self)

    def flatten_parameters(self) -> None:
        """Nothing to do: weights are not laid out for cuDNN. Here because code for torch.nn.GRU calls it."""

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
