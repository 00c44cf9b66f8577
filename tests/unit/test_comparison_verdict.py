"""The accuracy difference against hand-worked cases and McNemar's test; the verdict's words and its rates."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from grunlock.comparison import crossed
from grunlock.comparison.crossed import accuracy_difference
from grunlock.comparison.paired import holm, mcnemar
from grunlock.comparison.verdict import Comparison, _step_levels, verdict, verdicts
from grunlock.errors import DataError, ShapeError

Doubles = NDArray[np.float64]


def two_systems(
    random: np.random.Generator,
    num_seeds: int,
    num_examples: int,
    *,
    shift: float = 0.0,
    seed_spread: float = 0.04,
) -> tuple[Doubles, Doubles]:
    """Answers [S, n] of two systems, about 85 % right: what is hard for all, for a system, for a seed."""
    hardness = random.normal(size=num_examples)
    systems = []
    for offset in (shift, 0.0):
        own = 0.4 * random.normal(size=num_examples)
        seeds = seed_spread * random.normal(size=(num_seeds, 1))
        noise = 0.6 * random.normal(size=(num_seeds, num_examples))
        systems.append((1.4 + offset + hardness + own + seeds + noise > 0.0).astype(np.float64))
    return systems[0], systems[1]


def test_equations_by_hand() -> None:
    a = np.array([[1, 1, 1, 0], [1, 1, 0, 0]])
    b = np.array([[0, 1, 0, 0], [0, 1, 1, 0]])
    # Of a: seeds 0.75, 0.5: MS_seed = 4 (2 / 64) / 1 = 1/8. Residuals of the two answers to the third
    # example are +-3/8, to the others -+1/8: MS_rest = 2 (9 + 3) / 64 / 3 = 1/8. Of b: seeds 0.25, 0.5,
    # again 1/8 and 1/8.
    of_seeds = (1 / 8) / 8
    # d = 1, 0, 0, 0.
    of_examples = (1 / 4 - 1 / 16 - 1 / 16) / 4
    variance = 2 * of_seeds + of_examples
    result = accuracy_difference(a, b)
    assert result.difference == pytest.approx(0.625 - 0.375)
    assert result.standard_error**2 == pytest.approx(variance)
    freedom = variance**2 / (2 * of_seeds**2 + of_examples**2 / 3)
    assert result.degrees_of_freedom == pytest.approx(freedom)
    assert result.continuity == 1 / 8
    low, high = result.interval(0.9)
    reach = stats.t.ppf(0.95, freedom) * variance**0.5 + 1 / 8
    assert (low, high) == (pytest.approx(0.25 - reach), pytest.approx(0.25 + reach))
    assert result.p_value == pytest.approx(2 * stats.t.sf(0.125 / variance**0.5, freedom))


def test_seeds_that_agree_by_luck_do_not_count_as_no_variance() -> None:
    a = np.array([[1, 1, 0, 0], [0, 0, 1, 1]])  # the same accuracy with nothing else in common
    b = np.zeros((2, 4))
    noise = crossed._mean_squares(a.astype(float))[1]
    assert crossed._mean_squares(a.astype(float))[0] == 0.0
    assert accuracy_difference(a, b).standard_error ** 2 >= noise / a.size


def test_one_model_each_is_mcnemars_test() -> None:
    random = np.random.default_rng(0)
    a, b = (random.random((2, 4000)) < [[0.80], [0.78]]).astype(int)
    result, test = accuracy_difference(a, b), mcnemar(a, b)
    statistic = (result.difference - result.continuity) / result.standard_error
    assert test.method == "chi-squared"
    assert stats.chi2.sf(statistic**2, 1) == pytest.approx(test.p_value)
    assert result.p_value == pytest.approx(test.p_value, rel=0.01)
    assert result.degrees_of_freedom == pytest.approx(3999)


@pytest.mark.parametrize("wins", [3, 5])
def test_a_few_examples_prove_nothing(wins: int) -> None:
    result = verdict(np.ones(wins), np.zeros(wins), names=("a", "b"))
    assert result.ahead is None
    assert result.difference == 1.0


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), num_seeds=st.integers(1, 4), num_examples=st.integers(2, 40))
def test_sides_are_treated_alike(seed: int, num_seeds: int, num_examples: int) -> None:
    a, b = two_systems(np.random.default_rng(seed), num_seeds, num_examples, shift=0.5)
    there, back = verdict(a, b, names=("a", "b")), verdict(b, a, names=("b", "a"))
    assert there.ahead == back.ahead
    assert there.low == pytest.approx(-back.high)
    assert there.p_value == pytest.approx(back.p_value)
    assert (there.ahead is not None) is (there.p_value <= 0.05)
    if there.ahead is not None:
        assert there.ahead == ("a" if a.mean() > b.mean() else "b")
        assert there.sentence == back.sentence


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.integers(1, 6))
def test_intervals_of_a_family_decide_as_holm(seed: int, size: int) -> None:
    random = np.random.default_rng(seed)
    family = [
        Comparison(f"a{i}", f"b{i}", *two_systems(random, 5, 300, shift=random.choice([0.0, 0.3])))
        for i in range(size)
    ]
    found = verdicts(family)
    adjusted = holm([accuracy_difference(each.a, each.b).p_value for each in family])
    assert [each.p_value for each in found] == pytest.approx(adjusted)
    assert [each.ahead is not None for each in found] == [p <= 0.05 for p in adjusted]
    assert min(each.confidence for each in found) >= 0.95 - 1e-12
    assert max(each.confidence for each in found) == pytest.approx(1 - 0.05 / size)


def test_the_steps_stop_at_the_first_that_is_not_rejected() -> None:
    # 0.04 would pass at its own step, 0.05 / 1, but Holm does not get there: 0.03 > 0.05 / 2.
    found = _step_levels(np.array([0.04, 0.03, 0.001]), 0.05)
    assert found == pytest.approx([0.05 / 2, 0.05 / 2, 0.05 / 3])


def test_a_family_can_take_a_verdict_back() -> None:
    a, b = two_systems(np.random.default_rng(3), 5, 1000, shift=0.16)
    alone = verdict(a, b, names=("gru", "lstm"))
    assert 0.01 < alone.p_value < 0.05
    same = np.random.default_rng(1).random((5, 1000)) < 0.8
    family = [Comparison("gru", "lstm", a, b)] + [Comparison(f"x{i}", "y", same, same) for i in range(4)]
    assert alone.ahead == "gru"
    assert verdicts(family)[0].ahead is None


def test_the_sentence_of_a_lead() -> None:
    a, b = two_systems(np.random.default_rng(0), 5, 2000, shift=0.4)
    for result in (verdict(a, b, names=("gru", "lstm")), verdict(b, a, names=("lstm", "gru"))):
        low, high = sorted((abs(result.low), abs(result.high)))
        assert result.sentence == (
            f"gru is ahead of lstm by {100 * abs(result.difference):.1f} points "
            f"(95 % interval {100 * low:.1f} to {100 * high:.1f}; 5 seeds, 2,000 examples, p < 0.001)"
        )


def test_the_sentence_of_no_difference_never_says_equal() -> None:
    a, b = two_systems(np.random.default_rng(1), 3, 500)
    result = verdict(a, b, names=("gru", "lstm"))
    assert result.ahead is None
    assert result.sentence.startswith("no difference shown between gru and lstm: gru minus lstm is ")
    assert (
        f"{100 * result.low:.1f} to {100 * result.high:.1f}; 3 seeds, 500 examples, p = " in result.sentence
    )
    same = verdict(a, a, names=("gru", "copy")).sentence
    assert same.startswith("no difference shown between gru and copy: gru minus copy is 0.0 points (95 %")
    assert "equal" not in same


def test_the_sentence_of_single_trainings_says_so() -> None:
    a, b = two_systems(np.random.default_rng(2), 1, 800)
    sentence = verdict(a[0], b[0], names=("gru", "lstm")).sentence
    assert "one training each, 800 examples" in sentence
    assert sentence.endswith("; this is about these two trained models, other seeds may differ")


def test_the_sentence_of_a_family_names_its_correction() -> None:
    a, b = two_systems(np.random.default_rng(1), 3, 500)
    results = verdicts([Comparison("gru", name, a, b) for name in ("lstm", "bag", "conv")])
    assert "98.33 % interval" in results[0].sentence
    assert "corrected for 3 comparisons" in results[0].sentence


def test_an_end_that_is_not_0_is_not_written_as_0() -> None:
    random = np.random.default_rng(5)
    for _ in range(200):
        result = verdict(*two_systems(random, 3, 3000, shift=0.1, seed_spread=0.0), names=("a", "b"))
        if result.ahead is not None and min(abs(result.low), abs(result.high)) < 0.0005:
            reach = result.sentence.partition("interval ")[2].partition(";")[0]
            assert all(float(end) > 0.0 for end in reach.split(" to "))
            return
    pytest.fail("no such case was drawn")


def test_different_numbers_of_seeds() -> None:
    random = np.random.default_rng(4)
    a, _ = two_systems(random, 3, 400)
    _, b = two_systems(random, 5, 400)
    assert "3 and 5 seeds" in verdict(a, b, names=("a", "b")).sentence


def rejections(num_draws: int, *, shift: float, num_seeds: int, seed_spread: float) -> float:
    random = np.random.default_rng(7)
    pairs = [
        two_systems(random, num_seeds, 500, shift=shift, seed_spread=seed_spread) for _ in range(num_draws)
    ]
    return float(np.mean([accuracy_difference(a, b).p_value <= 0.05 for a, b in pairs]))


@pytest.mark.parametrize(
    ("num_seeds", "seed_spread"),
    [
        (1, 0.0),
        (2, 0.0),
        (2, 0.15),
        (3, 0.0),
        (3, 0.15),
        (5, 0.0),
        (5, 0.15),
    ],  # 1 seed claims nothing of others
)
def test_false_verdicts_stay_at_5_percent(num_seeds: int, seed_spread: float) -> None:
    # 0.05 and 2.6 standard deviations of 500 draws. Without the variance of seeds it is 0.4 at 3 of 0.15.
    assert rejections(500, shift=0.0, num_seeds=num_seeds, seed_spread=seed_spread) <= 0.075


def test_differences_are_found() -> None:
    assert rejections(60, shift=0.4, num_seeds=5, seed_spread=0.04) >= 0.95


def test_what_is_refused() -> None:
    ones = np.ones((2, 5))
    with pytest.raises(ShapeError, match="same examples") as caught:
        verdict(ones, np.ones((2, 6)), names=("a", "b"))
    assert caught.value.got == "5 and 6 examples"
    with pytest.raises(ShapeError, match="Only one of the systems has several seeds") as caught:
        verdict(ones, np.ones(5), names=("a", "b"))
    assert "more seeds" in str(caught.value)
    with pytest.raises(ShapeError, match="One example shows nothing"):
        verdict([1], [0], names=("a", "b"))
    with pytest.raises(DataError, match="same name"):
        verdict(ones, ones, names=("a", "a"))
    with pytest.raises(DataError, match="nothing to compare"):
        verdicts([])
    with pytest.raises(DataError, match="`level` is no share"):
        verdict(ones, ones, names=("a", "b"), level=0.0)
    with pytest.raises(DataError, match="`confidence` is no share"):
        accuracy_difference(ones, ones).interval(95)
