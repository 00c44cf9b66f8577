"""The violation ratio against integration by hand and on a fine grid; its bound against its definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grunlock.comparison import stochastic_order
from grunlock.comparison.stochastic_order import almost_stochastic_order, violation_ratio
from grunlock.errors import DataError, ShapeError

SCORES = st.lists(st.integers(-20, 20), min_size=1, max_size=9)


def test_ratio_by_hand() -> None:
    # Quantiles of a: 0 on (0, 1/2], 4 on (1/2, 1]. Of b: 1 on (0, 1/3], 2, 3.
    # Pieces 1/3, 1/6, 1/6, 1/3 with gaps -1, -2, 2, 1.
    violated, rest = 1 / 3 + 4 / 6, 4 / 6 + 1 / 3
    assert violation_ratio([4, 0], [3, 1, 2]) == pytest.approx(violated / (violated + rest))
    assert violation_ratio([4, 0], [1, 2]) == pytest.approx(1 / (1 + 4))


def test_ratio_at_full_order_and_at_equality() -> None:
    assert violation_ratio([3, 4], [1, 2, 2]) == 0.0
    assert violation_ratio([1, 2], [3, 4, 5]) == 1.0
    assert violation_ratio([1, 2], [2, 1]) == 0.5
    assert violation_ratio([1, 1, 2, 2], [2, 1]) == 0.5


@given(a=SCORES, b=SCORES)
def test_ratio_is_the_integral_on_a_fine_grid(a: list[int], b: list[int]) -> None:
    pieces = len(a) * len(b)
    middles = (np.arange(pieces) + 0.5) / pieces  # each lies within one step of both
    gaps = np.sort(a)[(middles * len(a)).astype(int)] - np.sort(b)[(middles * len(b)).astype(int)]
    total = (gaps**2).sum()
    expected = (gaps[gaps < 0] ** 2).sum() / total if total else 0.5
    assert violation_ratio(a, b) == pytest.approx(expected)


@given(a=SCORES, b=SCORES, scale=st.floats(0.1, 10), shift=st.floats(-5, 5))
def test_the_two_directions_share_one_distance(
    a: list[int], b: list[int], scale: float, shift: float
) -> None:
    ratio = violation_ratio(a, b)
    assert ratio + violation_ratio(b, a) == pytest.approx(1.0)
    moved = violation_ratio(np.array(a) * scale, np.array(b) * scale)
    assert moved == pytest.approx(ratio)
    assert violation_ratio(np.array(a) + round(shift), np.array(b) + round(shift)) == pytest.approx(ratio)


def test_bound_is_the_ratio_and_its_bootstrap_spread() -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(0.8, 1.0, 20), random.normal(0.0, 1.0, 30)
    result = almost_stochastic_order(a, b, resamples=4000)
    drawn = [violation_ratio(random.choice(a, 20), random.choice(b, 30)) for _ in range(4000)]
    assert result.violation == violation_ratio(a, b)
    assert result.violation_bound == pytest.approx(result.violation + 1.645 * np.std(drawn), abs=0.02)
    assert result.num_scores == (20, 30)


def test_better_is_declared_for_the_larger_one_only() -> None:
    random = np.random.default_rng(1)
    low, high = random.normal(0.0, 1.0, 20), random.normal(2.0, 1.0, 20)
    assert almost_stochastic_order(high, low).better
    assert not almost_stochastic_order(low, high).better
    assert almost_stochastic_order(low, high).violation_bound == 1.0
    assert not almost_stochastic_order(low, low).better


def test_false_declarations_of_equal_systems() -> None:
    random = np.random.default_rng(2)
    draws = random.normal(size=(400, 2, 10))
    found = np.mean([almost_stochastic_order(a, b, resamples=200).better for a, b in draws])
    # The papers promise no level; this holds what the bound does. Without its spread it would be near 0.25.
    assert found <= 0.08


def test_chunks_do_not_change_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = np.random.default_rng(3).normal(size=(2, 6))
    whole = almost_stochastic_order(a, b, seed=7)
    monkeypatch.setattr(stochastic_order, "CHUNK_DRAWS", 100)
    assert almost_stochastic_order(a, b, seed=7) == whole


def test_what_is_refused() -> None:
    with pytest.raises(ShapeError, match="`a` has too few values"):
        almost_stochastic_order([1.0], [1.0, 2.0])
    with pytest.raises(DataError, match="spread needs resamples"):
        almost_stochastic_order([1.0, 2.0], [1.0, 2.0], resamples=1)
    with pytest.raises(ShapeError, match="wrong shape"):
        violation_ratio(np.ones((2, 2)), [1.0])
