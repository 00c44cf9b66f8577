"""The linear model of a wide path that learns apart: a linear SVM on hashed n-grams.

N-grams count by the logarithm of their number and by their rarity (TF-IDF, rows of length 1), or besides by
how well they tell a class: the log of how much more often its texts have them than others (Wang & Manning
2012, "Baselines and bigrams"). The second is better on reviews and worse on topics; which one helps a network
more, validation decides (wide_path.py).
"""

import hashlib
import json
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from grunlock.data.batches import ExampleStore
from grunlock.data.prepared import KEPT, PreparedData
from grunlock.errors import MissingDependencyError
from grunlock.evaluation.splits import BATCH_TOKENS
from grunlock.files import atomic_file
from grunlock.objectives.calibration import fit_weight
from grunlock.recipe.model_options import WideOptions
from grunlock.seeding import derive_seed, generator
from grunlock.shapes import FloatArray, IntArray
from grunlock.text import DistinctTokens
from grunlock.text.token_ngrams import NgramCounts, count_ngrams, weigh, wide_ngrams

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

STRENGTHS, USUAL = (0.1, 0.3, 1.0, 3.0), 1.0  # an example's loss beside half its squared weights
# As accurate on imdb as a hundred passes (benchmarks/LOG.md).
PASSES, TOLERANCE = 20, 1e-2
MOST_BYTES = 64 * 2**20  # of its rows in a model file: weights, bucket and rarity
# That it learns from; of more, a random sample of texts. A process had 2.0 GB on 20,000 texts of imdb.
MAX_TOKENS = 10**7
# Up to so many classes both ways of counting are tried: the second is a model for each, and helps reviews.
MOST_TOLD_CLASSES = 3
SEED = 0  # the same model for every run on the same data


@dataclass(frozen=True)
class LinearModel:
    """rows: [M] buckets that it knows, rising; rarity: [M]; weights: [M, K]; bias: [K].

    valid_logits: [validation examples, K] of the data that it was fitted on
    naive_bayes: whether n-grams count by how well they tell a class
    """

    rows: NDArray[np.int32]
    rarity: NDArray[np.float32]
    weights: FloatArray
    bias: FloatArray
    valid_logits: FloatArray
    strength: float
    naive_bayes: bool


def wide_models(data: PreparedData, options: WideOptions) -> tuple[LinearModel, ...]:
    """The models of this data, one for each way in which n-grams may count; fitted once and kept beside it.

    The strength has the lowest loss on validation.

    Raises MissingDependencyError without scikit-learn.
    """
    both = (False, True) if len(data.labels) <= MOST_TOLD_CLASSES else (False,)
    ways = {"auto": both, "tfidf": (False,), "naive_bayes": (True,)}[options.features]
    folder = data.folder / KEPT
    paths = {naive_bayes: folder / f"wide-{_key(options, naive_bayes)}.npz" for naive_bayes in ways}
    found = {naive_bayes: _read(path) for naive_bayes, path in paths.items()}
    missing = [naive_bayes for naive_bayes, kept in found.items() if kept is None]
    if missing:
        folder.mkdir(exist_ok=True)
        for model in _fit_all(data, options, missing):
            found[model.naive_bayes] = model
            with atomic_file(paths[model.naive_bayes]) as file:
                np.savez(file, **vars(model))
    return tuple(model for model in found.values() if model is not None)


def fitted_anew(
    store: ExampleStore, num_classes: int, options: WideOptions, like: LinearModel
) -> LinearModel:
    """A model of other examples with the strength and the way of counting of one that validation chose."""
    return _fitted(_learned(store, num_classes, options), num_classes, like)


def fitted_on(
    store: ExampleStore, num_classes: int, options: WideOptions, like: LinearModel, rows: NDArray[np.int32]
) -> LinearModel:
    """A model of some of another's n-grams only. rows: of its buckets, rising."""
    learned = _learned_of(store, options, rows, like.rarity[np.searchsorted(like.rows, rows)])
    return _fitted(learned, num_classes, like)


def ngram_features(
    store: ExampleStore,
    options: WideOptions,
    examples: IntArray,
    rows: NDArray[np.int32],
    rarity: NDArray[np.float32],
) -> "csr_matrix":
    """[examples, M] what the path makes of texts, as it answers. rows: rising."""
    return _features(_counted(store, options, examples), rows, rarity)


