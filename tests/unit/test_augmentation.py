"""Random changes of texts: what stays, what changes, how much."""

import numpy as np
import pytest

from grunlock.data.augmentation import deleted, swapped, with_marks
from grunlock.seeding import generator

LENGTHS = np.array([1, 4, 30, 200])
TOKENS = np.arange(LENGTHS.sum(), dtype=np.int32)
TEXT_OF = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
MARKS = np.array([1000, 1001], np.int32)


def test_swapped_tokens_stay_in_their_text() -> None:
    found = swapped(TOKENS, LENGTHS, 0.5, generator(0, "a"))
    assert sorted(found) == sorted(TOKENS)
    assert (TEXT_OF[found] == TEXT_OF).all()  # a token is its own place here
    assert 0.3 < (found[-200:] != TOKENS[-200:]).mean() < 0.6


def test_deletion_leaves_the_order_and_a_token() -> None:
    found, lengths = deleted(TOKENS, LENGTHS, 0.4, generator(0, "a"))
    assert (np.diff(found) > 0).all()
    assert lengths.sum() == len(found)
    assert (np.bincount(TEXT_OF[found], minlength=4) == lengths).all()
    assert 0.5 < lengths[-1] / 200 < 0.7
    found, lengths = deleted(TOKENS, LENGTHS, 0.999, generator(0, "a"))
    assert (lengths >= 1).all()
    assert len(found) == lengths.sum()


def test_marks_stand_in_their_own_text() -> None:
    found, lengths = with_marks(TOKENS, LENGTHS, 0.3, MARKS, None, generator(0, "a"))
    added = lengths - LENGTHS
    assert ((added >= 1) & (added <= np.maximum(1, 0.3 * LENGTHS))).all()
    ends = np.cumsum(lengths)
    for i, (end, length) in enumerate(zip(ends, lengths, strict=True)):
        text = found[end - length : end]
        assert (text < 1000).sum() == LENGTHS[i]
        assert (text[text < 1000] == TOKENS[i == TEXT_OF]).all()


def test_marks_respect_the_longest_text() -> None:
    _, lengths = with_marks(TOKENS, LENGTHS, 0.9, MARKS, 30, generator(0, "a"))
    assert lengths.tolist()[2:] == [30, 200]
    assert lengths[0] == 2


@pytest.mark.parametrize("change", [swapped, deleted])
def test_no_rate_changes_nothing(change: object) -> None:
    found = change(TOKENS, LENGTHS, 0.0, generator(0, "a"))  # type: ignore[operator]
    assert (found[0] if isinstance(found, tuple) else found) is TOKENS
    assert with_marks(TOKENS, LENGTHS, 0.5, MARKS[:0], None, generator(0, "a"))[0] is TOKENS
