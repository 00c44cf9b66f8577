"""A wide path's table in few distinct values: product quantization (Jégou 2011; of text classifiers Joulin
2016, 1612.03651).

The classes are cut into parts, and in each part an n-gram's weights are replaced by the nearest of 256
centres. Few parts make rows small and coarse: more n-grams fit, each less exact. What comes out is a table as
before; a file stores a byte for each part of a row instead of one for each class (artifact/int8_storage.py).
"""

from dataclasses import replace

import numpy as np

from grunlock.artifact.int8_storage import NUM_CENTRES, class_parts
from grunlock.shapes import FloatArray
from grunlock.training.wide_path import WideTable

PART_CLASSES = (5, 15)  # of a part, at most; both are tried
FEWEST_PARTED = 4  # classes; with fewer, int8 is as small
SAMPLE_ROWS = 40_000  # that centres are found on, those that matter most
BATCH_ROWS, PASSES = 4096, 4
SEED = 0


def numbers_of_parts(num_classes: int) -> list[int | None]:
    """The ways to cut classes that are worth a trial, finer first; None: not at all, int8 is as small."""
    if num_classes < FEWEST_PARTED:
        return [None]
    return list(dict.fromkeys(-(-num_classes // most) for most in PART_CLASSES))


def quantized(table: WideTable, num_parts: int | None, importance: FloatArray) -> WideTable:
    """With at most 256 distinct rows in each part of the classes.

    importance: [M] how much an n-gram's weights matter beside another's
    """
    if num_parts is None or len(table.rows) <= NUM_CENTRES:
        return table
    weights = np.empty_like(table.weights)
    for part in class_parts(table.weights.shape[1], num_parts):
        weights[:, part] = _nearest_centres(table.weights[:, part], importance)
    return replace(table, weights=weights)


def _nearest_centres(values: FloatArray, importance: FloatArray) -> FloatArray:
    """[M, d] with at most 256 distinct rows, which a half-precision number holds."""
    from sklearn.cluster import MiniBatchKMeans

    sample = np.argsort(-importance, kind="stable")[:SAMPLE_ROWS]
    model = MiniBatchKMeans(
        n_clusters=NUM_CENTRES, batch_size=BATCH_ROWS, max_iter=PASSES, n_init=1, random_state=SEED
    )
    model.fit(values[sample], sample_weight=importance[sample])
    centres: FloatArray = model.cluster_centers_.astype(np.float16).astype(np.float32)
    found: FloatArray = centres[model.predict(values)]
    return found
