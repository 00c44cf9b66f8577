"""Mean ranks and their tests against Demsar's worked example and tables; the diagram as XML."""

import math
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from grunlock.comparison.cd_diagram import cd_diagram
from grunlock.comparison.many import (
    RankComparison,
    compare_ranks,
    friedman_test,
    nemenyi_critical_difference,
    rank_systems,
)
from grunlock.errors import DataError, ShapeError

NAMES = ("C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf")
# Demsar 2006, table 6. His ranks of the thirteenth set, 4 1 2 3, are those of unrounded scores.
AUC = np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.97501, 0.975],
        [0.957, 0.978, 0.946, 0.970],
    ]
)
SVG = "{http://www.w3.org/2000/svg}"


def test_demsars_ranks() -> None:
    assert rank_systems(AUC).mean(axis=0) == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)
    assert rank_systems([[0.5, 0.9, 0.9, 0.1]]).tolist() == [[3.0, 1.5, 1.5, 4.0]]


def test_demsars_friedman_test() -> None:
    result = friedman_test(AUC)
    # He does not correct for ties: 3 pairs and one set of 4 equal scores.
    ties = 1 - (3 * (2**3 - 2) + (4**3 - 4)) / (14 * 4 * (4**2 - 1))
    plain = result.chi_squared * ties
    assert plain == pytest.approx(9.28, abs=0.005)
    assert 13 * plain / (14 * 3 - plain) == pytest.approx(3.69, abs=0.005)
    assert result.f == pytest.approx(13 * result.chi_squared / (14 * 3 - result.chi_squared))
    assert result.p_value == pytest.approx(stats.f.sf(result.f, 3, 39))
    assert result.p_value < result.chi_squared_p_value < 0.05


@pytest.mark.parametrize(
    ("level", "quantiles"),  # Demsar 2006, table 5 (a), 2 to 10 systems
    [
        (0.05, [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164]),
        (0.10, [1.645, 2.052, 2.291, 2.459, 2.589, 2.693, 2.780, 2.855, 2.920]),
    ],
)
def test_critical_differences_of_demsars_table(level: float, quantiles: list[float]) -> None:
    for num_systems, quantile in enumerate(quantiles, start=2):
        expected = quantile * math.sqrt(num_systems * (num_systems + 1) / (6 * 14))
        found = nemenyi_critical_difference(num_systems, 14, level)
        assert found == pytest.approx(expected, rel=5e-4)


def test_demsars_post_hoc_test() -> None:
    # At 5 % no pair differs; at 10 % (1.12) C4.5 is behind both systems with m.
    strict, lenient = compare_ranks(AUC, NAMES), compare_ranks(AUC, NAMES, level=0.10)
    assert strict.names == ("C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5")
    assert strict.critical_difference == pytest.approx(1.25, abs=0.005)
    assert strict.cliques == (strict.names,)
    assert lenient.critical_difference == pytest.approx(1.12, abs=0.005)
    assert lenient.cliques == (("C4.5+m+cf", "C4.5+m", "C4.5+cf"), ("C4.5+cf", "C4.5"))
    assert lenient.is_different("C4.5", "C4.5+m")
    assert not lenient.is_different("C4.5", "C4.5+cf")
    assert not strict.is_different("C4.5", "C4.5+m")


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), num_systems=st.integers(3, 7), spread=st.floats(0, 2))
def test_cliques_are_the_largest_groups_without_a_difference(
    seed: int, num_systems: int, spread: float
) -> None:
    scores = np.random.default_rng(seed).normal(size=(12, num_systems)) + spread * np.arange(num_systems)
    result = compare_ranks(scores, [f"s{i}" for i in range(num_systems)])
    for i, a in enumerate(result.names):
        for b in result.names[i + 1 :]:
            shared = any(a in clique and b in clique for clique in result.cliques)
            assert shared is not result.is_different(a, b)
            assert result.is_different(a, b) is result.is_different(b, a)
    for clique in result.cliques:
        assert not any(set(clique) < set(other) for other in result.cliques)
    assert list(result.mean_ranks) == sorted(result.mean_ranks)


def test_larger_scores_rank_first() -> None:
    scores = np.random.default_rng(0).normal(size=(15, 4)) + 5.0 * np.arange(4)
    result = compare_ranks(scores, ["d", "c", "b", "a"])
    assert result.names == ("a", "b", "c", "d")
    assert result.friedman.f == math.inf  # all sets have one order
    assert result.friedman.p_value == pytest.approx(24.0**-14)
    assert result.is_different("a", "d")