def _features(
    counted: Iterable[NgramCounts], rows: NDArray[np.int32], rarity: NDArray[np.float32]
) -> "csr_matrix":
    from scipy.sparse import csr_matrix

    lengths, places, values = [], [], []
    for found in counted:
        known = weigh(found, rows, rarity)
        lengths.append(np.diff(known.offsets))
        places.append(known.places.astype(np.int32))
        values.append(known.values)
    offsets = np.concatenate(([0], np.concatenate(lengths).cumsum()))
    arrays = np.concatenate(values), np.concatenate(places), offsets
    return csr_matrix(arrays, shape=(len(offsets) - 1, len(rows)))


def known_ngrams(
    counted: Iterable[NgramCounts], num_examples: int, buckets: int, most: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The buckets [M] that are learned, rising, and the rarity of each: scikit-learn's smooth_idf.

    They are those of all n-grams; where these are more than `most`, of those that at least so many texts have
    that no more are left.
    """
    present = np.zeros(buckets, np.int32)
    for found in counted:
        np.add.at(present, found.ids.astype(np.int64), np.int32(1))  # with other types it is far slower
    fewest = 1
    while int((present >= fewest).sum()) > most:
        fewest += 1
    rows = np.flatnonzero(present >= fewest)
    rarity = np.log((1.0 + num_examples) / (1.0 + present[rows])) + 1.0
    return rows.astype(np.int32), rarity.astype(np.float32)


def _counted(store: ExampleStore, options: WideOptions, examples: IntArray) -> Iterator[NgramCounts]:
    """The n-grams of some examples after the others, in their order."""
    ends = store.lengths[examples].cumsum()
    for some in np.split(examples, np.flatnonzero(np.diff(ends // BATCH_TOKENS)) + 1):
        batch = store.batch(some)
        assert isinstance(batch.inputs, DistinctTokens)  # a recipe with a wide path is one for texts
        layout = batch.layout
        yield count_ngrams(wide_ngrams(batch.inputs, layout.batch_sizes, options), layout.order)


def _emptied(counted: deque[NgramCounts]) -> Iterator[NgramCounts]:
    """Each, and kept no longer: what is made of it takes its place in memory."""
    while counted:
        yield counted.popleft()


def _fit_all(data: PreparedData, options: WideOptions, ways: Sequence[bool]) -> Iterator[LinearModel]:
    """The model of each way: whether n-grams count by how well they tell a class."""
    learned = _learned(data.train, len(data.labels), options)
    everything = np.arange(data.valid.num_examples)
    unseen = ngram_features(data.valid, options, everything, learned.rows, learned.rarity)
    wanted = np.asarray(data.valid.targets, dtype=np.int64)
    nothing = np.zeros((len(wanted), len(data.labels)))

    def fitted(naive_bayes: bool, strength: float) -> tuple[float, LinearModel]:
        weights, bias = learned.fit(len(data.labels), strength, naive_bayes)
        logits = np.asarray(unseen @ weights + bias)
        _, loss = fit_weight(nothing, logits, wanted)
        weights, bias, logits = (each.astype(np.float32) for each in (weights, bias, logits))
        return loss, LinearModel(learned.rows, learned.rarity, weights, bias, logits, strength, naive_bayes)

    for naive_bayes in ways:
        yield _lowest(partial(fitted, naive_bayes))


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


@dataclass(frozen=True)
class _Learned:
    """What a linear model learns from: features [n, M] of the buckets `rows`, of rarity [M]; targets [n]."""

    features: "csr_matrix"
    rarity: NDArray[np.float32]
    rows: NDArray[np.int32]
    targets: IntArray

    def fit(self, num_classes: int, strength: float, naive_bayes: bool) -> tuple[FloatArray, FloatArray]:
        """Weights [M, K] and bias [K]."""
        fit = _fit_told if naive_bayes else _fit
        return fit(self.features, self.targets, num_classes, strength)


def _fitted(learned: _Learned, num_classes: int, like: LinearModel) -> LinearModel:
    weights, bias = learned.fit(num_classes, like.strength, like.naive_bayes)
    return replace(
        like,
        rows=learned.rows,
        rarity=learned.rarity,
        weights=weights.astype(np.float32),
        bias=bias.astype(np.float32),
    )


def _learned(store: ExampleStore, num_classes: int, options: WideOptions) -> _Learned:
    most = MOST_BYTES // (4 * (num_classes + 2))
    chosen = _sample(store)
    counted = deque(_counted(store, options, chosen))
    rows, rarity = known_ngrams(counted, len(chosen), options.buckets, most)
    features = _features(_emptied(counted), rows, rarity)
    return _Learned(features, rarity, rows, np.asarray(store.targets, dtype=np.int64)[chosen])


def _learned_of(
    store: ExampleStore, options: WideOptions, rows: NDArray[np.int32], rarity: NDArray[np.float32]
) -> _Learned:
    chosen = _sample(store)
    features = ngram_features(store, options, chosen, rows, rarity)
    return _Learned(features, rarity, rows, np.asarray(store.targets, dtype=np.int64)[chosen])


def _sample(store: ExampleStore) -> IntArray:
    """All examples, or a random part of them that has MAX_TOKENS; rising."""
    order = generator(SEED, "wide").permutation(store.num_examples)
    enough = int(np.searchsorted(np.cumsum(store.lengths[order]), MAX_TOKENS)) + 1
    return np.sort(order[:enough])


def _fit(
    features: "csr_matrix", targets: IntArray, num_classes: int, strength: float
) -> tuple[FloatArray, FloatArray]:
    """Weights [columns of features, K] and bias [K] of the linear model."""
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.svm import LinearSVC
    except ImportError as error:
        raise MissingDependencyError(
            "A wide path that learns apart needs scikit-learn.",
            cure='pip install "grunlock[train]", or --set wide.training=together',
        ) from error
    seed = derive_seed(SEED, "wide") % 2**32
    model = LinearSVC(C=strength, max_iter=PASSES, tol=TOLERANCE, random_state=seed)
    with warnings.catch_warnings():  # its last digits do not matter here
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(features, targets)
    found, bias = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # scikit-learn has one row then, the second class's against the first's
        found, bias = (np.concatenate([-each, each]) for each in (found, bias))
    weights = np.zeros((features.shape[1], num_classes))
    weights[:, model.classes_] = found.T
    # A class without training examples is as unlikely as the rarest.
    biases = np.full(num_classes, bias.min())
    biases[model.classes_] = bias
    return weights, biases


def _fit_told(
    features: "csr_matrix", targets: IntArray, num_classes: int, strength: float
) -> tuple[FloatArray, FloatArray]:
    """As _fit, each class against the others on n-grams times how well they tell it.

    A weight on such a feature is that weight times its factor on the feature itself.
    """
    from scipy.sparse import csr_matrix

    classes = np.unique(targets)
    weights, biases = np.zeros((features.shape[1], num_classes)), np.full(num_classes, np.nan)
    for k in classes[1:] if len(classes) == 2 else classes:
        ratios = log_count_ratios(features, targets == k)
        # float64, else liblinear's interface would copy the whole.
        data = (features.data * ratios[features.indices]).astype(np.float64)
        told = csr_matrix((data, features.indices, features.indptr), shape=features.shape)
        found, bias = _fit(told, (targets == k).astype(np.int64), 2, strength)
        weights[:, k], biases[k] = found[:, 1] * ratios, bias[1]
    if len(classes) == 2:
        weights[:, classes[0]], biases[classes[0]] = -weights[:, classes[1]], -biases[classes[1]]
    biases[np.isnan(biases)] = np.nanmin(biases)  # a class without training examples: as the rarest
    return weights, biases


def log_count_ratios(features: "csr_matrix", members: NDArray[np.bool_]) -> FloatArray:
    """[columns] |log((1 + f) / |1 + f| : (1 + g) / |1 + g|)|, of mean square 1.

    f, g: how many of the members, and of the other rows, have the column (Wang & Manning 2012, equation 3, on
    presence).
    """
    inside = np.repeat(members, np.diff(features.indptr))
    counts = [
        1.0 + np.bincount(features.indices[part], minlength=features.shape[1]) for part in (inside, ~inside)
    ]
    shares = [count / count.sum() for count in counts]
    ratios = np.abs(np.log(shares[0] / shares[1]))
    size = np.sqrt(np.square(ratios).mean())
    result: FloatArray = (ratios / size if size > 0 else np.ones_like(ratios)).astype(np.float32)
    return result


def _key(options: WideOptions, naive_bayes: bool) -> str:
    limits = [STRENGTHS, MAX_TOKENS, MOST_BYTES]
    what = [options.buckets, options.max_length, options.characters, naive_bayes, *limits]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]


def _read(path: Path) -> LinearModel | None:
    """What is kept; None where nothing is, or nothing whole."""
    try:
        with path.open("rb") as file, np.load(file) as stored:
            return LinearModel(
                rows=stored["rows"],
                rarity=stored["rarity"],
                weights=stored["weights"],
                bias=stored["bias"],
                valid_logits=stored["valid_logits"],
                strength=float(stored["strength"]),
                naive_bayes=bool(stored["naive_bayes"]),
            )
    except (OSError, ValueError, KeyError, BadZipFile):
        return None
