"""Random masks as a pure function of (seed, row, column): every kernel draws the same, in any order.

No generator and no state, so threads need not agree on who draws first. The hash is lowbias32 of
C. Wellons (public domain, https://nullprogram.com/blog/2018/07/31/). Not for secrets.
"""

import numpy as np
from numpy.typing import NDArray

COLUMN_STEP = 0x9E3779B9  # 2**32 over the golden ratio: neighbouring columns differ in many bits


def zoneout_bits(seed: int, num_rows: int, size: int, rate: float) -> NDArray[np.uint8]:
    """[num_rows, size] of 1 (the unit keeps its old state) with chance `rate`, else 0.

    All arithmetic is on uint32 and wraps around; seed_lo and seed_hi are the halves of the 64-bit seed:

        key_n  = mix(mix(seed_lo ^ n) + seed_hi)
        u_nc   = mix(key_n ^ (c * COLUMN_STEP))
        bit_nc = u_nc < floor(rate * 2**32)
    """
    low, high = np.uint32(seed & 0xFFFFFFFF), np.uint32(seed >> 32 & 0xFFFFFFFF)
    rows = np.arange(num_rows, dtype=np.uint32)
    columns = np.arange(size, dtype=np.uint32) * np.uint32(COLUMN_STEP)
    keys = mix(mix(low ^ rows) + high)
    draws = mix(keys[:, None] ^ columns)
    return (draws < np.uint32(int(rate * 2**32))).astype(np.uint8)


def mix(x: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """lowbias32: a bijection of uint32 in which every input bit moves every output bit."""
    x = x ^ (x >> np.uint32(16))
    x = x * np.uint32(0x7FEB352D)
    x = x ^ (x >> np.uint32(15))
    x = x * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))
