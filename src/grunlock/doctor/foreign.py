"""A GRU classifier of any origin as one frozen description: weights in our order, and how they are used.

Readers make it, checks read it, twin.py computes it. Letters as in grunlock/shapes.py; gates are stacked
reset, update, candidate, as everywhere in this package.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from grunlock.doctor.findings import Unknown
from grunlock.kernels.stack import DirectionWeights, LayerWeights
from grunlock.shapes import FloatArray, IntArray

Kind = Literal["torch weights", "torch module", "Keras 3 file", "ONNX graph", "grunlock model"]

# How states become one vector. last: each direction's final state. last_step: what stands at the last
# position, where a backward direction has read one step only. flatten: all positions side by side.
Part = Literal["last", "last_step", "max", "mean", "flatten"]
PARTS: tuple[Part, ...] = ("last", "last_step", "max", "mean", "flatten")
AtPads = Literal["states", "held", "zero"]
Place = Literal["embedding", "recurrent", "pooled", "hidden", "logits", "probs"]


@dataclass(frozen=True)
class Embedding:
    """weight: [V, D]. padding_id: the id that fills up texts; None if nothing says which."""

    name: str
    weight: FloatArray
    padding_id: int | None = None


@dataclass(frozen=True)
class GruLayer:
    """directions: forward in time, then backward if there are two.

    activation, gate_activation: of the candidate and of the gates, by the names of their library
    """

    name: str
    directions: tuple[DirectionWeights, ...]
    reset_after: bool
    activation: str = "tanh"
    gate_activation: str = "sigmoid"

    @property
    def hidden_size(self) -> int:
        return int(self.directions[0].weight_hh.shape[1])

    @property
    def input_size(self) -> int:
        return int(self.directions[0].weight_ih.shape[1])

    @property
    def output_size(self) -> int:
        return self.hidden_size * len(self.directions)

    def weights(self) -> LayerWeights:
        return LayerWeights(self.directions, self.reset_after)


@dataclass(frozen=True)
class Norm:
    """A norm over batches as it predicts: x * gain + shift. masked: whether it knew the ends in training."""

    name: str
    gain: FloatArray
    shift: FloatArray
    place: Literal["embedding", "pooled"]
    masked: bool


@dataclass(frozen=True)
class Dense:
    """weight: [out, in]. activation: "linear", "relu", "tanh", "softmax", "sigmoid" or another's name."""

    name: str
    weight: FloatArray
    bias: FloatArray
    activation: str = "linear"


@dataclass(frozen=True)
class Dropout:
    """place: what it is laid on. acts: False where the library ignores it."""

    name: str
    rate: float
    place: Place
    acts: bool = True


@dataclass(frozen=True)
class Padding:
    """What happens behind the end of a text that is shorter than others; None: not known.

    gru:     the GRU reads pads as if they were words
    pooling: pooling reads the positions of pads
    at_pads: what stands there for it: states that went on, the last real state, or zeros
    knowing: parts of the pooling that know the ends even where others do not
    """

    gru: bool | None
    pooling: bool | None
    at_pads: AtPads = "states"
    knowing: tuple[Part, ...] = ()


@dataclass(frozen=True)
class WordList:
    """How words become ids, where the model brings it along. unknown_id: of words that are not there."""

    ids: Mapping[str, int]
    unknown_id: int | None
    split: Literal["words", "whitespace", "characters"]
    lowercase: bool
    strip_punctuation: bool = False


@dataclass(frozen=True)
class ForeignModel:
    """One classifier.

    pooling: parts in the order in which they stand side by side; None: not known
    head:    dense layers, the last one gives the answer
    other:   parts that are not understood; with any of them the model is not computed
    facts:   what else a check may want: producer, version, options of layers by name
    """

    kind: Kind
    where: str
    embedding: Embedding | None
    layers: tuple[GruLayer, ...]
    pooling: tuple[Part, ...] | None
    padding: Padding
    norms: tuple[Norm, ...] = ()
    head: tuple[Dense, ...] = ()
    dropouts: tuple[Dropout, ...] = ()
    other: tuple[str, ...] = ()
    unknown: tuple[Unknown, ...] = ()
    words: WordList | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def num_classes(self) -> int | None:
        """K; two for a single sigmoid."""
        if not self.head:
            return None
        return max(2, len(self.head[-1].bias))

    @property
    def bidirectional(self) -> bool:
        return any(len(layer.directions) > 1 for layer in self.layers)


@dataclass(frozen=True)
class Texts:
    """Texts as ids, all padded to the same length.

    ids:     [n, T] int64
    lengths: [n] real steps, 1 to T
    side:    where the pads are
    """

    ids: IntArray
    lengths: IntArray
    side: Literal["pre", "post"] = "post"

    def real(self) -> NDArray[np.bool_]:
        """[n, T] True where a word stands."""
        steps = np.arange(self.ids.shape[1])[None]
        if self.side == "post":
            return np.asarray(steps < self.lengths[:, None])
        return np.asarray(steps >= self.ids.shape[1] - self.lengths[:, None])

    def __len__(self) -> int:
        return len(self.lengths)


class Original(Protocol):
    """The model as its own library runs it."""

    @property
    def runner(self) -> str: ...

    def outputs(self, ids: IntArray, lengths: IntArray) -> FloatArray:
        """[B, K] of ids [B, T], whatever the model gives: logits or probabilities."""
        ...
