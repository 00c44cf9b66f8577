"""The linear models of a wide path that learns apart, fitted once for all trainings on the same data.

A linear SVM on n-grams that count by the logarithm of their number and by their rarity (TF-IDF, rows of
length 1); with few classes another on n-grams that count besides by how well they tell a class, which is
better on reviews and worse on topics. Beside either, complement naive Bayes: on newsgroups the sum is two
points better than the SVM (benchmarks/LOG.md). How much each counts beside a network, validation decides
(wide_path.py).
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from grunlock.data.batches import ExampleStore
from grunlock.data.npz_files import NPZ_ERRORS
from grunlock.data.prepared import KEPT, PreparedData
from grunlock.files import atomic_file
from grunlock.objectives.calibration import fit_weights
from grunlock.recipe.model_options import WideOptions
from grunlock.shapes import FloatArray
from grunlock.training import wide_features
from grunlock.training.wide_estimators import Kind, fit_linear
from grunlock.training.wide_features import LinearData, linear_data, linear_data_of, ngram_features

STRENGTHS, USUAL = (0.1, 0.3, 1.0, 3.0), 1.0
SMOOTHINGS = (0.01, 0.03, 0.1, 0.3, 1.0)
# Up to so many classes both SVMs are tried: the second is a model for each, and helps reviews.
MOST_TOLD_CLASSES = 3


@dataclass(frozen=True)
class LinearModel:
    """rows: [M] buckets that it knows, rising; rarity: [M]; weights: [M, K]; bias: [K].

    valid_logits: [validation examples, K] of the data that it was fitted on
    """

    rows: NDArray[np.int32]
    rarity: NDArray[np.float32]
    weights: FloatArray
    bias: FloatArray
    valid_logits: FloatArray
    kind: Kind
    strength: float


def wide_models(data: PreparedData, options: WideOptions) -> tuple[LinearModel, ...]:
    """The models of this data, all on the same n-grams: the SVMs that may be in a path, complement naive
    Bayes last; fitted once and kept beside the data.

    An SVM's strength has the lowest loss on validation, the smoothing the lowest beside the first SVM.

    Raises MissingDependencyError without scikit-learn.
    """
    folder, wanted = data.folder / KEPT, _kinds(options, len(data.labels))
    paths = {kind: folder / f"wide-{_key(options, kind)}.npz" for kind in wanted}
    found = {kind: _read(path) for kind, path in paths.items()}
    if any(kept is None for kept in found.values()):
        folder.mkdir(exist_ok=True)
        for model in _fit_all(data, options, wanted):
            found[model.kind] = model
            with atomic_file(paths[model.kind]) as file:
                np.savez(file, **vars(model))
    return tuple(model for model in found.values() if model is not None)


def fitted_anew(
    store: ExampleStore, num_classes: int, options: WideOptions, like: Sequence[LinearModel]
) -> tuple[LinearModel, ...]:
    """Models of other examples with the kinds and strengths that validation chose."""
    return _fitted(linear_data(store, num_classes, options), like)


def fitted_on(
    store: ExampleStore,
    num_classes: int,
    options: WideOptions,
    like: Sequence[LinearModel],
    rows: NDArray[np.int32],
) -> tuple[LinearModel, ...]:
    """Models of some of others' n-grams only. rows: of their buckets, rising."""
    rarity = like[0].rarity[np.searchsorted(like[0].rows, rows)]
    return _fitted(linear_data_of(store, num_classes, options, rows, rarity), like)


def _fitted(data: LinearData, like: Sequence[LinearModel]) -> tuple[LinearModel, ...]:
    return tuple(_with_weights(data, each, *fit_linear(data, each.kind, each.strength)) for each in like)


def _with_weights(data: LinearData, like: LinearModel, weights: FloatArray, bias: FloatArray) -> LinearModel:
    return replace(like, rows=data.rows, rarity=data.rarity, weights=weights, bias=bias)


def _kinds(options: WideOptions, num_classes: int) -> tuple[Kind, ...]:
    kinds: tuple[Kind, ...] = ("tfidf",) if options.features == "auto" else (options.features,)
    if options.features == "auto" and num_classes <= MOST_TOLD_CLASSES:
        kinds += ("naive_bayes",)
    return (*kinds, "complement") if options.complement else kinds


def _fit_all(data: PreparedData, options: WideOptions, kinds: Sequence[Kind]) -> Iterator[LinearModel]:
    learned = linear_data(data.train, len(data.labels), options)
    everything = np.arange(data.valid.num_examples)
    unseen = ngram_features(data.valid, options, everything, learned.rows, learned.rarity)
    wanted = np.asarray(data.valid.targets, dtype=np.int64)
    nothing = np.zeros((len(wanted), len(data.labels)), np.float32)

    def fitted(kind: Kind, beside: FloatArray, strength: float) -> tuple[float, LinearModel]:
        weights, bias = fit_linear(learned, kind, strength)
        logits = np.asarray(unseen @ weights + bias, np.float32)
        _, loss = fit_weights(beside, [logits], wanted)
        return loss, LinearModel(learned.rows, learned.rarity, weights, bias, logits, kind, strength)

    first = _lowest(partial(fitted, kinds[0], nothing))
    yield first
    for kind in kinds[1:]:
        if kind == "complement":
            tried = (fitted(kind, first.valid_logits, smoothing) for smoothing in SMOOTHINGS)
            yield min(tried, key=lambda each: each[0])[1]
        else:
            yield _lowest(partial(fitted, kind, nothing))


def _lowest(fitted: Callable[[float], tuple[float, LinearModel]]) -> LinearModel:
    """The model with the lowest loss: from USUAL down while that helps, or up."""
    start = STRENGTHS.index(USUAL)
    loss, best = fitted(USUAL)
    for others in (STRENGTHS[:start][::-1], STRENGTHS[start + 1 :]):
        for strength in others:
            other_loss, other = fitted(strength)
            if other_loss >= loss:
                break
            loss, best = other_loss, other
        if best.strength != USUAL:
            break
    return best


def _key(options: WideOptions, kind: Kind) -> str:
    limits = [STRENGTHS, SMOOTHINGS, wide_features.MAX_TOKENS, wide_features.MOST_BYTES]
    what = [options.buckets, options.max_length, options.characters, options.features, kind, *limits]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]


def _read(path: Path) -> LinearModel | None:
    """What is kept; None where nothing is, or nothing whole."""
    try:
        with path.open("rb") as file, np.load(file) as stored:
            arrays = {name: stored[name] for name in ("rows", "rarity", "weights", "bias", "valid_logits")}
            kind: Kind = stored["kind"].item()
            return LinearModel(**arrays, kind=kind, strength=float(stored["strength"]))
    except NPZ_ERRORS:
        return None
