"""Seeds for every random choice, derived by name and never drawn from a moving generator.

A choice made at step 1000 depends on (seed, purpose, 1000) alone. So a resumed run repeats exactly
what an uninterrupted one does, without saving any generator's state.
"""

import hashlib

import numpy as np


def derive_seed(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose, for example derive_seed(recipe.seed, "batches", epoch)."""
    text = "/".join([str(seed), *(str(part) for part in purpose)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """A fresh numpy generator for one purpose."""
    return np.random.default_rng(derive_seed(seed, *purpose))
