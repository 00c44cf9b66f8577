"""The corpus that memory is measured on, and the measuring: short versions."""

import os
import time

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install grunlock[scale]")

from benchmarks.scale.bounded_memory import Watch, watching
from benchmarks.scale.corpus import CLASSES, texts, write_corpus


def test_a_corpus_is_the_same_for_the_same_seed(tmp_path):
    found = texts(2000, seed=0, number=3)
    assert found.equals(texts(2000, seed=0, number=3))
    assert not found.equals(texts(2000, seed=0, number=4))
    lengths = {len(text.split()) for text in found["text"].to_pylist()}
    assert lengths == set(range(4, 13))
    words = [word for text in found["text"].to_pylist() for word in text.split()]
    assert 0.04 < np.mean([word.startswith("n") for word in words]) < 0.06
    assert set(found["label"].to_pylist()) == set(CLASSES)
    paths = write_corpus(tmp_path / "corpus", 250, file_rows=100)
    assert [path.name for path in paths] == [f"part-0000{i}.parquet" for i in range(3)]


def test_a_label_can_be_learned_from_the_words():
    found = texts(4000, seed=1, number=0)
    # Words of class c are w20000 + 5000 c and on: the class with most of them is mostly the label.
    right = 0
    for text, label in zip(found["text"].to_pylist(), found["label"].to_pylist(), strict=True):
        numbers = [int(word[1:]) for word in text.split() if word[0] == "w"]
        of = np.bincount([(n - 20_000) // 5000 for n in numbers if n >= 20_000], minlength=len(CLASSES))
        right += CLASSES[int(of.argmax())] == label
    assert 0.8 < right / 4000 < 0.97


def test_memory_is_seen_to_grow():
    watch = Watch({os.getpid(): "driver"})
    with watching(watch):
        before = watch.look(0.0) or watch.peaks()["driver"]["largest"]
        held = np.ones(100 * 2**20 // 8)
        time.sleep(0.6)
    assert watch.peaks()["driver"]["largest"] - before > 0.9 * held.nbytes
    assert watch.peaks()["driver"]["together"] >= watch.peaks()["driver"]["largest"]
