"""Any network over a prepared split, a batch at a time. Training and evaluation share this loop."""

from collections.abc import Callable, Iterator

import numpy as np

from grunlock.data.batches import ArrayStore, Batch, evaluation_batches
from grunlock.runtime.network import Network
from grunlock.runtime.stepped import prefix_logits
from grunlock.shapes import FloatArray, IntArray

BATCH_TOKENS = 16_384  # bounds memory; results do not depend on it beyond rounding

Forward = Callable[[Batch], FloatArray]  # logits [B, K], longest sequence first


def split_logits(
    forward: Forward, store: ArrayStore, num_classes: int, share: tuple[int, int] = (0, 1)
) -> tuple[FloatArray, IntArray]:
    """Logits [examples, K] and targets [examples], in the split's order.

    share: (r, n), of every n batches only number r is answered; the logits of the others are zero, so that
        those of all shares add up to the whole
    """
    logits = np.zeros((store.num_examples, num_classes), dtype=np.float32)
    place, step = share
    for examples in evaluation_batches(store.lengths, BATCH_TOKENS)[place::step]:
        batch = store.batch(examples)
        logits[batch.examples] = forward(batch)
    return logits, np.asarray(store.targets, dtype=np.int64)


def split_paths(
    network: Network, store: ArrayStore, most: int | None = None
) -> Iterator[tuple[int, FloatArray]]:
    """Of each example its place in the split and the logits [steps, K] after each of its steps, a batch at a
    time. The network must be one that can answer before the end (runtime/hindrances.py).

    most: of more examples so many are taken, spread evenly
    """
    count = store.num_examples if most is None else min(most, store.num_examples)
    chosen = np.arange(count) * store.num_examples // max(count, 1)
    for members in evaluation_batches(store.lengths[chosen], BATCH_TOKENS):
        batch = store.batch(chosen[members])
        yield from zip(
            batch.examples.tolist(), prefix_logits(network, batch.inputs, batch.layout), strict=True
        )


def runtime_forward(network: Network) -> Forward:
    """The torch-free forward pass, the one that serves."""
    return lambda batch: network.logits(batch.inputs, batch.layout)
