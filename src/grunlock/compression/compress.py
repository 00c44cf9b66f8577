"""A model file of at most so many bytes, the best on validation among what fits.

Weights become int8 (artifact/int8_storage.py), vectors get fewer numbers and rare ones none (narrowing.py),
and of a wide path that learned apart the n-grams stay that move answers most (pruning.py). How many bytes
each part gets is tried out (candidates.py): for every size of vectors, and some shares of the bytes for them,
n-grams fill what is left. Only in the best of these do they learn once more. The best is what has the lowest
loss, or, where there are enough examples to tell, the highest smoothed accuracy: weights of a wide path were
chosen so in training, too, and a loss hardly moves where n-grams that decide are lost.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from grunlock.artifact import Artifact, read
from grunlock.compression.candidates import (
    Filled,
    candidates,
    filled,
    learned_once_more,
    rounded,
    size_of,
    smaller_tables,
    valid_logits,
    with_promises,
)
from grunlock.compression.narrowing import row_counts
from grunlock.compression.pruning import Pruning
from grunlock.compression.quantization import numbers_of_parts
from grunlock.data.prepared import PreparedData, is_prepared, open_prepared
from grunlock.data.store import TokenStore
from grunlock.errors import RunError
from grunlock.objectives.metrics import EvaluationResult, evaluate
from grunlock.runtime.probabilities import probabilities
from grunlock.shapes import FloatArray, IntArray
from grunlock.training.finish import chosen_temperature
from grunlock.training.refit import with_validation
from grunlock.training.run_folder import RunFolder
from grunlock.training.wide_path import ENOUGH_EXAMPLES, fit_wide, smooth_accuracy, with_silent_path

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
    before = _scores(chosen, valid_logits(chosen, data), targets)
    network = _silent(chosen)
    wide = _wide_paths(network, data)
    budget = int((1 - RESERVE) * max_bytes) if final.derived.refit else max_bytes
    found, after = _best(network, data, wide, budget, run, tell)
    artifact, pruning = found.artifact, found.pruning
    if final.derived.refit:
        artifact = _as_chosen(final, found, data, max_bytes)
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


def _wide_paths(network: Artifact, data: PreparedData) -> list[Pruning]:
    """The path that learned apart, if there is one, in each way to store its weights."""
    apart = network.recipe.wide_apart
    if apart is None:
        return []
    fit = fit_wide(data, apart, valid_logits(network, data))
    ways = numbers_of_parts(len(data.labels))
    return [Pruning.of(fit.models, fit.weights, way, data.train.num_examples) for way in ways]


def _best(
    network: Artifact,
    data: PreparedData,
    wide: Sequence[Pruning],
    max_bytes: int,
    run: str | Path,
    tell: Tell,
) -> tuple[Filled, EvaluationResult]:
    """What fits and is best on validation."""
    best: tuple[Filled, EvaluationResult, float] | None = None
    smallest = 0
    targets = np.asarray(data.valid.targets, np.int64)

    def tried(found: Filled) -> tuple[Filled, EvaluationResult, float]:
        scores = _scores(found.artifact, found.logits, targets)
        tell(_described(found, scores))
        if len(targets) < ENOUGH_EXAMPLES:
            return found, scores, -scores.nll
        return found, scores, smooth_accuracy(found.logits, targets)

    finest = next(iter(wide), None)
    for tables, candidate in candidates(network, data, max_bytes):
        smallest = size_of(candidate)
        if smallest <= max_bytes:
            one = tried(filled(tables, candidate, data, finest, max_bytes))
            best = one if best is None or one[2] > best[2] else best
            if tables is not None and one[0].is_whole(finest):
                break  # what has still fewer numbers would gain no room that it needs
    if best is None:
        raise RunError(
            "The model cannot be made so small.",
            where=run,
            got=f"at most {max_bytes:,} bytes",
            expected=f"at least {smallest:,} bytes",
            cure="train a smaller network: a smaller encoder.hidden_size or text.vocab_size",
        )
    for coarser in wide[1:]:
        if not best[0].is_whole(finest):
            one = tried(filled(best[0].tables, best[0].network, data, coarser, max_bytes))
            best = one if one[2] > best[2] else best
    if best[0].pruning is not None:
        tell("the n-grams learn once more, without the others")
        again = tried(learned_once_more(best[0], data, max_bytes))
        best = again if again[2] > best[2] else best
    return best[:2]


def _as_chosen(final: Artifact, found: Filled, data: PreparedData, max_bytes: int) -> Artifact:
    """The model that has learned the validation examples, made smaller in the same way."""
    network, chosen, known = _silent(final), found.artifact, found.pruning
    if found.tables is not None and isinstance(data.train, TokenStore):
        network = smaller_tables(network, found.tables, row_counts(data.train, network))
    made = rounded(network)
    if known is not None:
        known = known.fitted_on(with_validation(data).train, chosen.recipe, len(data.labels))
    while known is not None:
        whole = rounded(replace(network, weights=known.added_to(network.weights)))
        if size_of(whole) <= max_bytes:
            made = whole
            break
        known = known.without_last(data.train.num_examples)
    temperature = chosen_temperature(chosen)
    made = replace(made, temperature=temperature, step_temperatures=chosen.step_temperatures)
    return with_promises(made, valid_logits(chosen, data), data)


def _silent(artifact: Artifact) -> Artifact:
    """Without its wide path, if that learned apart."""
    weights = with_silent_path(artifact.recipe, artifact.weights, len(artifact.labels))
    return replace(artifact, weights=weights)


def _scores(artifact: Artifact, logits: FloatArray, targets: IntArray) -> EvaluationResult:
    return evaluate(probabilities(logits, artifact.temperature), targets, artifact.labels)


def _described(found: Filled, scores: EvaluationResult) -> str:
    embedding = found.artifact.recipe.embedding
    parts = [] if embedding is None else [f"vectors of {embedding.size}"]
    if found.pruning is not None:
        parts.append(f"{len(found.pruning.rows):,} n-grams")
    return f"{', '.join(parts) or 'int8'}: loss {scores.nll:.4f}, accuracy {scores.accuracy:.4f}"
