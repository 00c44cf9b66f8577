"""Words as fingerprints of 32 bits: a device need not keep their letters to know them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

PRIME = np.uint32(0x01000193)  # FNV-1a
FIRST_SEED = 0x811C9DC5
MOST_SEEDS = 1000

Fingerprints = NDArray[np.uint32]


def fingerprints(words: Sequence[str], seed: int) -> Fingerprints:
    """[V] FNV-1a over UTF-8 from a seed, then mixed: grunlock_tokens.c."""
    encoded = [word.encode() for word in words]
    lengths = np.array([len(each) for each in encoded], np.int64)
    letters = np.zeros((len(words), int(lengths.max(initial=0))), np.uint32)
    letters[np.arange(letters.shape[1]) < lengths[:, None]] = np.frombuffer(b"".join(encoded), np.uint8)
    found = np.full(len(words), seed, np.uint32)
    for place in range(letters.shape[1]):
        running = place < lengths
        found[running] = (found[running] ^ letters[running, place]) * PRIME
    return _mixed(found)


def _mixed(x: Fingerprints) -> Fingerprints:
    x = x ^ (x >> np.uint32(16))
    x = x * np.uint32(0x7FEB352D)
    x = x ^ (x >> np.uint32(15))
    x = x * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


def distinct_fingerprints(words: Sequence[str]) -> tuple[int, Fingerprints]:
    """A seed under which no two words share a fingerprint, and the fingerprints [V].

    Raises ValueError if there is none among many; a million words have one in about e**116.
    """
    for seed in range(FIRST_SEED, FIRST_SEED + MOST_SEEDS):
        found = fingerprints(words, seed)
        if len(np.unique(found)) == len(words):
            return seed, found
    raise ValueError(f"{len(words)} words are too many for fingerprints of 32 bits")
