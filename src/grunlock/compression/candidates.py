"""What may become of a model that has to be smaller: each way to spend the bytes, filled up with n-grams."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from grunlock.artifact import Artifact, save
from grunlock.artifact.int8_storage import SCALE_BYTES, packed, table_row_bytes, unpacked
from grunlock.compression.coarse import with_coarse_rows
from grunlock.compression.narrowing import (
    NGRAMS,
    WORDS,
    Counts,
    can_narrow,
    narrowed,
    row_counts,
    summed,
    with_common_rows,
)
from grunlock.compression.pruning import Pruning
from grunlock.data.prepared import PreparedData
from grunlock.data.shards import ShardedStore
from grunlock.data.store import TokenStore
from grunlock.evaluation.splits import Forward, runtime_forward, split_logits
from grunlock.objectives.calibration import fit_temperature
from grunlock.objectives.metrics import EvaluationResult, evaluate
from grunlock.runtime.early import Temperatures
from grunlock.runtime.network import Network
from grunlock.runtime.probabilities import probabilities
from grunlock.shapes import FloatArray, IntArray
from grunlock.training.finish import promises, step_temperatures

SHARES = (1.0, 0.75, 0.5, 0.375, 0.25, 0.1875, 0.125, 0.0625)  # of the vectors' size, tried from the largest
TABLE_SHARES = (0.5, 0.2, 0.08)  # of the bytes, at most, for vectors
PACKED = 2  # times as many bytes, at most, does a file take before it is deflated
NEAR = 0.985  # of the n-grams that should fit, so that they do


@dataclass(frozen=True)
class Limit:
    """At most so many bytes, of what is measured: a model's file, or what a target makes of it."""

    max_bytes: int
    measure: Callable[[Artifact], int]

    def holds(self, artifact: Artifact) -> bool:
        return self.measure(artifact) <= self.max_bytes


@dataclass(frozen=True)
class Tables:
    """How small tables of vectors become: numbers of a vector, and how many vectors stay."""

    size: int
    most: int


@dataclass(frozen=True)
class Shape:
    """How small a network becomes.

    bits:   of the numbers in its matrices and vectors, 8 or 4
    tables: None where vectors stay as they are
    """

    bits: int
    tables: Tables | None


@dataclass(frozen=True)
class Filled:
    """A candidate whose n-grams fill the budget, and its logits on validation.

    network: the candidate without n-grams, whose logits are `alone`
    scores:  of the artifact, on validation
    """

    shape: Shape
    network: Artifact
    alone: FloatArray
    artifact: Artifact
    logits: FloatArray
    scores: EvaluationResult
    pruning: Pruning | None

    @property
    def vector_size(self) -> int:
        """1 for series."""
        embedding = self.network.recipe.embedding
        return 1 if embedding is None else embedding.size

    def is_whole(self, wide: Pruning | None) -> bool:
        """Whether no vector and none of the path's n-grams had to be left out."""
        vectors = [self.network.weights[name] for name in (WORDS, NGRAMS) if name in self.network.weights]
        tables = self.shape.tables
        room = tables is None or tables.most >= sum(len(each) for each in vectors)
        if wide is None or self.pruning is None:
            return room and wide is None
        return room and len(self.pruning.rows) == len(wide.rows)


