"""Which encoder a recipe asks for."""

from torch import nn

from grunlock.layers.packing import IndexedRows
from grunlock.models.convolution import ConvEncoder
from grunlock.models.encoded import EncodedSequences, Encoder, ending_at_last_step
from grunlock.models.recurrent import RecurrentEncoder
from grunlock.models.scan import ScanEncoder
from grunlock.models.transformer import TransformerEncoder
from grunlock.recipe.model_options import (
    BagOptions,
    ConvOptions,
    EncoderOptions,
    GruOptions,
    LstmOptions,
    TransformerOptions,
)


class BagEncoder(nn.Module):
    """The vectors as they come: no parameter, no order. E = D."""

    def __init__(self, input_size: int) -> None:
        super().__init__()
        self.output_size = input_size

    def forward(self, rows: IndexedRows) -> EncodedSequences:
        return ending_at_last_step(rows.spread(), rows.batch_sizes)


def build_encoder(input_size: int, options: EncoderOptions, *, chrono_steps: int, max_steps: int) -> Encoder:
    """chrono_steps: the longest time to remember, for "chrono"; max_steps: positions that can be learned."""
    if isinstance(options, BagOptions):
        return BagEncoder(input_size)
    if isinstance(options, ConvOptions):
        return ConvEncoder(input_size, options)
    if isinstance(options, TransformerOptions):
        return TransformerEncoder(input_size, options, max_steps)
    if isinstance(options, GruOptions | LstmOptions):
        return RecurrentEncoder(input_size, options, chrono_steps)
    return ScanEncoder(input_size, options, chrono_steps)
