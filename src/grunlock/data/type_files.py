"""Tables of token types on disk. Tables name no surface, so nothing is looked up in them by text."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from grunlock.data.npz_files import check_npz
from grunlock.files import atomic_file
from grunlock.text import TypeTable

TYPES = "types.npz"


def save_types(folder: Path, table: TypeTable) -> None:
    with atomic_file(folder / TYPES) as file:
        np.savez(file, **vars(table))


def load_types(folder: Path, vocab_size: int, buckets: int, fewest: int) -> TypeTable:
    """Raises one of NPZ_ERRORS for a table that names a token or an n-gram that has no vector, or for one of
    fewer types."""
    check_npz(folder / TYPES)
    with np.load(folder / TYPES, allow_pickle=False) as arrays:
        found = TypeTable(**{name: arrays[name] for name in arrays.files})
    ids, offsets, ngrams = found.vocab_ids, found.ngram_offsets, found.ngram_ids
    types = ids.dtype == offsets.dtype == np.int64 and ngrams.dtype == np.int32
    flat = ids.ndim == offsets.ndim == ngrams.ndim == 1 and len(offsets) == len(ids) + 1
    if not types or not flat or len(ids) < fewest:
        raise ValueError(f"{TYPES} holds other arrays than it should")
    if offsets[0] != 0 or offsets[-1] != len(ngrams) or (np.diff(offsets) < 0).any():
        raise ValueError(f"{TYPES}: n-grams of no type")
    if not are_below(ids, vocab_size) or not are_below(ngrams, buckets):
        raise ValueError(f"{TYPES}: a token or an n-gram that has no vector")
    return found


def are_below(values: NDArray[np.integer], limit: int) -> bool:
    """Whether all are from 0 to limit - 1."""
    return len(values) == 0 or 0 <= int(values.min()) <= int(values.max()) < limit
