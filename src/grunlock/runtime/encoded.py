"""What an encoder gives at inference."""

from typing import NamedTuple

from grunlock.shapes import FloatArray, PackedLayout


class Encoded(NamedTuple):
    """The twin of models.encoded.EncodedSequences."""

    rows: FloatArray  # [N, E] states, packed
    final: FloatArray  # [B, E] after the last step, of each direction
    layout: PackedLayout  # of the rows: the input's, or that of its chunks
