"""Word vectors from texts without labels: which words stand near each other, factorised.

Positive pointwise mutual information of words within a window, and its truncated singular value
decomposition; smoothed contexts and the root of the singular values are Levy 2015 ("Improving distributional
similarity", Q15-1016). Minutes where a language model takes hours, and nothing to tune.
"""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from grunlock.data.store import TokenStore
from grunlock.data.vectors import check_vector_file, write_vectors
from grunlock.errors import DataError, MissingDependencyError
from grunlock.pretraining.prepare import prepare_unlabelled
from grunlock.recipe import read_recipe
from grunlock.seeding import derive_seed
from grunlock.shapes import FloatArray, IntArray
from grunlock.text import SPECIAL_TOKENS

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

WINDOW = 5  # words to each side; a word d away counts (WINDOW + 1 - d) / WINDOW
SMOOTHING = 0.75  # exponent on context counts, so that rare contexts do not look telling
ROOT = 0.5  # exponent on singular values
CHUNK = 4_000_000  # tokens that are counted at a time; bounds memory
POWER_ITERATIONS = 3

SETTINGS = ("text.vocab_size=60000", "text.min_count=2")  # of what is counted

Progress = Callable[[str, int], None]


def write_text_vectors(
    sources: Sequence[str],
    size: int,
    path: str | Path,
    folder: Path,
    progress: Progress = lambda activity, done: None,
) -> int:
    """Vectors of the words of texts, to an .npz file. Returns their number.

    sources: as for `prepare_unlabelled`, whose stores are kept in `folder`.

    Raises DataError as `prepare_unlabelled` and for a file that is no .npz; MissingDependencyError without
    scikit-learn.
    """
    check_vector_file(path)
    data = prepare_unlabelled(sources, read_recipe("pretrain", SETTINGS), folder, progress)
    vectors = word_vectors(data.train, data.front_end.vocab_size, size, progress)
    first = len(SPECIAL_TOKENS)
    words = data.front_end.vocab()[first:]
    write_vectors(path, words, vectors[first:])
    return len(words)


def word_vectors(
    texts: TokenStore, vocab_size: int, size: int, progress: Progress = lambda activity, done: None
) -> FloatArray:
    """[vocab_size, size]: vectors of a vocabulary's words, zero for special tokens.

    progress: what is being done, and the tokens done so far.

    Raises DataError for fewer words than `size`.
    """
    try:
        from sklearn.utils.extmath import randomized_svd
    except ImportError as error:
        raise MissingDependencyError(
            "Vectors of texts need scikit-learn.", cure='pip install "grunlock[train]"'
        ) from error
    if size >= vocab_size:
        raise DataError(
            "There are fewer words than numbers in a vector.",
            where="size",
            got=f"{vocab_size} words, {size} numbers",
            cure="give more texts or a smaller size",
        )
    counts = cooccurrences(texts, vocab_size, progress)
    progress("factorising", int(texts.offsets[-1]))
    seed = derive_seed(0, "vectors") % 2**32
    left, values, _ = randomized_svd(
        mutual_information(counts), size, n_iter=POWER_ITERATIONS, random_state=seed
    )
    found: FloatArray = (left * values**ROOT).astype(np.float32)
    return found


def cooccurrences(texts: TokenStore, vocab_size: int, progress: Progress) -> "csr_matrix":
    """[V, V] weighted counts of two words in one window of the same text; symmetric."""
    from scipy.sparse import csr_matrix

    found = csr_matrix((vocab_size, vocab_size), dtype=np.float32)
    for first, last in _chunks(texts.offsets):
        start = texts.offsets[first]
        tokens = np.asarray(texts.tokens[start : texts.offsets[last]], dtype=np.int32)
        text = np.repeat(np.arange(last - first), np.diff(texts.offsets[first : last + 1]))
        for distance in range(1, WINDOW + 1):
            near, far = tokens[:-distance], tokens[distance:]
            known = (near >= len(SPECIAL_TOKENS)) & (far >= len(SPECIAL_TOKENS))
            together = known & (text[:-distance] == text[distance:])
            weight = np.full(int(together.sum()), (WINDOW + 1 - distance) / WINDOW, np.float32)
            pairs = csr_matrix((weight, (near[together], far[together])), shape=found.shape)
            found = found + pairs
        progress("counting", int(texts.offsets[last]))
    return found + found.T


def mutual_information(counts: "csr_matrix") -> "csr_matrix":
    """max(0, log p(word, context) / (p(word) p(context))) of what was seen together, contexts smoothed."""
    found = counts.tocsr().astype(np.float32)
    words = np.asarray(found.sum(axis=1)).ravel()
    contexts = words**SMOOTHING
    contexts /= contexts.sum()
    rows = np.repeat(np.arange(found.shape[0]), np.diff(found.indptr))
    found.data = np.log(found.data / (words[rows] * contexts[found.indices]))
    np.maximum(found.data, 0.0, out=found.data)
    found.eliminate_zeros()
    return found


def _chunks(offsets: IntArray) -> list[tuple[int, int]]:
    """Runs of whole texts of about CHUNK tokens."""
    cuts = np.searchsorted(offsets, np.arange(CHUNK, int(offsets[-1]), CHUNK))
    ends = sorted({0, *cuts.tolist(), len(offsets) - 1})
    return list(itertools.pairwise(ends))
