"""Synthetic tasks with known answers. Every one is a classification, so accuracy serves all.

A task's generator is a pure function of (numpy Generator, B, T): values [T, B, D] float32, targets [B]. Its
answer is a function of the values alone, which tests compare with answers written by hand. Classes are
equally likely, so chance is 1 / K.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from grunlock.errors import ShapeError
from grunlock.shapes import FloatArray, IntArray

NUM_SYMBOLS = 8
NUM_MARKED = 4  # symbols that selective recall marks
VALUE, MARKER = 0, 1  # channels of the adding problem
RECALL_SIZE = 2 * NUM_SYMBOLS  # symbols to recall, then distractors
SYMBOLS, MARKS, QUERY = (
    slice(0, NUM_SYMBOLS),
    NUM_SYMBOLS,
    slice(NUM_SYMBOLS + 1, None),
)  # of selective recall
SELECTIVE_SIZE = NUM_SYMBOLS + 1 + NUM_MARKED


@dataclass(frozen=True)
class Problems:
    """Sequences of one length and what they ask for."""

    values: FloatArray  # [T, B, D]
    targets: IntArray  # [B] in [0, K)


@dataclass(frozen=True)
class Task:
    """A generator with what one must know to use it."""

    name: str
    input_size: int  # D
    num_classes: int  # K
    min_steps: int  # shortest T that has all its parts
    generate: Callable[[np.random.Generator, int, int], Problems]

    @property
    def chance(self) -> float:
        return 1.0 / self.num_classes

    def draw(self, random: np.random.Generator, batch_size: int, num_steps: int) -> Problems:
        """Raises ShapeError for sequences too short to hold the task's parts."""
        if num_steps < self.min_steps:
            raise ShapeError(
                "Sequences are too short for this task.",
                where=self.name,
                got=f"{num_steps} steps",
                expected=f"{self.min_steps} or more",
            )
        return self.generate(random, batch_size, num_steps)


# ---- adding ----------------------------------------------------------------------------------------


def draw_adding(random: np.random.Generator, batch_size: int, num_steps: int) -> Problems:
    """The adding problem (Hochreiter & Schmidhuber 1997, experiment 4), as a classification.

    Channel 0 is uniform in [0, 1), channel 1 marks one step in each half. Is the sum of the two marked values
    above 1? Asks for two numbers to be kept, with precision, past unmarked ones that look alike; the order
    does not matter. Chance 1/2.
    """
    values = np.zeros((num_steps, batch_size, 2), np.float32)
    values[:, :, VALUE] = random.random((num_steps, batch_size), dtype=np.float32)
    sequences, half = np.arange(batch_size), num_steps // 2
    values[random.integers(0, half, batch_size), sequences, MARKER] = 1.0
    values[random.integers(half, num_steps, batch_size), sequences, MARKER] = 1.0
    return Problems(values, answer_adding(values))


def answer_adding(values: FloatArray) -> IntArray:  # [T, B, 2] -> [B]
    total = (values[:, :, VALUE] * values[:, :, MARKER]).sum(axis=0)
    return np.asarray(total > 1.0, np.int64)


# ---- recall ----------------------------------------------------------------------------------------


def draw_recall(random: np.random.Generator, batch_size: int, num_steps: int) -> Problems:
    """Recall of the first symbol after a delay (Hochreiter & Schmidhuber 1997, experiment 2: long time lags).

    One of 8 symbols at step 0, then one-hot distractors from 8 others. Asks for memory alone: the symbol has
    channels of its own, so neither order nor a count is needed, and a mean over steps still holds it, T
    times smaller. Chance 1/8.
    """
    values = np.zeros((num_steps, batch_size, RECALL_SIZE), np.float32)
    values[0, :, :NUM_SYMBOLS] = _symbols(random, 1, batch_size)[0]
    values[1:, :, NUM_SYMBOLS:] = _symbols(random, num_steps - 1, batch_size)
    return Problems(values, answer_recall(values))


def answer_recall(values: FloatArray) -> IntArray:  # [T, B, 16] -> [B]
    return np.asarray(values[0, :, :NUM_SYMBOLS].argmax(axis=1), np.int64)


# ---- parity ----------------------------------------------------------------------------------------


def draw_parity(random: np.random.Generator, batch_size: int, num_steps: int) -> Problems:
    """Parity of a bit string (state tracking in Merrill et al. 2024, "The illusion of state").

    Every step is a one-hot bit; is the number of ones odd? Every step counts and none can be
    forgotten. A cell whose gates read its state flips it at each one; gates that read inputs only and keep a
    share in (0, 1) cannot flip anything, and attention of few layers has to count. Chance 1/2; but
    "more ones than half?" alone is right for 1/2 + 0.4 / sqrt(T) of strings of even length T, or for so much
    less than 1/2.
    """
    bits = random.integers(0, 2, (num_steps, batch_size))
    values = np.eye(2, dtype=np.float32)[bits]
    return Problems(values, answer_parity(values))


def answer_parity(values: FloatArray) -> IntArray:  # [T, B, 2] -> [B]
    return np.asarray(values[:, :, 1].sum(axis=0) % 2, np.int64)


# ---- selective recall ------------------------------------------------------------------------------


def draw_selective(random: np.random.Generator, batch_size: int, num_steps: int) -> Problems:
    """Recall of the k-th of 4 marked symbols (selective copying, Gu & Dao 2023, with a query as in
    associative recall, Ba et al. 2016).

    One of 8 symbols at every step but the last, 4 of them marked at random; the last step asks for one of the
    four by its number. Asks for a choice of what to keep by what is read, for the order of what was kept, and
    for a look-up. Chance 1/8.
    """
    values = np.zeros((num_steps, batch_size, SELECTIVE_SIZE), np.float32)
    values[:-1, :, SYMBOLS] = _symbols(random, num_steps - 1, batch_size)
    marked = random.random((num_steps - 1, batch_size)).argsort(axis=0)[:NUM_MARKED]  # [4, B] distinct steps
    values[marked, np.arange(batch_size), MARKS] = 1.0
    values[-1, :, QUERY] = np.eye(NUM_MARKED, dtype=np.float32)[random.integers(0, NUM_MARKED, batch_size)]
    return Problems(values, answer_selective(values))


def answer_selective(values: FloatArray) -> IntArray:  # [T, B, 13] -> [B]
    asked = values[-1, :, QUERY].argmax(axis=1) + 1  # [B] first, second ..
    seen = values[:, :, MARKS].cumsum(axis=0)  # [T, B]
    step = (seen == asked).argmax(axis=0)  # the first step at which so many are seen
    return np.asarray(values[step, np.arange(values.shape[1]), SYMBOLS].argmax(axis=1), np.int64)


def _symbols(random: np.random.Generator, num_steps: int, batch_size: int) -> FloatArray:
    """[T, B, 8] one-hot."""
    return np.eye(NUM_SYMBOLS, dtype=np.float32)[random.integers(0, NUM_SYMBOLS, (num_steps, batch_size))]


TASKS = {
    task.name: task
    for task in (
        Task("adding", 2, 2, 2, draw_adding),
        Task("recall", RECALL_SIZE, NUM_SYMBOLS, 2, draw_recall),
        Task("parity", 2, 2, 1, draw_parity),
        Task("selective", SELECTIVE_SIZE, NUM_SYMBOLS, NUM_MARKED + 1, draw_selective),
    )
}
