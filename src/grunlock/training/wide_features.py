"""What a wide path's linear models learn from: TF-IDF of hashed n-grams, as the path will answer."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from grunlock.data.batches import ExampleStore
from grunlock.evaluation.splits import BATCH_TOKENS
from grunlock.recipe.model_options import WideOptions
from grunlock.seeding import generator
from grunlock.shapes import IntArray
from grunlock.text import DistinctTokens
from grunlock.text.token_ngrams import NgramCounts, count_ngrams, weigh, wide_ngrams

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

MOST_BYTES = 64 * 2**20  # of its rows in a model file: weights, bucket and rarity
# That it learns from; of more, a random sample of texts. A process had 2.0 GB on 20,000 texts of imdb.
MAX_TOKENS = 10**7
SEED = 0  # the same model for every run on the same data


@dataclass(frozen=True)
class LinearData:
    """features: [n, M] of the buckets `rows` [M], rising, of that rarity [M]; targets: [n] of K classes."""

    features: "csr_matrix"
    rows: NDArray[np.int32]
    rarity: NDArray[np.float32]
    targets: IntArray
    num_classes: int


def linear_data(store: ExampleStore, num_classes: int, options: WideOptions) -> LinearData:
    """Of the n-grams that these examples have."""
    most = MOST_BYTES // (4 * (num_classes + 2))
    chosen = _sample(store)
    counted = deque(_counted(store, options, chosen))
    rows, rarity = known_ngrams(counted, len(chosen), options.buckets, most)
    features = _features(_emptied(counted), rows, rarity)
    return LinearData(features, rows, rarity, store.targets_of(chosen), num_classes)


def linear_data_of(
    store: ExampleStore,
    num_classes: int,
    options: WideOptions,
    rows: NDArray[np.int32],
    rarity: NDArray[np.float32],
) -> LinearData:
    """Of n-grams that are known beforehand."""
    chosen = _sample(store)
    features = ngram_features(store, options, chosen, rows, rarity)
    return LinearData(features, rows, rarity, store.targets_of(chosen), num_classes)


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
    ends = store.lengths_of(examples).cumsum()
    for some in np.split(examples, np.flatnonzero(np.diff(ends // BATCH_TOKENS)) + 1):
        batch = store.batch(some)
        assert isinstance(batch.inputs, DistinctTokens)  # a recipe with a wide path is one for texts
        layout = batch.layout
        yield count_ngrams(wide_ngrams(batch.inputs, layout.batch_sizes, options), layout.order)


def _emptied(counted: deque[NgramCounts]) -> Iterator[NgramCounts]:
    """Each, and kept no longer: what is made of it takes its place in memory."""
    while counted:
        yield counted.popleft()


def _sample(store: ExampleStore) -> IntArray:
    """All examples that fit in memory, or a random part of them that has MAX_TOKENS; rising."""
    order = store.shuffled(generator(SEED, "wide"))
    enough = int(np.searchsorted(np.cumsum(store.lengths_of(order)), MAX_TOKENS)) + 1
    return np.sort(order[:enough])
