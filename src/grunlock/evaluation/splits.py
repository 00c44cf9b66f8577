"""A trained network over a tokenised split."""

import numpy as np

from grunlock.data.batches import evaluation_batches, make_batch
from grunlock.data.store import TokenStore
from grunlock.runtime.network import Network
from grunlock.shapes import FloatArray, IntArray
from grunlock.text import TokenTypes

BATCH_TOKENS = 16_384  # bounds memory; results do not depend on it beyond rounding


def split_logits(network: Network, store: TokenStore, types: TokenTypes) -> tuple[FloatArray, IntArray]:
    """Logits [examples, K] and targets [examples], in the split's order."""
    num_classes = len(network.weights["head.bias"])
    logits = np.empty((store.num_examples, num_classes), dtype=np.float32)
    for examples in evaluation_batches(store.lengths, BATCH_TOKENS):
        batch = make_batch(store, examples, types)
        logits[batch.examples] = network.logits(batch.tokens, batch.layout)
    return logits, np.asarray(store.targets, dtype=np.int64)