def test_agreement_of_two_sets_is_no_proof() -> None:
    assert friedman_test([[1, 2, 3], [4, 5, 6]]).p_value == pytest.approx(1 / 6)
    assert friedman_test([[1, 2, 2], [4, 5, 5], [0, 1, 1]]).p_value == pytest.approx(1 / 3**2)
    assert friedman_test(np.tile(np.arange(10.0), (200, 1))).p_value == 0.0  # below the smallest float


def test_nothing_is_told_apart_without_friedmans_rejection() -> None:
    scores = np.tile([0.5, 0.5, 0.5], (4, 1))
    result = compare_ranks(scores, ["a", "b", "c"])
    assert result.friedman.p_value == 1.0
    assert result.cliques == (("a", "b", "c"),)


def test_friedmans_test_comes_before_nemenyis() -> None:
    scores = [
        [2, 1, 4, 5, 3, 0],
        [3, 4, 2, 5, 1, 0],
        [5, 0, 3, 1, 4, 2],
        [5, 3, 2, 0, 4, 1],
        [5, 4, 2, 3, 0, 1],
        [5, 3, 4, 0, 2, 1],
    ]
    result = compare_ranks(scores, list("abcdef"))
    assert result.mean_ranks[-1] - result.mean_ranks[0] > result.critical_difference
    assert result.friedman.p_value == pytest.approx(0.063, abs=5e-4)
    assert result.cliques == (result.names,)
    assert not result.is_different(result.names[0], result.names[-1])


def test_false_positives_of_the_whole_procedure() -> None:
    scores = np.random.default_rng(1).normal(size=(600, 10, 4))
    results = [friedman_test(s) for s in scores]
    rejected = np.mean([r.p_value <= 0.05 for r in results])
    assert 0.03 <= rejected <= 0.07  # three standard deviations of 600 draws are 0.027
    ranks = [np.ptp(rank_systems(s).mean(axis=0)) for s in scores]
    assert np.mean(np.array(ranks) > nemenyi_critical_difference(4, 10)) <= 0.07


def test_what_is_refused() -> None:
    with pytest.raises(DataError, match="needs more systems") as caught:
        friedman_test(np.ones((5, 2)))
    assert caught.value.cure == "compare two systems with `wilcoxon`"
    with pytest.raises(ShapeError, match="`scores` has the wrong shape"):
        compare_ranks(np.ones((5, 3)), ["a", "b"])
    with pytest.raises(ShapeError, match="too few"):
        compare_ranks(np.ones((1, 3)), ["a", "b", "c"])
    with pytest.raises(DataError, match="same name"):
        compare_ranks(np.ones((5, 3)), ["a", "b", "a"])
    with pytest.raises(DataError, match="`level` is no share"):
        compare_ranks(np.ones((5, 3)), ["a", "b", "c"], level=5)


def drawn(result: RankComparison) -> ElementTree.Element:
    return ElementTree.fromstring(cd_diagram(result))


def test_the_diagram_has_each_system_and_each_clique() -> None:
    result = compare_ranks(AUC, NAMES, level=0.10)
    document = drawn(result)
    texts = [text.text or "" for text in document.iter(f"{SVG}text")]
    assert {"C4.5 3.14", "C4.5+m 2.00", "C4.5+cf 2.89", "C4.5+m+cf 1.96"} <= set(texts)
    assert "critical difference 1.12" in texts
    assert sum("clique" in (line.get("class") or "") for line in document.iter(f"{SVG}line")) == 2


def test_the_diagram_is_to_scale() -> None:
    result = compare_ranks(AUC, NAMES, level=0.10)
    lines = list(drawn(result).iter(f"{SVG}polyline"))
    points = [[tuple(map(float, p.split(","))) for p in (x.get("points") or "").split()] for x in lines]
    scale, marks = points[0], points[1:]
    unit = (marks[-1][0][0] - marks[0][0][0]) / (result.mean_ranks[-1] - result.mean_ranks[0])
    length = max(x for x, _ in scale) - min(x for x, _ in scale)
    assert length == pytest.approx(result.critical_difference * unit, abs=0.2)
    bars = [x for x in drawn(result).iter(f"{SVG}line") if x.get("class") == "clique"]
    assert len({bar.get("y1") for bar in bars}) == 2  # they share a system, so they must not touch


def test_the_diagram_survives_odd_names_and_few_sets() -> None:
    result = compare_ranks([[1.0, 2.0, 3.0], [3.0, 1.0, 2.0]], ["<a>", "b & c", "网"])
    texts = [text.text or "" for text in drawn(result).iter(f"{SVG}text")]
    assert any(text.startswith("<a>") for text in texts)
    assert any(text.startswith("b & c") for text in texts)
