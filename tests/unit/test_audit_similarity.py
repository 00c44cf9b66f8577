"""The exact similarity join: the same pairs as comparing all with all, and honest about its bounds."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from grunlock.audit import similarity
from grunlock.audit.similarity import similar_pairs


def random_sets(num_sets: int, num_elements: int, seed: int) -> csr_matrix:
    """Sets of unequal sizes with unequally frequent elements; some are edited copies, some empty."""
    rng = np.random.default_rng(seed)
    rows: list[set[int]] = []
    for i in range(num_sets):
        if rows and i % 3 == 0:
            copy = set(rows[rng.integers(len(rows))])
            copy ^= {int(e) for e in rng.integers(num_elements, size=rng.integers(3))}
            rows.append(copy)
        else:
            rows.append({int(num_elements * u**3) for u in rng.random(rng.integers(0, 25))})
    columns = [sorted(row) for row in rows]
    indptr = np.r_[0, np.cumsum([len(row) for row in columns])]
    indices = np.array([e for row in columns for e in row], np.int32)
    return csr_matrix((np.full(len(indices), 3.0, np.float32), indices, indptr), (num_sets, num_elements))


def all_pairs(sets: csr_matrix, threshold: float) -> dict[tuple[int, int], float]:
    rows = [set(sets[i].indices.tolist()) for i in range(sets.shape[0])]
    found = {}
    for i in range(len(rows)):
        for j in range(i + 1, len(rows)):
            union = len(rows[i] | rows[j])
            if union and len(rows[i] & rows[j]) >= threshold * union - 1e-9:
                found[i, j] = len(rows[i] & rows[j]) / union
    return found


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.75, 0.8, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_the_join_is_exact(threshold: float, seed: int) -> None:
    sets = random_sets(150, 60, seed)
    found = similar_pairs(sets, threshold)
    expected = all_pairs(sets, threshold)
    pairs = dict(
        zip(zip(found.first.tolist(), found.second.tolist(), strict=True), found.similarity, strict=True)
    )
    assert pairs == pytest.approx(expected)
    assert len(expected) >= 10, "the sets must have similar pairs for the test to say something"
    assert len(pairs) == len(found.first)
    assert found.exhaustive
    assert (np.diff(found.similarity) <= 0).all()


def test_small_blocks_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    sets = random_sets(200, 60, 9)
    whole = similar_pairs(sets, 0.6)
    monkeypatch.setattr(similarity, "BLOCK_WORK", 50)
    monkeypatch.setattr(similarity, "VERIFIED_ELEMENTS", 30)
    cut = similar_pairs(sets, 0.6)
    assert (cut.first == whole.first).all()
    assert (cut.second == whole.second).all()


def test_a_prefix_one_shorter_would_miss_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted error that the exactness test has to catch."""
    right = similarity._at_least
    monkeypatch.setattr(similarity, "_at_least", lambda value: right(value) + 1)
    sets = random_sets(150, 60, 0)
    assert len(similar_pairs(sets, 0.5).first) < len(all_pairs(sets, 0.5))


@pytest.mark.parametrize("bound", ["WORK", "MAX_PAIRS"])
def test_bounded_work_is_admitted(bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = random_sets(150, 60, 1)
    monkeypatch.setattr(similarity, bound, 20)
    found = similar_pairs(sets, 0.5)
    assert not found.exhaustive
    expected = all_pairs(sets, 0.5)
    assert len(found.first) < len(expected)
    assert set(zip(found.first.tolist(), found.second.tolist(), strict=True)) <= set(expected)


def test_no_sets_and_empty_sets() -> None:
    empty = csr_matrix((3, 0), dtype=np.float32)
    assert len(similar_pairs(empty, 0.8).first) == 0
