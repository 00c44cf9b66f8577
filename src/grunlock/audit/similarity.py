"""All pairs of sets whose Jaccard similarity reaches a threshold: an exact join, on sparse matrices.

Prefix filter (Chaudhuri 2006, Bayardo 2007): order all elements from rare to frequent, and each set so. Two
sets of similarity t or more share an element among the first |x| - ceil(t |x|) + 1 of each, so only sets that
share such a rare element are compared, if their sizes allow it: t |x| <= |y| <= |x|. Candidates are
verified exactly. No pair is missed as long as the work stays within bounds; `exhaustive` says whether it did.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grunlock.shapes import IntArray

WORK = 2_000_000_000  # products of the candidate search in all: some half a minute
BLOCK_WORK = 10_000_000  # products at a time, which bounds the memory
MAX_PAIRS = 5_000_000  # candidates that are verified
VERIFIED_ELEMENTS = 20_000_000  # elements of sets in memory while verifying

CsrMatrix = Any  # scipy.sparse.csr_matrix


@dataclass(frozen=True)
class SimilarPairs:
    """P pairs, the most similar first.

    first, second: [P] int64 row numbers, first < second
    similarity:    [P] float64, at least the threshold
    exhaustive:    whether these are all pairs
    """

    first: IntArray
    second: IntArray
    similarity: NDArray[np.float64]
    exhaustive: bool


def similar_pairs(
    sets: CsrMatrix, threshold: float, progress: Callable[[int], None] | None = None
) -> SimilarPairs:
    """Pairs of rows of `sets` ([M, elements], membership) with |x & y| / |x or y| >= threshold.

    progress: called with the rows done. Empty sets are similar to nothing.
    """
    sizes = np.diff(sets.indptr).astype(np.int64)
    order = np.argsort(sizes, kind="stable")
    ordered = sets[order]
    ordered.data = np.ones(len(ordered.data), np.float32)
    sizes = sizes[order]
    shared = ordered[:, np.flatnonzero(_document_frequency(ordered) > 1)]  # others are in no intersection
    prefixes, exhaustive = _within_work(_prefixes(ordered, sizes, threshold))
    found: list[tuple[IntArray, IntArray, NDArray[np.float64]]] = []
    num_candidates = 0
    for stop, i, j in _candidates(prefixes, sizes, threshold):
        num_candidates += len(i)
        if num_candidates > MAX_PAIRS:
            exhaustive = False
            break
        found.append(_verified(shared, sizes, i, j, threshold))
        if progress is not None:
            progress(stop)
    return _sorted_pairs(found, order, exhaustive)


def _document_frequency(sets: CsrMatrix) -> IntArray:
    return np.bincount(sets.indices, minlength=sets.shape[1])


def _prefixes(sets: CsrMatrix, sizes: IntArray, threshold: float) -> CsrMatrix:
    """The rarest |x| - ceil(t |x|) + 1 elements of each set, without those that no other set has."""
    from scipy.sparse import csr_matrix

    frequency = _document_frequency(sets)
    rank = np.empty(len(frequency), np.int32)
    rank[np.argsort(frequency, kind="stable")] = np.arange(len(frequency), dtype=np.int32)
    ranked = csr_matrix((sets.data, rank[sets.indices], sets.indptr), sets.shape)
    ranked.sort_indices()
    lengths: IntArray = sizes - _at_least(threshold * sizes) + 1
    owners = np.repeat(np.arange(len(sizes)), sizes)
    place = np.arange(len(owners)) - ranked.indptr[owners]
    by_rank = np.sort(frequency, kind="stable")
    kept = (place < lengths[owners]) & (by_rank[ranked.indices] > 1)
    indptr = np.r_[0, np.cumsum(np.bincount(owners[kept], minlength=len(sizes)))]
    return csr_matrix((ranked.data[kept], ranked.indices[kept], indptr), sets.shape)


def _at_least(value: NDArray[np.floating]) -> IntArray:
    """Rounded up, but not for what is a whole number except for rounding: 0.8 * 5."""
    rounded: IntArray = np.ceil(value - 1e-9).astype(np.int64)
    return rounded


def _within_work(prefixes: CsrMatrix) -> tuple[CsrMatrix, bool]:
    """Leave out the most frequent elements if comparing all sets that share one would take too long."""
    frequency = _document_frequency(prefixes)
    by_frequency = np.argsort(frequency, kind="stable")
    work = np.cumsum(frequency[by_frequency] ** 2)
    if not len(work) or work[-1] <= WORK:
        return prefixes, True
    kept = np.sort(by_frequency[work <= WORK])
    return prefixes[:, kept], False


def _candidates(
    prefixes: CsrMatrix, sizes: IntArray, threshold: float
) -> Iterator[tuple[int, IntArray, IntArray]]:
    """Rows done, then pairs j < i that share a prefix element and whose sizes allow the threshold."""
    frequency = _document_frequency(prefixes)
    of_row = np.add.reduceat(np.r_[frequency[prefixes.indices], 0], prefixes.indptr[:-1])
    of_row[np.diff(prefixes.indptr) == 0] = 0  # reduceat gives an empty row the next one's first value
    work = np.cumsum(of_row)
    start = 0
    while start < len(sizes):
        done = work[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(work, done + BLOCK_WORK, side="right")))
        lowest = int(np.searchsorted(sizes, threshold * sizes[start] - 1e-9))
        block = (prefixes[start:stop] @ prefixes[lowest:stop].T).tocoo()
        i, j = block.row.astype(np.int64) + start, block.col.astype(np.int64) + lowest
        kept = (j < i) & (sizes[j] >= threshold * sizes[i] - 1e-9)
        yield stop, i[kept], j[kept]
        start = stop


def _verified(
    sets: CsrMatrix, sizes: IntArray, i: IntArray, j: IntArray, threshold: float
) -> tuple[IntArray, IntArray, NDArray[np.float64]]:
    common = np.zeros(len(i), np.float64)
    ends = np.cumsum(sizes[i])
    start = 0
    while start < len(i):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + VERIFIED_ELEMENTS, side="right")))
        part = slice(start, stop)
        common[part] = np.asarray(sets[i[part]].multiply(sets[j[part]]).sum(axis=1)).ravel()
        start = stop
    similarity = common / np.maximum(1, sizes[i] + sizes[j] - common)
    kept = similarity >= threshold - 1e-9
    return i[kept], j[kept], similarity[kept]


def _sorted_pairs(
    found: list[tuple[IntArray, IntArray, NDArray[np.float64]]], order: IntArray, exhaustive: bool
) -> SimilarPairs:
    if not found:
        nothing = np.empty(0, np.int64)
        return SimilarPairs(nothing, nothing, np.empty(0), exhaustive)
    i, j, similarity = (np.concatenate(part) for part in zip(*found, strict=True))
    first, second = np.minimum(order[i], order[j]), np.maximum(order[i], order[j])
    by_similarity = np.lexsort((second, first, -similarity))
    return SimilarPairs(first[by_similarity], second[by_similarity], similarity[by_similarity], exhaustive)
