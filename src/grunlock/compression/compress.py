"""A model file of at most so many bytes, with the lowest loss on validation among what fits.

Weights become int8 (artifact/int8_storage.py), vectors get fewer numbers and rare ones none (narrowing.py),
and of a wide path that learned apart the n-grams stay that move answers most (pruning.py). How many bytes
each part gets is tried out: for every size of vectors that fits, n-grams fill what is left.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from grunlock.artifact import Artifact, read, save
from grunlock.artifact.int8_storage import SCALE_BYTES, packed, unpacked
from grunlock.compression.narrowing import Counts, can_narrow, narrowed, row_counts, with_common_rows
from grunlock.compression.pruning import Pruning, pruned
from grunlock.data.prepared import PreparedData, is_prepared, open_prepared
from grunlock.data.store import TokenStore
from grunlock.errors import RunError
from grunlock.evaluation.splits import Forward, runtime_forward, split_logits
from grunlock.objectives.calibration import fit_temperature
from grunlock.objectives.metrics import EvaluationResult, evaluate
from grunlock.runtime.network import Network
from grunlock.runtime.probabilities import probabilities
from grunlock.shapes import FloatArray, IntArray
from grunlock.training.finish import promises
from grunlock.training.refit import with_validation
from grunlock.training.run_folder import RunFolder
from grunlock.training.wide_path import WideFit, fit_wide, with_silent_path

SHARES = (1.0, 0.75, 0.5, 0.375, 0.25, 0.1875, 0.125, 0.0625)  # of the vectors' size, tried from the largest
TABLES_SHARE = 0.5  # of the bytes, at most, for vectors
NEAR = 0.985  # of the n-grams that should fit, so that they do
RESERVE = 0.01  # of the bytes, for a model that has learned other examples

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Compressed:
    """A smaller model. before, after: on validation, of models that have not learned these examples.

    embedding_size: numbers of a word's vector; None for series
    num_ngrams:     of the wide path; None without one that learned apart
    """

    artifact: Artifact
    num_bytes: int
    before: EvaluationResult
    after: EvaluationResult
    embedding_size: int | None
    num_ngrams: int | None


def compress(run: str | Path, max_bytes: int, tell: Tell = lambda sentence: None) -> Compressed:
    """Make the model of a run folder, with its data, fit into `max_bytes`.

    Raises RunError for a folder without data and where nothing fits, with the smallest size that would.
    """
    folder, final = RunFolder(Path(run)), read(run)
    if not is_prepared(folder.data):
        raise RunError(
            "Compressing needs the data of the run, to choose by its validation split.",
            where=folder.data,
            cure="give the run folder of the training",
        )
    data = open_prepared(folder.data)
    chosen = read(folder.before_refit) if final.derived.refit else final
    targets = np.asarray(data.valid.targets, np.int64)
    before = _scores(chosen, _logits(chosen, data), targets)
    network = _silent(chosen)
    wide = None
    if chosen.recipe.wide_apart is not None:
        wide = fit_wide(data, chosen.recipe.wide_apart, _logits(network, data))
    best: tuple[EvaluationResult, Artifact, Pruning | None] | None = None
    smallest, budget = 0, int((1 - RESERVE) * max_bytes) if final.derived.refit else max_bytes
    for candidate in _narrower(network, data, budget):
        smallest = size_of(candidate)
        if smallest > budget:
            continue
        found = _filled(candidate, data, wide, budget)
        scores = _scores(found.artifact, found.logits, targets)
        tell(_described(found, scores))
        if best is None or scores.nll < best[0].nll:
            best = scores, found.artifact, found.pruning
    if best is None:
        raise RunError(
            "The model cannot be made so small.",
            where=run,
            got=f"at most {max_bytes:,} bytes",
            expected=f"at least {smallest:,} bytes",
            cure="train a smaller network: a smaller encoder.hidden_size or text.vocab_size",
        )
    after, artifact, pruning = best
    if final.derived.refit:
        artifact = _as_chosen(final, artifact, pruning, data, max_bytes)
    artifact = replace(artifact, metrics=after.to_dict())
    embedding = artifact.recipe.embedding
    return Compressed(
        artifact=artifact,
        num_bytes=size_of(artifact),
        before=before,
        after=after,
        embedding_size=None if embedding is None else embedding.size,
        num_ngrams=None if pruning is None else len(pruning.rows),
    )


def size_of(artifact: Artifact) -> int:
    """Bytes of the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.grunlock"
        save(artifact, path)
        return path.stat().st_size


@dataclass(frozen=True)
class _Filled:
    """A candidate whose n-grams fill the budget, and its logits on validation."""

    artifact: Artifact
    logits: FloatArray
    pruning: Pruning | None


