"""Vectors of words from texts: counts and information against loops, likeness against planted likeness."""

from pathlib import Path

import numpy as np
import pytest

from grunlock.data.store import TokenStore
from grunlock.data.vectors import LENGTH, all_vectors
from grunlock.errors import DataError
from grunlock.pretraining import cooccurrence
from grunlock.pretraining.cooccurrence import (
    SMOOTHING,
    WINDOW,
    cooccurrences,
    mutual_information,
    write_text_vectors,
)
from grunlock.text import TokenTypes


def store_of(texts: list[list[int]]) -> TokenStore:
    lengths = [len(text) for text in texts]
    return TokenStore(
        np.concatenate([np.array(text, np.int32) for text in texts]),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.zeros(len(texts), np.int32),
        "none",
        TokenTypes(12, None),
    )


def by_loops(texts: list[list[int]], size: int) -> np.ndarray:
    found = np.zeros((size, size))
    for text in texts:
        for i, word in enumerate(text):
            for j, context in enumerate(text):
                if i != j and abs(i - j) <= WINDOW and word >= 2 and context >= 2:
                    found[word, context] += (WINDOW + 1 - abs(i - j)) / WINDOW
    return found


@pytest.mark.parametrize("chunk", [7, 1000])
def test_counts_stay_inside_texts(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cooccurrence, "CHUNK", chunk)
    rng = np.random.default_rng(0)
    texts = [rng.integers(0, 12, rng.integers(1, 15)).tolist() for _ in range(20)]
    found = cooccurrences(store_of(texts), 12, lambda activity, done: None)
    np.testing.assert_allclose(found.toarray(), by_loops(texts, 12), rtol=1e-5)


def test_information_of_what_was_seen_together() -> None:
    rng = np.random.default_rng(1)
    texts = [rng.integers(2, 8, 12).tolist() for _ in range(10)]
    counts = by_loops(texts, 8)
    joint, words = counts / counts.sum(), counts.sum(axis=1) / counts.sum()
    contexts = counts.sum(axis=1) ** SMOOTHING / (counts.sum(axis=1) ** SMOOTHING).sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        wanted = np.maximum(0.0, np.nan_to_num(np.log(joint / np.outer(words, contexts)), neginf=0.0))
    found = mutual_information(cooccurrences(store_of(texts), 8, lambda activity, done: None))
    np.testing.assert_allclose(found.toarray(), wanted, rtol=1e-4, atol=1e-5)


def test_words_of_like_neighbours_are_alike(tmp_path: Path) -> None:
    """Cats and dogs do the same things; cars and lorries do others."""
    rng = np.random.default_rng(2)
    who = {"animal": ["cat", "dog"], "vehicle": ["car", "lorry"]}
    does = {"animal": ["purrs", "eats", "sleeps", "runs"], "vehicle": ["brakes", "rusts", "stalls", "turns"]}
    lines = []
    for _ in range(400):
        kind = ("animal", "vehicle")[int(rng.integers(2))]
        words = [who[kind][int(rng.integers(2))], *(does[kind][i] for i in rng.integers(0, 4, 3))]
        lines.append(" ".join(words))
    (tmp_path / "texts.txt").write_text("\n".join(lines) + "\n")
    path = tmp_path / "vectors.npz"
    assert write_text_vectors([str(tmp_path / "texts.txt")], 4, path, tmp_path / "store") == 12
    words, vectors = all_vectors(path, 100)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    alike = {(a, b): float(unit[words.index(a)] @ unit[words.index(b)]) for a in words for b in words}
    assert alike["cat", "dog"] > 0.9
    assert alike["car", "lorry"] > 0.9
    assert alike["cat", "car"] < 0.2
    np.testing.assert_allclose(np.square(vectors).sum(axis=1).mean(), LENGTH**2, rtol=1e-2)


def test_bad_requests(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("one two one two\nthree one three\n")
    source = [str(tmp_path / "texts.txt")]
    with pytest.raises(DataError, match=r"written to \.npz"):
        write_text_vectors(source, 2, tmp_path / "vectors.txt", tmp_path / "a")
    with pytest.raises(DataError, match=r"fewer words than numbers(.|\n)*a smaller size"):
        write_text_vectors(source, 100, tmp_path / "vectors.npz", tmp_path / "b")