def candidates(
    network: Artifact, data: PreparedData, max_bytes: int, bits: int, least_size: int
) -> Iterator[tuple[Shape, Artifact]]:
    """The network with weights of so many bits and smaller tables, those of wide vectors first.

    least_size: numbers of a vector; fewer are not tried
    """
    embedding = network.recipe.embedding
    if embedding is None or not can_narrow(network):
        shape = Shape(bits, None)
        yield shape, shaped(network, shape, {})
        return
    counts = vector_counts(network, data)
    total = sum(len(each) for each in counts.values())
    sizes = [max(1, round(share * embedding.size)) for share in SHARES]
    rooms = [int(share * max_bytes) for share in TABLE_SHARES]
    tables = [
        Tables(size, min(total, room // (size * bits // 8 + SCALE_BYTES)))
        for size in sizes
        if size >= least_size
        for room in rooms
    ]
    for each in dict.fromkeys(tables):
        shape = Shape(bits, each)
        yield shape, shaped(network, shape, counts)


def vector_counts(network: Artifact, data: PreparedData) -> Counts:
    """Of each table of vectors; none for series."""
    if isinstance(data.train, ShardedStore):
        return summed(row_counts(store, network) for store in data.train.stores())
    return row_counts(data.train, network) if isinstance(data.train, TokenStore) else {}


def shaped(network: Artifact, shape: Shape, counts: Counts) -> Artifact:
    """The network so small, with the weights that its file will give back."""
    tables = shape.tables
    if tables is not None:
        network = with_common_rows(narrowed(network, tables.size, counts), tables.most, counts)
    if shape.bits < 8:
        network = replace(network, weights=with_coarse_rows(network.weights))
    return rounded(network)


def rounded(artifact: Artifact) -> Artifact:
    """With the weights that its file will give back."""
    return replace(artifact, weights=unpacked(packed(artifact.weights)), storage="int8")


def filled(
    shape: Shape, network: Artifact, data: PreparedData, wide: Pruning | None, limit: Limit
) -> Filled | None:
    """With the n-grams that matter most, as they were learned; None where it does not fit without any."""
    alone = valid_logits(network, data)
    most = 0 if wide is None else _fitting(network, data, wide, limit)
    few = None if wide is None else wide.of_most(most, data.train.num_examples)
    few = None if few is None else few.weighed(data, network.recipe, alone)
    return _within(shape, network, alone, few, data, limit)


def learned_once_more(found: Filled, data: PreparedData, limit: Limit) -> Filled | None:
    """The n-grams of a candidate have learned without the others."""
    assert found.pruning is not None
    again = found.pruning.learned_once_more(data, found.network.recipe, found.alone)
    return _within(found.shape, found.network, found.alone, again, data, limit)


def _within(
    shape: Shape,
    network: Artifact,
    alone: FloatArray,
    pruning: Pruning | None,
    data: PreparedData,
    limit: Limit,
) -> Filled | None:
    """With all that its file has beside weights, and so many of the n-grams that it fits."""
    while pruning is not None:
        made = rounded(replace(network, weights=pruning.added_to(network.weights)))
        if limit.holds(made):
            logits = valid_logits(made, data)
            made, judged = scored(made, logits, data)
            if limit.holds(made):
                return Filled(shape, network, alone, made, logits, judged, pruning)
        pruning = pruning.without_last(data.train.num_examples)
    made, judged = scored(network, alone, data)
    return Filled(shape, network, alone, made, alone, judged, None) if limit.holds(made) else None


def scored(artifact: Artifact, logits: FloatArray, data: PreparedData) -> tuple[Artifact, EvaluationResult]:
    """With its own temperature, promises and metrics. logits: on validation."""
    targets = np.asarray(data.valid.targets, np.int64)
    temperature = 1.0 if artifact.recipe.calibration is None else fit_temperature(logits, targets)
    begun = step_temperatures(artifact.recipe, data, artifact.weights)
    made = with_promises(replace(artifact, temperature=temperature, step_temperatures=begun), logits, data)
    judged = scores(made, logits, targets)
    return replace(made, metrics=judged.to_dict()), judged


def scores(artifact: Artifact, logits: FloatArray, targets: IntArray) -> EvaluationResult:
    return evaluate(probabilities(logits, artifact.temperature), targets, artifact.labels)


def _fitting(network: Artifact, data: PreparedData, wide: Pruning, limit: Limit) -> int:
    """How many n-grams fill the bytes that are left."""
    left = limit.max_bytes - limit.measure(network)
    most = min(len(wide.rows), PACKED * left // table_row_bytes(len(data.labels), wide.num_parts))
    while most:
        few = wide.of_most(most, data.train.num_examples)
        assert few is not None
        size = limit.measure(rounded(replace(network, weights=few.added_to(network.weights))))
        if size <= limit.max_bytes:
            return most
        most = _fewer(most, size - limit.max_bytes, left)
    return 0


def _fewer(count: int, excess: int, left: int) -> int:
    """So many n-grams that they should fit into `left` bytes, of which `count` need `excess` more."""
    return min(count - 1, int(NEAR * count * left / (left + excess)))


def with_promises(artifact: Artifact, logits: FloatArray, data: PreparedData) -> Artifact:
    """With what its calibration split, if there is one, lets it promise. logits: on validation."""
    before = Temperatures(artifact.temperature, artifact.step_temperatures)
    guarantees, temperature = promises(artifact.recipe, data, artifact.weights, logits, before)
    return replace(artifact, guarantees=guarantees, temperature=temperature)


def _forward(artifact: Artifact) -> Forward:
    return runtime_forward(Network(artifact.recipe, artifact.weights))


def valid_logits(artifact: Artifact, data: PreparedData) -> FloatArray:
    return split_logits(_forward(artifact), data.valid, len(data.labels))[0]


def size_of(artifact: Artifact) -> int:
    """Bytes of the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.grunlock"
        save(artifact, path)
        return path.stat().st_size