def _narrower(network: Artifact, data: PreparedData, max_bytes: int) -> Iterator[Artifact]:
    """The network with int8 weights and vectors of each size, the widest first."""
    embedding = network.recipe.embedding
    if embedding is None or not can_narrow(network) or not isinstance(data.train, TokenStore):
        yield rounded(network)
        return
    counts = row_counts(data.train, network)
    for size in dict.fromkeys(max(1, round(share * embedding.size)) for share in SHARES):
        yield rounded(_smaller_tables(network, size, counts, max_bytes))


def _smaller_tables(network: Artifact, size: int, counts: Counts, max_bytes: int) -> Artifact:
    most = int(TABLES_SHARE * max_bytes / (size + SCALE_BYTES))
    return with_common_rows(narrowed(network, size, counts), most, counts)


def rounded(artifact: Artifact) -> Artifact:
    """With the weights that its file will give back."""
    return replace(artifact, weights=unpacked(packed(artifact.weights)), storage="int8")


def _filled(candidate: Artifact, data: PreparedData, wide: WideFit | None, max_bytes: int) -> _Filled:
    logits = _logits(candidate, data)
    if wide is None:
        return _finished(candidate, logits, None, data)
    left = max_bytes - size_of(candidate)
    most = min(len(wide.models[0].rows), left // len(data.labels))
    while most:
        pruning = pruned(data, candidate.recipe, wide, most, logits)
        found = rounded(replace(candidate, weights=pruning.added_to(candidate.weights)))
        size = size_of(found)
        if size <= max_bytes:
            return _finished(found, _logits(found, data), pruning, data)
        most = _fewer(most, size - max_bytes, left)
    return _finished(candidate, logits, None, data)


def _fewer(count: int, excess: int, left: int) -> int:
    """So many n-grams that they should fit into `left` bytes, of which `count` need `excess` more."""
    return min(count - 1, int(NEAR * count * left / (left + excess)))


def _finished(artifact: Artifact, logits: FloatArray, pruning: Pruning | None, data: PreparedData) -> _Filled:
    """With its own temperature and promises."""
    targets = np.asarray(data.valid.targets, np.int64)
    temperature = 1.0 if artifact.recipe.calibration is None else fit_temperature(logits, targets)
    artifact = replace(artifact, temperature=temperature)
    return _Filled(_with_promises(artifact, logits, data), logits, pruning)


def _with_promises(artifact: Artifact, valid_logits: FloatArray, data: PreparedData) -> Artifact:
    guarantees, temperature = promises(
        artifact.recipe, data, artifact.weights, valid_logits, artifact.temperature
    )
    return replace(artifact, guarantees=guarantees, temperature=temperature)


def _as_chosen(
    final: Artifact, chosen: Artifact, pruning: Pruning | None, data: PreparedData, max_bytes: int
) -> Artifact:
    """The model that has learned the validation examples, made smaller in the same way."""
    network, everything = _silent(final), with_validation(data)
    embedding = chosen.recipe.embedding
    if embedding is not None and can_narrow(network) and isinstance(data.train, TokenStore):
        network = _smaller_tables(network, embedding.size, row_counts(data.train, network), max_bytes)
    made = rounded(network)
    while pruning is not None:
        known = pruning.fitted_on(everything.train, chosen.recipe, len(data.labels))
        made = rounded(replace(network, weights=known.added_to(network.weights)))
        if size_of(made) <= max_bytes:
            break
        pruning = pruning.without_last(data.train.num_examples)
    made = replace(made, temperature=chosen.temperature)
    return _with_promises(made, _logits(chosen, data), data)


def _silent(artifact: Artifact) -> Artifact:
    """Without its wide path, if that learned apart."""
    weights = with_silent_path(artifact.recipe, artifact.weights, len(artifact.labels))
    return replace(artifact, weights=weights)


def _forward(artifact: Artifact) -> Forward:
    return runtime_forward(Network(artifact.recipe, artifact.weights))


def _logits(artifact: Artifact, data: PreparedData) -> FloatArray:
    return split_logits(_forward(artifact), data.valid, len(data.labels))[0]


def _scores(artifact: Artifact, logits: FloatArray, targets: IntArray) -> EvaluationResult:
    return evaluate(probabilities(logits, artifact.temperature), targets, artifact.labels)


def _described(found: _Filled, scores: EvaluationResult) -> str:
    embedding = found.artifact.recipe.embedding
    parts = [] if embedding is None else [f"vectors of {embedding.size}"]
    if found.pruning is not None:
        parts.append(f"{len(found.pruning.rows):,} n-grams")
    return f"{', '.join(parts) or 'int8'}: loss {scores.nll:.4f}, accuracy {scores.accuracy:.4f}"
