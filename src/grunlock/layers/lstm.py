"""The LSTM as a torch module, with the same regularisers as the GRU, for fair comparison."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from grunlock.kernels.direction import LstmDirection
from grunlock.kernels.dispatch import lstm_kernel
from grunlock.kernels.native import Precision
from grunlock.layers.packing import IndexedRows, Packed, pack
from grunlock.layers.stack import (
    ParameterNames,
    Regularization,
    check_precision,
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
    parameter_names: list[list[ParameterNames]]

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
        precision: Precision = "float32",
    ) -> None:
        super().__init__()
        check_precision(precision)
        self.precision = precision
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
        input: Tensor | PackedSequence | IndexedRows,
        hx: tuple[Tensor, Tensor] | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor | PackedSequence, tuple[Tensor, Tensor]]:
        packed = pack(input, lengths, self.batch_first, self.input_size)
        initial = (None, None) if hx is None else initial_states(self, hx, packed)
        rows, h, c = run_stack(self, LstmDirection, self._run_layer, packed, initial)
        return packed.restore(rows, self.batch_first), (packed.unsort(h), packed.unsort(c))

    def extra_repr(self) -> str:
        """Sizes and whatever is not torch's default, for print(module)."""
        return describe(self) + ("" if self.precision == "float32" else f", precision={self.precision}")

    def flatten_parameters(self) -> None:
        """Nothing to do: weights are not laid out for cuDNN. Here because code for torch.nn.GRU calls it."""

    def _run_layer(
        self, packed: Packed, directions: list[LstmDirection], input_mask: Tensor | None
    ) -> tuple[Tensor, ...]:
        result: tuple[Tensor, Tensor, Tensor] = lstm_kernel(packed.rows).lstm_layer(
            packed.rows,
            packed.index,
            packed.batch_sizes,
            directions,
            input_mask=input_mask,
            precision=self.precision,
        )
        return result
