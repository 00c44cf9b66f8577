"""Random changes of training texts, at the level of tokens, and training batches that have them.

Every change is a pure function of tokens [N], texts one after another, their lengths [B] (1 or more), and a
generator; nothing is changed in place.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from grunlock.data.batches import Batch, ExampleStore
from grunlock.data.shards import ShardedStore
from grunlock.data.store import TokenStore
from grunlock.recipe.regularization_options import AugmentationOptions
from grunlock.seeding import generator
from grunlock.series import SeriesFrontEnd
from grunlock.shapes import IntArray
from grunlock.text import TextFrontEnd

Tokens = NDArray[np.int32]

# AEDA's marks, and the same in Chinese.
MARKS = (*".;?:!,", "\u3002", "\uff1b", "\uff1f", "\uff1a", "\uff01", "\uff0c")


TrainingBatches = Callable[[IntArray, int], Batch]  # of some examples, and the seed of what is random


def training_batches(
    store: ExampleStore, options: AugmentationOptions | None, front_end: TextFrontEnd | SeriesFrontEnd
) -> TrainingBatches:
    """The store's own training batches; of texts, if there are options, with tokens changed at random."""
    if (
        options is None
        or not isinstance(store, TokenStore | ShardedStore)
        or not isinstance(front_end, TextFrontEnd)
    ):
        return store.training_batch
    ids = {token: i for i, token in enumerate(front_end.vocab())}
    marks = np.array([ids[mark] for mark in MARKS if mark in ids], np.int32)

    def changed(examples: IntArray, seed: int) -> Batch:
        tokens, lengths = store.tokens_of(examples)
        rng = generator(seed, "augmentation")
        tokens = swapped(tokens, lengths, options.swap, rng)
        tokens, lengths = deleted(tokens, lengths, options.deletion, rng)
        tokens, lengths = with_marks(tokens, lengths, options.punctuation, marks, front_end.max_tokens, rng)
        return store.lay_out(tokens, lengths, examples)

    return changed


def swapped(tokens: Tokens, lengths: IntArray, rate: float, rng: np.random.Generator) -> Tokens:
    """A share `rate` of the tokens, drawn one by one, in a random order among themselves in each text."""
    if not rate:
        return tokens
    chosen = np.flatnonzero(rng.random(len(tokens)) < rate)
    order = np.lexsort((rng.random(len(chosen)), _text_of(lengths)[chosen]))
    found = tokens.copy()
    found[chosen] = tokens[chosen[order]]
    return found


def deleted(
    tokens: Tokens, lengths: IntArray, rate: float, rng: np.random.Generator
) -> tuple[Tokens, IntArray]:
    """Without a share `rate` of the tokens, drawn one by one; of a text that would be empty one stays."""
    if not rate:
        return tokens, lengths
    keep, starts = rng.random(len(tokens)) >= rate, np.cumsum(lengths) - lengths
    counts = np.add.reduceat(keep, starts, dtype=np.int64)
    stays = starts + (rng.random(len(lengths)) * lengths).astype(np.int64)
    keep[stays[counts == 0]] = True
    return tokens[keep], np.maximum(counts, 1)


def with_marks(
    tokens: Tokens,
    lengths: IntArray,
    rate: float,
    marks: Tokens,
    max_tokens: int | None,
    rng: np.random.Generator,
) -> tuple[Tokens, IntArray]:
    """With 1 to rate * length marks put into each text at random places; none beyond max_tokens."""
    if not rate or not len(marks):
        return tokens, lengths
    most = np.maximum(1, (rate * lengths).astype(np.int64))
    added = 1 + (rng.random(len(lengths)) * most).astype(np.int64)
    if max_tokens is not None:
        added = np.clip(added, 0, np.maximum(max_tokens - lengths, 0))
    texts = np.repeat(np.arange(len(lengths)), added)
    places = (rng.random(len(texts)) * (lengths[texts] + 1)).astype(np.int64)
    starts = np.cumsum(lengths) - lengths
    # Between two texts a mark belongs to the one it was drawn for; np.insert keeps the order of equal places.
    flat = starts[texts] + places
    drawn = marks[(rng.random(len(texts)) * len(marks)).astype(np.int64)]
    return np.insert(tokens, flat, drawn), lengths + added


def _text_of(lengths: IntArray) -> IntArray:
    """[N]: the text of each token."""
    return np.repeat(np.arange(len(lengths)), lengths)
