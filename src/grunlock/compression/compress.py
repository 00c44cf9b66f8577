"""A model file of at most so many bytes, the best on validation among what fits.

Weights become int8 (artifact/int8_storage.py) or, where that leaves something out, numbers of four bits
(coarse.py), vectors get fewer numbers and rare ones none (narrowing.py), and of a wide path that learned
apart the n-grams stay that move answers most (pruning.py). How many bytes each part gets is tried out
(candidates.py): for every size of vectors, and some shares of the bytes for them, n-grams fill what is left.
Only in the best of these do they learn once more. The best is what has the lowest loss, or, where there are
enough examples to tell, the highest smoothed accuracy: weights of a wide path were chosen so in training,
too, and a loss hardly moves where n-grams that decide are lost.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from grunlock.artifact import Artifact, read
from grunlock.compression.candidates import (
    Filled,
    Limit,
    candidates,
    filled,
    learned_once_more,
    rounded,
    scored,
    scores,
    shaped,
    size_of,
    valid_logits,
    vector_counts,
    with_promises,
)
from grunlock.compression.pruning import Pruning
from grunlock.compression.quantization import numbers_of_parts
from grunlock.data.prepared import PreparedData, is_prepared, open_prepared
from grunlock.errors import RunError
from grunlock.objectives.metrics import EvaluationResult
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
    num_bytes:      of what had to fit
    num_ngrams:     of the wide path; None without one that learned apart
    """

    artifact: Artifact
    num_bytes: int
    before: EvaluationResult
    after: EvaluationResult
    embedding_size: int | None
    num_ngrams: int | None


def compress(
    run: str | Path,
    max_bytes: int,
    tell: Tell = lambda sentence: None,
    *,
    measure: Callable[[Artifact], int] = size_of,
) -> Compressed:
    """Make the model of a run folder, with its data, fit into `max_bytes`.

    measure: bytes of a model; without it those of its file

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
    before = scores(chosen, valid_logits(chosen, data), targets)
    network = _silent(chosen)
    wide = _wide_paths(network, data)
    budget = int((1 - RESERVE) * max_bytes) if final.derived.refit else max_bytes
    found = _best(network, data, wide, Limit(budget, measure), run, tell)
    artifact, pruning = found.artifact, found.pruning
    if final.derived.refit:
        artifact = _as_chosen(final, found, data, Limit(max_bytes, measure), run)
    embedding = artifact.recipe.embedding
    return Compressed(
        artifact=artifact,
        num_bytes=measure(artifact),
        before=before,
        after=found.scores,
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


class _Search:
    """The best of what was tried, by the loss or, with enough examples, by the smoothed accuracy."""

    def __init__(self, data: PreparedData, tell: Tell) -> None:
        self._targets = np.asarray(data.valid.targets, np.int64)
        self._tell = tell
        self._value = -np.inf
        self.best: Filled | None = None

    def take(self, found: Filled | None) -> None:
        """None: it did not fit."""
        if found is None:
            return
        self._tell(_described(found))
        value = -found.scores.nll
        if len(self._targets) >= ENOUGH_EXAMPLES:
            value = smooth_accuracy(found.logits, self._targets)
        if value > self._value:
            self.best, self._value = found, value


def _best(
    network: Artifact,
    data: PreparedData,
    wide: Sequence[Pruning],
    limit: Limit,
    run: str | Path,
    tell: Tell,
) -> Filled:
    """What fits and is best on validation."""
    search = _Search(data, tell)
    finest = next(iter(wide), None)
    _try_shapes(search, network, data, finest, limit)
    if search.best is None:
        raise RunError(
            "The model cannot be made so small.",
            where=run,
            got=f"at most {limit.max_bytes:,} bytes",
            expected=f"at least {_least_bytes(network, data, limit):,} bytes",
            cure="train a smaller network: a smaller encoder.hidden_size or text.vocab_size",
        )
    for coarser in wide[1:]:
        if not search.best.is_whole(finest):
            search.take(filled(search.best.shape, search.best.network, data, coarser, limit))
    if search.best.pruning is not None:
        tell("the n-grams learn once more, without the others")
        search.take(learned_once_more(search.best, data, limit))
    return search.best


def _try_shapes(
    search: _Search, network: Artifact, data: PreparedData, wide: Pruning | None, limit: Limit
) -> None:
    """Fill every shape that fits; those of four bits only where eight leave something out."""
    for bits in (8, 4):
        if search.best is not None and search.best.is_whole(wide):
            break
        # Numbers of half as many bits leave room for as long vectors at least.
        least_size = 1 if search.best is None else search.best.vector_size
        for shape, candidate in candidates(network, data, limit.max_bytes, bits, least_size):
            if not limit.holds(candidate):
                continue
            found = filled(shape, candidate, data, wide, limit)
            search.take(found)
            if found is not None and found.is_whole(wide):
                break  # what has still fewer numbers would gain no room that it needs


def _least_bytes(network: Artifact, data: PreparedData, limit: Limit) -> int:
    """The least that a model of this network may have: a larger budget lets it have more vectors, too."""
    least = 0
    while True:
        *_, (_, smallest) = candidates(network, data, least, 4, 1)
        found = limit.measure(scored(smallest, valid_logits(smallest, data), data)[0])
        if found <= least:
            return least
        least = found


def _as_chosen(final: Artifact, found: Filled, data: PreparedData, limit: Limit, run: str | Path) -> Artifact:
    """The model that has learned the validation examples, made smaller in the same way."""
    network, chosen, known = _silent(final), found.artifact, found.pruning
    network = replace(
        shaped(network, found.shape, vector_counts(network, data)),
        temperature=chosen_temperature(chosen),
        step_temperatures=chosen.step_temperatures,
        metrics=chosen.metrics,
    )
    logits = valid_logits(chosen, data)
    if known is not None:
        known = known.fitted_on(with_validation(data).train, chosen.recipe, len(data.labels))
    while known is not None:
        made = rounded(replace(network, weights=known.added_to(network.weights)))
        made = with_promises(made, logits, data)
        if limit.holds(made):
            return made
        known = known.without_last(data.train.num_examples)
    made = with_promises(network, logits, data)
    if not limit.holds(made):
        raise RunError(
            "The model that has learned the validation examples too is larger than the one that fits.",
            where=run,
            got=f"{limit.measure(made):,} bytes",
            expected=f"at most {limit.max_bytes:,} bytes",
            cure=f"allow {limit.measure(made):,} bytes",
        )
    return made


def _silent(artifact: Artifact) -> Artifact:
    """Without its wide path, if that learned apart."""
    weights = with_silent_path(artifact.recipe, artifact.weights, len(artifact.labels))
    return replace(artifact, weights=weights)


def _described(found: Filled) -> str:
    embedding = found.artifact.recipe.embedding
    parts = [] if embedding is None else [f"vectors of {embedding.size}"]
    if found.pruning is not None:
        parts.append(f"{len(found.pruning.rows):,} n-grams")
    if found.shape.bits == 4 or not parts:
        parts.insert(0, f"int{found.shape.bits}")
    return f"{', '.join(parts)}: loss {found.scores.nll:.4f}, accuracy {found.scores.accuracy:.4f}"
