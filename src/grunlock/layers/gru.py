"""The GRU as a torch module: a drop-in for torch.nn.GRU with the regularisers a GRU needs."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from grunlock.kernels.direction import GruDirection
from grunlock.kernels.dispatch import gru_kernel
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

NUM_GATES = 3


class GRU(nn.Module):
    """Gated recurrent unit over ragged sequences.

    Takes the arguments, inputs and state dict of torch.nn.GRU and returns the same values. The
    equations, with the meaning of both gates and both values of `reset_after`, stand in
    grunlock.kernels.reference.gru_scan.

    Args beyond torch.nn.GRU's, all keyword-only:
        reset_after: True is torch's and cuDNN's form. False applies the reset gate to the state before
            the matrix product (Cho 2014).
        input_dropout, output_dropout: variational, one mask per sequence, on each layer's input / output.
        state_dropout: variational, on h before the recurrent product (Keras: recurrent_dropout).
        weight_dropout: DropConnect on weight_hh, one mask per batch.
        zoneout: chance that a unit keeps its old state in a step; its expectation at inference.
        layer_norm: layer norm of both products per gate, inside the cell; adds norm_weight_{ih,hh}_l{k}.
        precision: "bfloat16" lets a kernel that can multiply in it do so, with sums and states in float32.
    `dropout` is torch's: independent per element, between layers only.

    Shapes: input [T, B, D], [B, T, D] with batch_first, [T, D] unbatched, a PackedSequence, or
    packing.IndexedRows; lengths [B] in any order, for padded input; output in the same form (packed for
    IndexedRows) with directions * H columns, zero past each end; h_n [L * directions, B, H] holds the
    state after each sequence's last real step.

    Raises ShapeError for sizes, lengths, rates or a precision that cannot be right.
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
        reset_after: bool = True,
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
        self.reset_after = reset_after
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
        hx: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        packed = pack(input, lengths, self.batch_first, self.input_size)
        initial = (None,) if hx is None else initial_states(self, (hx,), packed)
        rows, final = run_stack(self, GruDirection, self._run_layer, packed, initial)
        return packed.restore(rows, self.batch_first), packed.unsort(final)

    def extra_repr(self) -> str:
        """Sizes and whatever is not torch's default, for print(module)."""
        form = "" if self.reset_after else ", reset_after=False"
        precision = "" if self.precision == "float32" else f", precision={self.precision}"
        return describe(self) + form + precision

    def flatten_parameters(self) -> None:
        """Nothing to do: weights are not laid out for cuDNN. Here because code for torch.nn.GRU calls it."""

    def _run_layer(
        self, packed: Packed, directions: list[GruDirection], input_mask: Tensor | None
    ) -> tuple[Tensor, ...]:
        result: tuple[Tensor, Tensor] = gru_kernel(packed.rows).gru_layer(
            packed.rows,
            packed.index,
            packed.batch_sizes,
            directions,
            input_mask=input_mask,
            reset_after=self.reset_after,
            precision=self.precision,
        )
        return result
