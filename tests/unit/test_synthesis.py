"""New texts out of training texts."""

from pathlib import Path

import numpy as np
import pytest

from grunlock.data.vectors import all_vectors
from grunlock.distillation.synthesis import nearest_words, synthesize
from grunlock.errors import DataError
from grunlock.seeding import generator

WORDS = ["good", "great", "bad", "awful", "film", "movie"]
ANGLES = [0.0, 0.1, 3.0, 3.1, 1.5, 1.6]


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    path = tmp_path / "v.npz"
    matrix = 5 * np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)
    np.savez(path, vectors=matrix.astype(np.float32), vocab=WORDS)
    return path


def test_like_words_are_those_of_near_vectors(vectors: Path) -> None:
    found = nearest_words(["good", "awful", "film", "unknown", "good"], vectors)
    assert found == {"good": ["great"], "awful": ["bad"], "film": ["movie"]}


@pytest.mark.parametrize("limit", [2, 100])
def test_all_vectors_are_the_first_ones(limit: int, vectors: Path) -> None:
    words, matrix = all_vectors(vectors, limit)
    assert words == WORDS[:limit]
    assert matrix.shape == (min(limit, 6), 2)


def test_new_texts_differ_and_hold_like_words_only(vectors: Path) -> None:
    texts = ["a good film", "an awful film it is"]
    found = synthesize(texts, 40, nearest_words(WORDS, vectors), generator(0, "a"))
    assert len(found) == len(set(found)) > 10
    assert not set(found) & set(texts)
    known = {word for text in texts for word in text.split()} | {"great", "bad", "movie"}
    assert {word for text in found for word in text.split()} <= known
    assert any("great" in text for text in found)
    assert any(text.startswith("a ") and text.endswith("it is") for text in found)  # spliced
    assert any(len(text.split()) == 1 for text in found)
    assert found == synthesize(texts, 40, nearest_words(WORDS, vectors), generator(0, "a"))


def test_texts_without_like_words_are_refused(vectors: Path) -> None:
    with pytest.raises(DataError, match=r"No word of the training texts has a like one(.|\n)*vectors"):
        synthesize(["nothing here"], 3, nearest_words(WORDS, vectors), generator(0, "a"))
