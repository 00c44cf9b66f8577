"""Real lengths of texts for the ragged cases: read from a file, or drawn from what IMDb's look like."""

from pathlib import Path

import numpy as np

from grunlock.data.sources import read_texts
from grunlock.errors import DataError
from grunlock.recipe.text_options import TextDataOptions
from grunlock.shapes import IntArray

# Mean and standard deviation of the logarithm of words per review, IMDb's 25,000 training texts.
LOG_MEAN, LOG_SD = 5.23, 0.645
NUM_DRAWN = 25_000
MAX_TOKENS = 400  # as in the recipe `seed`
BATCH_SIZE = 64
SEED = 0

Batches = tuple[tuple[int, ...], ...]


def text_lengths(path: Path) -> IntArray:
    """Words between white space of each text, at least 1. Raises DataError if the file cannot be read."""
    lengths = [
        len(str(text).split())
        for chunk in read_texts(path, TextDataOptions(), labels="optional").chunks()
        for text in chunk.texts
    ]
    if len(lengths) < BATCH_SIZE:
        raise DataError(
            "The file has too few texts to draw a batch of lengths from.",
            where=path,
            got=f"{len(lengths)} texts",
            expected=f"{BATCH_SIZE} or more",
        )
    return np.maximum(1, np.array(lengths, np.int64))


def drawn_lengths() -> IntArray:
    """Log-normal lengths, the same every time."""
    return np.maximum(1, np.random.default_rng(SEED).lognormal(LOG_MEAN, LOG_SD, NUM_DRAWN).astype(np.int64))


def length_batches(lengths: IntArray, num_batches: int) -> Batches:
    """Batches of texts in random order, each longest first, cut to MAX_TOKENS."""
    order = np.random.default_rng(SEED).permutation(len(lengths))
    batches = []
    for index in range(min(num_batches, len(lengths) // BATCH_SIZE)):
        chosen = lengths[order[index * BATCH_SIZE : (index + 1) * BATCH_SIZE]]
        batches.append(tuple(sorted(np.minimum(chosen, MAX_TOKENS).tolist(), reverse=True)))
    return tuple(batches)
