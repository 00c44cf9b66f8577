"""Intervals and tests of paired systems: published examples, scipy, counting by hand, and their rates."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from grunlock.comparison import paired
from grunlock.comparison.paired import holm, mcnemar, paired_bootstrap, wilcoxon
from grunlock.errors import DataError, ShapeError

Doubles = NDArray[np.float64]


def answers(only_a: int, only_b: int, both: int, neither: int) -> tuple[Doubles, Doubles]:
    """Right and wrong answers of two models with these counts."""
    a = np.repeat([1.0, 0.0, 1.0, 0.0], [only_a, only_b, both, neither])
    b = np.repeat([0.0, 1.0, 1.0, 0.0], [only_a, only_b, both, neither])
    return a, b


def test_mcnemar_on_agrestis_approval_table() -> None:
    # Agresti, Categorical Data Analysis: 794 approve, 150, 86, 570; z^2 without correction is 17.36.
    result = mcnemar(*answers(150, 86, 794, 570))
    assert (result.only_a, result.only_b, result.method) == (150, 86, "chi-squared")
    assert result.p_value == pytest.approx(stats.chi2.sf((150 - 86 - 1) ** 2 / (150 + 86), 1))
    assert result.p_value == pytest.approx(4.1e-5, rel=0.02)
    assert result.p_value > stats.chi2.sf(17.36, 1)  # the correction makes it more careful


def test_mcnemar_of_few_discordant_examples_is_the_binomial() -> None:
    result = mcnemar(*answers(1, 5, 4, 0))
    assert result.method == "exact"
    assert result.p_value == pytest.approx(2 * (1 + 6) / 2**6)
    assert mcnemar(*answers(12, 12, 1, 1)).method == "exact"
    assert mcnemar(*answers(12, 13, 1, 1)).method == "chi-squared"


def test_mcnemar_at_balance() -> None:
    assert mcnemar(*answers(0, 0, 5, 5)).p_value == 1.0
    assert mcnemar(*answers(20, 20, 5, 5)).p_value == 1.0
    assert mcnemar(*answers(20, 21, 5, 5)).p_value == 1.0


@given(only_a=st.integers(0, 60), only_b=st.integers(0, 60), both=st.integers(1, 9))
def test_mcnemar_is_symmetric(only_a: int, only_b: int, both: int) -> None:
    there, back = mcnemar(*answers(only_a, only_b, both, 0)), mcnemar(*answers(only_b, only_a, both, 0))
    assert there.p_value == pytest.approx(back.p_value)
    assert 0.0 < there.p_value <= 1.0


def test_mcnemar_takes_one_model_each() -> None:
    with pytest.raises(ShapeError, match="compares two models"):
        mcnemar(np.ones((3, 5)), np.ones((3, 5)))
    with pytest.raises(ShapeError, match="same examples"):
        mcnemar(np.ones(5), np.ones(6))
    with pytest.raises(DataError, match="right or wrong") as caught:
        mcnemar([1, 0, 1], [1, 0, 2])
    assert caught.value.where == "seed 0, example 2"
    assert "predictions == targets" in str(caught.value)


def test_wilcoxon_counts_all_signs() -> None:
    a = np.array([0.3, 0.9, 0.7, 0.8, 0.65, 0.4, 0.0])
    b = np.array([0.1, 0.2, 0.75, 0.5, 0.6, 0.4, 0.9])
    result = wilcoxon(a, b)
    differences = np.round((a - b)[a != b], 9)  # 0.7 - 0.75 and 0.65 - 0.6 are tied
    ranks = stats.rankdata(np.abs(differences))
    observed = abs(ranks @ np.sign(differences))
    sums = [abs(ranks @ np.array(signs)) for signs in product([-1, 1], repeat=len(ranks))]
    assert (result.num_pairs, result.num_equal) == (6, 1)
    assert result.median_difference == pytest.approx(0.05)
    assert result.p_value == pytest.approx(np.mean([total >= observed - 1e-9 for total in sums]))


@given(seed=st.integers(0, 10_000), num_pairs=st.integers(1, 60))
def test_wilcoxon_agrees_with_scipy(seed: int, num_pairs: int) -> None:
    differences = np.random.default_rng(seed).normal(0.2, 1.0, num_pairs)
    method = "exact" if num_pairs <= 50 else "asymptotic"
    expected = stats.wilcoxon(differences, method=method).pvalue
    assert wilcoxon(differences, np.zeros(num_pairs)).p_value == pytest.approx(expected)
    assert wilcoxon(np.zeros(num_pairs), differences).p_value == pytest.approx(expected)


def test_wilcoxon_with_ties_agrees_with_scipys_count_of_all_signs() -> None:
    differences = np.array([1.0, 1, -1, 2, 2, 3, -4])
    expected = stats.wilcoxon(differences, method=stats.PermutationMethod(n_resamples=np.inf)).pvalue
    assert wilcoxon(differences, np.zeros(7)).p_value == pytest.approx(expected)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=12))
def test_wilcoxon_sees_ties_through_rounding(counts: list[tuple[int, int]]) -> None:
    a, b = np.array(counts).T
    whole, shares = wilcoxon(a, b), wilcoxon(a / 30, b / 30)
    assert (shares.num_pairs, shares.p_value) == (whole.num_pairs, pytest.approx(whole.p_value))


def test_wilcoxon_on_demsars_example() -> None:
    # Demsar 2006, table 2: C4.5 with and without pruning parameter m; T = 12 of 14 sets, rejected at 5 %.
    without = [0.763, 0.599, 0.954, 0.628, 0.882, 0.936, 0.661, 0.583, 0.775, 1.0, 0.940, 0.619, 0.972, 0.957]
    pruned = [0.768, 0.591, 0.971, 0.661, 0.888, 0.931, 0.668, 0.583, 0.838, 1.0, 0.962, 0.666, 0.981, 0.978]
    result = wilcoxon(pruned, without)
    assert (result.num_pairs, result.num_equal) == (12, 2)
    assert result.median_difference > 0.0
    assert result.p_value < 0.05


@pytest.mark.parametrize(("num_pairs", "possible"), [(3, False), (5, False), (6, True), (10, True)])
def test_wilcoxon_says_when_no_outcome_could_be_significant(num_pairs: int, possible: bool) -> None:
    result = wilcoxon(np.arange(1.0, num_pairs + 1), np.zeros(num_pairs))
    assert result.p_value == pytest.approx(result.smallest_p)
    assert result.can_show_at(0.05) is possible


def test_wilcoxon_of_equal_scores() -> None:
    result = wilcoxon([0.5, 0.6], [0.5, 0.6])
    assert (result.num_pairs, result.p_value, result.smallest_p) == (0, 1.0, 1.0)


def test_holm_on_a_worked_example() -> None:
    # Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1; the later ones are lifted to 0.06.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.7]) == pytest.approx([1.0, 1.0])
    assert holm([0.2]) == pytest.approx([0.2])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_monotone_and_between_plain_and_bonferroni(p_values: list[float]) -> None:
    p = np.array(p_values)
    adjusted = holm(p)
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(1.0, len(p) * p) + 1e-15).all()
    order = np.argsort(p, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()
    # The procedure itself: go up until the first that is too large for its step.
    rejected = 0
    while rejected < len(p) and p[order][rejected] * (len(p) - rejected) <= 0.05:
        rejected += 1
    assert (adjusted <= 0.05).sum() == rejected


def test_holm_refuses_what_is_no_probability() -> None:
    with pytest.raises(DataError, match="no probability") as caught:
        holm([0.5, 1.2])
    assert (caught.value.where, caught.value.got) == ("index 1", 1.2)
    with pytest.raises(ShapeError, match="too few"):
        holm([])


def test_one_level_interval_is_that_of_the_normal_for_many_examples() -> None:
    random = np.random.default_rng(0)
    a, b = random.random((2, 2000)) < np.array([[0.85], [0.80]])
    result = paired_bootstrap(a, b)
    difference = a.astype(float) - b
    half = 1.96 * difference.std() / np.sqrt(2000)
    assert result.difference == pytest.approx(difference.mean())
    assert result.low == pytest.approx(difference.mean() - half, abs=0.03 * half)
    assert result.high == pytest.approx(difference.mean() + half, abs=0.03 * half)
    assert (result.num_seeds, result.num_examples, result.resamples) == (1, 2000, 10_000)


def test_two_level_interval_has_the_variance_of_both_samples() -> None:
    random = np.random.default_rng(1)
    differences = random.normal(size=(4, 1)) + random.normal(size=(1, 60)) + random.normal(size=(4, 60))
    means = paired._two_level_means(differences, 40_000, seed=0)
    # Var of r' D c / (S n) for multinomial r, c, from Var(r) = I - 1/S and Var(c) = I - 1/n.
    rows = differences.mean(axis=1).var() / 4
    columns = differences.mean(axis=0).var() / 60
    residuals = differences - differences.mean(axis=1, keepdims=True) - differences.mean(axis=0)
    both = (residuals + differences.mean()).var() / 240
    assert means.mean() == pytest.approx(differences.mean(), abs=5 * means.std() / 200)
    assert means.var() == pytest.approx(rows + columns + both, rel=0.04)


@pytest.mark.parametrize("shape", [(50,), (3, 50)])
def test_chunks_do_not_change_intervals(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = np.random.default_rng(2).normal(size=(2, *shape))
    whole = paired_bootstrap(a, b, resamples=999, seed=4)
    monkeypatch.setattr(paired, "CHUNK_DRAWS", 170)
    pieces = paired_bootstrap(a, b, resamples=999, seed=4)
    assert (pieces.low, pieces.high) == (pytest.approx(whole.low), pytest.approx(whole.high))
    assert paired_bootstrap(a, b, resamples=999, seed=5).low != pytest.approx(whole.low, rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), num_seeds=st.integers(1, 4), num_examples=st.integers(1, 12))
def test_intervals_hold_their_mean_and_shift_with_the_scores(
    seed: int, num_seeds: int, num_examples: int
) -> None:
    a, b = np.random.default_rng(seed).normal(size=(2, num_seeds, num_examples))
    result = paired_bootstrap(a, b, resamples=200)
    shifted = paired_bootstrap(a + 3.0, b, resamples=200)
    assert (a - b).min() - 1e-12 <= result.low <= result.high <= (a - b).max() + 1e-12
    assert shifted.low == pytest.approx(result.low + 3.0)
    assert shifted.high == pytest.approx(result.high + 3.0)


def test_bootstrap_refuses() -> None:
    with pytest.raises(ShapeError, match="`b` has the wrong shape"):
        paired_bootstrap(np.ones((2, 5)), np.ones((3, 5)))
    with pytest.raises(DataError, match="`confidence` is no share"):
        paired_bootstrap([1.0, 2.0], [1.0, 2.0], confidence=95)
    with pytest.raises(DataError, match="no resamples"):
        paired_bootstrap([1.0, 2.0], [1.0, 2.0], resamples=0)
    with pytest.raises(DataError, match="not finite") as caught:
        paired_bootstrap([1.0, float("nan")], [1.0, 2.0])
    assert caught.value.where == "index [1]"
    with pytest.raises(DataError, match="holds no numbers"):
        mcnemar(["yes"], ["no"])
