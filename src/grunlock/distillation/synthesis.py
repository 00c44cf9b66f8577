"""New texts out of training texts, for a teacher to label: spliced, with like words, cut to short runs.

Replacing by neighbours of word vectors is Jiao 2019 (TinyBERT, 1909.10351), runs of words Tang 2019
(1903.12136). The new texts need not make sense: they show the student where the teacher's answers change, and
words that training texts lack. Words are what stands between spaces.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from grunlock.data.vectors import all_vectors
from grunlock.errors import DataError
from grunlock.shapes import FloatArray

REPLACED = 0.4  # share of words, as TinyBERT
SPLICED = 0.4  # share of texts that end as another; worth half a point on trec6 (benchmarks/LOG.md)
RUNS = 0.25  # share of texts of which only a run of words is kept, as Tang
LONGEST_RUN = 5
NEIGHBOURS = 15
MAX_WORDS = 50_000  # of a file of vectors, its first ones, that may come in
MIN_SIMILARITY = 0.4  # cosine; farther ones are like nothing

Candidates = Mapping[str, Sequence[str]]


def nearest_words(words: Iterable[str], vectors: str | Path) -> dict[str, list[str]]:
    """For each of the words that has a vector, others that are near it: cosines of vectors.

    Raises DataError as data.vectors.read_vectors.
    """
    vocab, matrix = all_vectors(vectors, MAX_WORDS)
    unit = matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), np.float32(1e-12))
    place = {word: i for i, word in enumerate(vocab)}
    known = [word for word in dict.fromkeys(words) if word in place]
    found = {}
    for start in range(0, len(known), 1024):
        part = known[start : start + 1024]
        for word, near in zip(part, _nearest(unit, [place[word] for word in part]), strict=True):
            if near:
                found[word] = [vocab[i] for i in near]
    return found


def _nearest(unit: FloatArray, rows: list[int]) -> list[list[int]]:
    similarity = unit[rows] @ unit.T
    similarity[np.arange(len(rows)), rows] = -1
    count = min(NEIGHBOURS, len(unit) - 1)
    near = np.argpartition(-similarity, count - 1, axis=1)[:, :count]
    return [[int(i) for i in each if similarity[row, i] >= MIN_SIMILARITY] for row, each in enumerate(near)]


def synthesize(
    texts: Sequence[str], count: int, candidates: Candidates, rng: np.random.Generator
) -> list[str]:
    """At most `count` new texts of each text, none of them equal to another or to a text.

    candidates: what may stand for a word, by the word in lower case.

    Raises DataError if no word of the texts has a candidate.
    """
    if not any(word.lower() in candidates for text in texts for word in text.split()):
        raise DataError(
            "No word of the training texts has a like one.",
            where="embedding.vectors",
            expected="vectors of words as they stand between spaces",
            cure="give word vectors of the texts' language",
        )
    known, found = set(texts), []
    split = [text.split() for text in texts]
    for words in split:
        for _ in range(count):
            new = " ".join(_changed(_perhaps_spliced(words, split, rng), candidates, rng))
            if new and new not in known:
                known.add(new)
                found.append(new)
    return found


def _perhaps_spliced(
    words: Sequence[str], others: Sequence[Sequence[str]], rng: np.random.Generator
) -> Sequence[str]:
    """Sometimes the beginning of a text and the end of another."""
    if not words or rng.random() >= SPLICED:
        return words
    other = others[int(rng.integers(len(others)))]
    head = words[: int(rng.integers(1, len(words) + 1))]
    return [*head, *other[int(rng.integers(len(other) + 1)) :]]


def _changed(words: Sequence[str], candidates: Candidates, rng: np.random.Generator) -> list[str]:
    draws = rng.random(len(words))
    new = [
        _one_of(candidates.get(word.lower(), (word,)), rng) if draw < REPLACED else word
        for word, draw in zip(words, draws, strict=True)
    ]
    if rng.random() < RUNS and len(new) > 1:
        length = int(rng.integers(1, min(LONGEST_RUN, len(new)) + 1))
        start = int(rng.integers(0, len(new) - length + 1))
        return new[start : start + length]
    return new


def _one_of(words: Sequence[str], rng: np.random.Generator) -> str:
    return words[int(rng.integers(len(words)))]
