"""Sigmoid and tanh of every instruction set over the whole float32 range, in units in the last place.

A regular share of all bit patterns, and all of them where the functions change their course.
benchmarks/function_errors.py does every pattern.
"""

import numpy as np
import pytest

from tests.parity.native_cases import kernel, usable_kernels
from tests.parity.native_functions import (
    FUNCTIONS,
    NUM_PATTERNS,
    Floats,
    computed,
    last_place,
    patterns,
    right,
    worst,
)

KERNELS = usable_kernels()
pytestmark = pytest.mark.skipif(not KERNELS, reason="installed without compiled kernels")
kernels = pytest.mark.parametrize("name", KERNELS)
functions = pytest.mark.parametrize("function", FUNCTIONS)

MOST_ULP = {"sigmoid": 2.5, "tanh": 2.5}  # benchmarks/results/function_errors.json has the exact figures

# 0, the least denormal and normal numbers, parts of ln 2, where results begin to round to 1, to be denormal
# and to be 0, the clamps, the largest number, and infinity with the NaN behind it.
PLACES = [
    0.0,
    2.0**-149,
    2.0**-126,
    2.0**-12,
    0.17328679,
    0.34657359,
    1.0,
    9.0,
    10.0,
    16.6,
    17.3,
    87.33655,
    88.72284,
]
PLACES += [103.27893, 103.97208, 104.0, 128.0, 3.4028235e38, np.inf]


def around(place: float, reach: int = 3000) -> Floats:
    """All numbers of either sign with nearly the bits of this one."""
    bits = int(np.float32(place).view(np.uint32))
    near = patterns(max(0, bits - reach), bits + reach)
    return np.concatenate([near, -near])


@kernels
@functions
def test_a_share_of_all_patterns(name: str, function: str) -> None:
    with kernel(name):
        for first in range(0, NUM_PATTERNS, NUM_PATTERNS // 8):
            x = patterns(first + first % 4099, first + NUM_PATTERNS // 8, 4099)
            assert worst(function, x).ulp <= MOST_ULP[function]


@kernels
@functions
@pytest.mark.parametrize("place", PLACES)
def test_every_pattern_around_a_turning_point(name: str, function: str, place: float) -> None:
    with kernel(name):
        assert worst(function, around(place)).ulp <= MOST_ULP[function]


@kernels
def test_values_at_the_ends(name: str) -> None:
    x = np.array([0.0, -0.0, np.inf, -np.inf, 200.0, -200.0, np.nan, -np.nan], dtype=np.float32)
    with kernel(name):
        assert computed("sigmoid", x)[:6].tolist() == [0.5, 0.5, 1.0, 0.0, 1.0, 0.0]
        tanh = computed("tanh", x)
        assert tanh[:6].tolist() == [0.0, -0.0, 1.0, -1.0, 1.0, -1.0]
        assert np.signbit(tanh[:6]).tolist() == [False, True] * 3
        assert np.isnan(computed("sigmoid", x)[6:]).all()
        assert np.isnan(tanh[6:]).all()


@kernels
@functions
def test_nan_of_any_payload_stays_nan(name: str, function: str) -> None:
    payloads = np.concatenate([patterns(0x7F800001, 0x80000000, 1021), patterns(0xFF800001, 2**32, 1021)])
    with kernel(name):
        assert np.isnan(computed(function, payloads)).all()


@kernels
@functions
def test_results_stay_in_range_and_do_not_depend_on_the_neighbours(name: str, function: str) -> None:
    x = np.concatenate([around(place, 40) for place in PLACES])
    x = x[~np.isnan(x)]
    with kernel(name):
        y = computed(function, x)
        assert (np.abs(y) <= 1).all()
        for count in (1, 3, 5, 7, 15, 17, 31):  # the rest of a vector takes another way
            for first in (0, 1, 333):
                part = np.ascontiguousarray(x[first : first + count])
                assert np.array_equal(computed(function, part), y[first : first + count])


@kernels
@functions
def test_instruction_sets_are_close_to_each_other(name: str, function: str) -> None:
    """Sets with fused multiply-add round less often; none may be far from another."""
    x = patterns(0x3D000000, 0x42000000, 5003)
    with kernel(name):
        ours = computed(function, x)
    with kernel(KERNELS[0]):
        first = computed(function, x)
    assert (np.abs(ours - first) / last_place(right(function, x))).max() <= 2 * MOST_ULP[function]


@functions
def test_an_error_of_some_ulp_would_be_caught(function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.parity import native_functions

    x = around(1.0)
    with kernel():
        y = computed(function, x)
    for spoilt in (y * np.float32(1 + 4e-7), y + np.float32(4e-7)):
        monkeypatch.setattr(native_functions, "computed", lambda _f, _x, spoilt=spoilt: spoilt)
        assert worst(function, x).ulp > MOST_ULP[function]
