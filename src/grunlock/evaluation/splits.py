"""Any network over a tokenised split, a batch at a time. Training and evaluation share this loop."""

from collections.abc import Callable

import numpy as np

from grunlock.data.batches import Batch, evaluation_batches, make_batch
from grunlock.data.store import TokenStore
from grunlock.runtime.network import Network
from grunlock.shapes import FloatArray, IntArray
from grunlock.text import TokenTypes

BATCH_TOKENS = 16_384  # bounds memory; results do not depend on it beyond rounding

Forward = Callable[[Batch], FloatArray]  # logits [B, K], longest sequence first


def split_logits(
    forward: Forward, store: TokenStore, types: TokenTypes, num_classes: int
) -> tuple[FloatArray, IntArray]:
    """Logits [examples, K] and targets [examples], in the split's order."""
    logits = np.empty((store.num_examples, num_classes), dtype=np.float32)
    for examples in evaluation_batches(store.lengths, BATCH_TOKENS):
        batch = make_batch(store, examples, types)
        logits[batch.examples] = forward(batch)
    return logits, np.asarray(store.targets, dtype=np.int64)


def runtime_forward(network: Network) -> Forward:
    """The torch-free forward pass, the one that serves."""
    return lambda batch: network.logits(batch.tokens, batch.layout)
