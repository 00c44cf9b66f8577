"""Drawn masks: as specified, even, and independent across rows, columns and seeds."""

import numpy as np
import pytest

from grunlock.kernels.counter_random import mix, zoneout_bits

ROWS, SIZE, RATE = 512, 256, 0.3

GOLDEN_MIX = [0, 0x688990C0, 0xD1132181, 0x6768824A]
GOLDEN_BITS = ["0011011101101110", "0011010111011111", "1010101110011010", "1100111001010110"]


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(first.ravel().astype(float), second.ravel().astype(float))[0, 1])


def bits(seed: int, rate: float = RATE) -> np.ndarray:
    return zoneout_bits(seed, ROWS, SIZE, rate)


def test_golden_values() -> None:
    """Written down once: every kernel must draw these."""
    assert mix(np.array([0, 1, 2, 0xFFFFFFFF], np.uint32)).tolist() == GOLDEN_MIX
    assert ["".join(map(str, row)) for row in zoneout_bits(0x0123456789ABCDEF, 4, 16, 0.5)] == GOLDEN_BITS


def test_plain_integers_give_the_same() -> None:
    """The definition once more, in Python's unbounded integers."""

    def mixed(x: int) -> int:
        x ^= x >> 16
        x = x * 0x7FEB352D % 2**32
        x ^= x >> 15
        x = x * 0x846CA68B % 2**32
        return x ^ x >> 16

    seed = 0xFEDCBA9876543210
    expected = [
        [
            int(
                mixed(mixed((mixed(seed % 2**32 ^ n) + (seed >> 32)) % 2**32) ^ c * 0x9E3779B9 % 2**32)
                < 2**30
            )
            for c in range(9)
        ]
        for n in range(7)
    ]
    found = zoneout_bits(seed, 7, 9, 0.25)
    assert found.dtype == np.uint8
    assert found.tolist() == expected


@pytest.mark.parametrize("rate", [0.01, 0.3, 0.5, 0.99])
def test_rate_is_kept_in_all_and_in_every_column_and_row(rate: float) -> None:
    drawn = zoneout_bits(7, ROWS, SIZE, rate)
    spread = np.sqrt(rate * (1 - rate))
    assert abs(drawn.mean() - rate) < 4 * spread / np.sqrt(drawn.size)
    assert np.abs(drawn.mean(0) - rate).max() < 5 * spread / np.sqrt(ROWS)
    assert np.abs(drawn.mean(1) - rate).max() < 5 * spread / np.sqrt(SIZE)


def test_neighbours_are_independent() -> None:
    drawn = bits(3)
    limit = 4 / np.sqrt(drawn.size)
    for step in (1, 2, 3, 64):
        assert abs(correlation(drawn[step:], drawn[:-step])) < limit
        assert abs(correlation(drawn[:, step:], drawn[:, :-step])) < limit
        assert abs(correlation(drawn[step:, step:], drawn[:-step, :-step])) < limit


@pytest.mark.parametrize("other", [4, 2, 3 + 2**31, 3 + 2**32, 3 + 2**63])
def test_seeds_are_independent(other: int) -> None:
    """Whichever half of the seed differs, and by however little."""
    assert abs(correlation(bits(3), bits(other))) < 4 / np.sqrt(ROWS * SIZE)


def test_no_two_rows_are_equal() -> None:
    assert len(np.unique(bits(3), axis=0)) == ROWS


def test_more_rows_change_none() -> None:
    assert np.array_equal(zoneout_bits(5, 3, 4, 0.5), zoneout_bits(5, 30, 40, 0.5)[:3, :4])


def test_nothing_is_dropped_at_rate_zero() -> None:
    assert not bits(3, 0.0).any()
