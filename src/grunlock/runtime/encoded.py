"""What an encoder gives at inference, whole sequences or the next steps of one."""

from typing import NamedTuple, Protocol

from grunlock.shapes import FloatArray, PackedLayout

States = tuple[FloatArray, ...]  # after some steps of one sequence: what the steps behind them need


class Encoded(NamedTuple):
    """The twin of models.encoded.EncodedSequences."""

    rows: FloatArray  # [N, E] states, packed
    final: FloatArray  # [B, E] after the last step, of each direction
    layout: PackedLayout  # of the rows: the input's, or that of its chunks


class SteppedEncoder(Protocol):
    """What reads one sequence some steps at a time. It holds no states and changes none that it is given."""

    def start(self) -> States:
        """Before the first step."""
        ...

    def advance(self, rows: FloatArray, states: States) -> tuple[FloatArray, States]:
        """The next steps [n, D] to their states [n, E], and what the next call needs."""
        ...
