"""The wide path's n-grams and their weights as C arrays."""

import numpy as np

from grunlock.artifact.int8_storage import CENTRES, CODES, TABLE, class_parts, packed
from grunlock.export.c.constants import Constants, rising_numbers
from grunlock.export.c.matrices import table
from grunlock.export.portable import WidePart
from grunlock.shapes import FloatArray

MANY_ROWS, TOUCHED = 1 << 14, 1 << 10  # counts that take longer to clear than to note which were used
TOKENS_ALONE, WITH_CHARACTERS = 1, 2  # kinds of n-grams


def wide_part(constants: Constants, wide: WidePart | None) -> None:
    """Which n-grams there are and what they say. A path without n-grams is a bias, which the head has."""
    constants.macros |= {"WIDE": 0, "WIDE_CHARACTERS": 0}
    if wide is None:
        return
    rows, weights = wide.rows, wide.weights
    if rows is None:  # learned with the network: what no training text had is still zero
        used = np.flatnonzero(weights.any(axis=1))
        rows, weights = used.astype(np.int32), weights[used]
    if not len(rows):
        return
    options = wide.options
    token_buckets = options.buckets // 2 if options.characters else options.buckets
    pruned = len(rows) < options.buckets
    constants.macros |= {
        "WIDE": 1,
        "WIDE_APART": int(wide.rarity is not None),
        "WIDE_CHARACTERS": int(options.characters),
        "WIDE_KINDS": WITH_CHARACTERS if options.characters else TOKENS_ALONE,
        "WIDE_LENGTH": options.max_length,
        "WIDE_TOKEN_BUCKETS": token_buckets,
        "WIDE_CHARACTER_BUCKETS": options.buckets - token_buckets,
        "WIDE_PRUNED": int(pruned),
        "WIDE_COUNTS": len(rows) + len(rows) % 2,
        "WIDE_TOUCHED": TOUCHED if len(rows) > MANY_ROWS else 0,
    }
    if pruned:
        rising_numbers(constants, "wide_rows", rows)
    if wide.rarity is not None:
        _rarity(constants, wide.rarity)
    _weights(constants, weights)


def _rarity(constants: Constants, rarity: FloatArray) -> None:
    """Few documents have the same n-gram, so few rarities differ."""
    values, codes = np.unique(rarity, return_inverse=True)
    num_bytes = 1 if len(values) <= 0x100 else 2 if len(values) <= 0x10000 else 0
    constants.macros["RARITY_BYTES"] = num_bytes
    if num_bytes:
        code_type = np.uint8 if num_bytes == 1 else np.uint16
        constants.array("grunlock_rarity", codes.astype(code_type), public=True)
    constants.array("grunlock_rarities", (values if num_bytes else rarity).astype(np.float32), public=True)


def _weights(constants: Constants, weights: FloatArray) -> None:
    """As codes where a compressed model has few distinct parts of rows, which is exact; else row by row."""
    stored = packed({TABLE: weights})
    if TABLE + CODES not in stored:
        table(constants, "wide_table", weights, may_halve=False)
        return
    codes, centres = stored[TABLE + CODES], stored[TABLE + CENTRES]
    ends = [part.stop for part in class_parts(weights.shape[1], codes.shape[1])]
    constants.macros["WIDE_PARTS"] = len(ends)
    constants.array("grunlock_wide_codes", codes, public=True)
    constants.array("grunlock_wide_centres", centres.view(np.uint16), public=True)
    constants.array("grunlock_wide_part_ends", np.array(ends, np.uint16), public=True)
