"""Tasks of the length benchmark: answers written by hand, the structure of what is drawn, balance, seeds."""

import numpy as np
import pytest

from grunlock.benchmark.long.tasks import (
    MARKER,
    MARKS,
    NUM_MARKED,
    NUM_SYMBOLS,
    QUERY,
    RECALL_SIZE,
    SELECTIVE_SIZE,
    SYMBOLS,
    TASKS,
    Problems,
    answer_adding,
    answer_parity,
    answer_recall,
    answer_selective,
)
from grunlock.errors import ShapeError
from grunlock.shapes import FloatArray

T, B = 12, 4000


def draw(name: str, seed: int = 0, batch_size: int = B, num_steps: int = T) -> Problems:
    return TASKS[name].draw(np.random.default_rng(seed), batch_size, num_steps)


def one_hot(size: int, places: list[int]) -> FloatArray:
    return np.eye(size, dtype=np.float32)[places]


# ---- answers by hand -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numbers", "marks", "above"),
    [
        ([0.5, 0.75, 0.5, 0.25], [0, 1, 1, 0], 1),
        ([0.5, 0.75, 0.5, 0.25], [1, 0, 0, 1], 0),
        ([0.5, 0.75, 0.5, 0.25], [1, 0, 1, 0], 0),  # exactly 1 is not above it
        ([0.9, 0.9, 0.1, 0.2], [0, 0, 1, 1], 0),  # what is not marked does not count
    ],
)
def test_adding_by_hand(numbers: list[float], marks: list[int], above: int) -> None:
    values = np.array([numbers, marks], np.float32).T[:, None, :]  # [4, 1, 2]
    assert answer_adding(values).tolist() == [above]


def test_recall_by_hand() -> None:
    first_five = one_hot(RECALL_SIZE, [5, 8, 15])
    first_zero = one_hot(RECALL_SIZE, [0, 13, 13])
    assert answer_recall(np.stack([first_five, first_zero], axis=1)).tolist() == [5, 0]


@pytest.mark.parametrize(("bits", "odd"), [("0000", 0), ("1000", 1), ("0001", 1), ("1011", 1), ("1111", 0)])
def test_parity_by_hand(bits: str, odd: int) -> None:
    values = one_hot(2, [int(bit) for bit in bits])[:, None]
    assert answer_parity(values).tolist() == [odd]


@pytest.mark.parametrize(("asked", "symbol"), [(0, 3), (1, 6), (2, 0), (3, 2)])
def test_selective_by_hand(asked: int, symbol: int) -> None:
    """Marked, in this order: 3, 6, 0, 2; between them 7, 6 and 1."""
    values = np.zeros((8, 1, SELECTIVE_SIZE), np.float32)
    values[:7, 0, SYMBOLS] = one_hot(NUM_SYMBOLS, [7, 3, 6, 6, 0, 1, 2])
    values[[1, 3, 4, 6], 0, MARKS] = 1.0
    values[7, 0, QUERY][asked] = 1.0
    assert answer_selective(values).tolist() == [symbol]


# ---- what is drawn ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TASKS)
def test_shapes_and_types(name: str) -> None:
    task = TASKS[name]
    for num_steps in (task.min_steps, T):
        problems = draw(name, batch_size=3, num_steps=num_steps)
        assert problems.values.shape == (num_steps, 3, task.input_size)
        assert problems.values.dtype == np.float32
        assert problems.targets.shape == (3,)
        assert problems.targets.dtype == np.int64


@pytest.mark.parametrize("name", TASKS)
def test_classes_are_equally_likely(name: str) -> None:
    """A share's standard deviation is sqrt(p (1 - p) / B); five of them are allowed."""
    task = TASKS[name]
    shares = np.bincount(draw(name).targets, minlength=task.num_classes) / B
    assert len(shares) == task.num_classes
    p = task.chance
    assert np.abs(shares - p).max() < 5 * np.sqrt(p * (1 - p) / B)


@pytest.mark.parametrize("name", TASKS)
def test_the_seed_decides(name: str) -> None:
    once, again, other = draw(name, 1), draw(name, 1), draw(name, 2)
    np.testing.assert_array_equal(once.values, again.values)
    np.testing.assert_array_equal(once.targets, again.targets)
    assert (once.targets != other.targets).any()


def test_adding_marks_one_step_in_each_half() -> None:
    marks = draw("adding").values[:, :, MARKER]
    assert (marks[: T // 2].sum(axis=0) == 1).all()
    assert (marks[T // 2 :].sum(axis=0) == 1).all()
    assert (marks.sum(axis=1) > 0).all()  # every step is marked somewhere


def test_recall_shows_a_symbol_once_and_distractors_after_it() -> None:
    values = draw("recall").values
    assert (values.sum(axis=2) == 1).all()
    assert (values[0, :, :NUM_SYMBOLS].sum(axis=1) == 1).all()
    assert not values[1:, :, :NUM_SYMBOLS].any()


def test_parity_needs_the_last_bit() -> None:
    problems = draw("parity")
    flipped = problems.values.copy()
    flipped[-1] = flipped[-1, :, ::-1]
    assert (answer_parity(flipped) == 1 - problems.targets).all()


def test_selective_marks_four_and_asks_for_one() -> None:
    values = draw("selective").values
    assert (values[:, :, MARKS].sum(axis=0) == NUM_MARKED).all()
    assert (values[:-1, :, SYMBOLS].sum(axis=2) == 1).all()
    assert not values[:-1, :, QUERY].any()
    assert not values[-1, :, : MARKS + 1].any()
    asked = values[-1, :, QUERY]
    assert (asked.sum(axis=1) == 1).all()
    assert (asked.sum(axis=0) > 0).all()


def test_too_few_steps_are_refused() -> None:
    with pytest.raises(ShapeError, match="too short for this task"):
        draw("selective", num_steps=NUM_MARKED)
