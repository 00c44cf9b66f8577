"""Scores worked out by hand, promises kept from logits to labels, and the way into the artifact."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from grunlock import artifact as artifacts
from grunlock.artifact import Artifact
from grunlock.errors import ArtifactError
from grunlock.runtime.guarantees import FREE_RANKS, PENALTY, Guarantees, label_scores, label_sets
from grunlock.training.guarantees import COVERAGES, MAX_ERRORS, find_guarantees

QUANTILES = {"lac": {0.9: 0.75, 0.99: math.inf}, "raps": {0.9: 0.95, 0.99: math.inf}}
GUARANTEES = Guarantees(20, 1.0, QUANTILES, {0.05: 0.55, 0.01: None}, {0.05: 90, 0.01: 459}, 0.95)  # type: ignore[arg-type]


def logits(*rows: list[float]) -> np.ndarray:
    """Whose softmax is these probabilities."""
    return np.log(np.array(rows, np.float32))


def drawn(rng: np.random.Generator, count: int, spread: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are too sure, and targets drawn from a flatter softmax."""
    true = rng.normal(0, spread, (count, 6))
    targets = (true + rng.gumbel(size=true.shape)).argmax(axis=1)
    return (2.0 * true).astype(np.float32), targets


def test_scores_by_hand() -> None:
    probs = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]], np.float32)
    np.testing.assert_allclose(label_scores(probs, "lac"), 1 - probs, rtol=1e-6)
    assert FREE_RANKS == 1
    expected = [[0.5, 0.8 + PENALTY, 1 + 2 * PENALTY], [0.9 + PENALTY, 1 + 2 * PENALTY, 0.8]]
    np.testing.assert_allclose(label_scores(probs, "raps"), expected, rtol=1e-6)


def test_sets_hold_the_most_probable_label_first_and_always() -> None:
    rows = logits([0.5, 0.3, 0.2], [0.2, 0.2, 0.6], [0.24, 0.52, 0.24])
    found = label_sets("abc", rows, GUARANTEES.sets(rows, 0.9, "lac"))
    assert found == [("a", "b"), ("c",), ("b",)]
    strict = replace(GUARANTEES, quantiles={**QUANTILES, "lac": {0.9: 0.1}})  # type: ignore[dict-item]
    assert label_sets("abc", rows, strict.sets(rows, 0.9)) == [("a",), ("c",), ("b",)]
    for method in ("lac", "raps"):
        assert GUARANTEES.sets(rows, 0.99, method).all()  # type: ignore[arg-type]
    assert GUARANTEES.answered(rows, 0.05).tolist() == [False, True, False]


@pytest.mark.parametrize("method", ["lac", "raps"])
def test_sets_keep_their_coverage_with_a_model_that_is_too_sure(method: str) -> None:
    rng = np.random.default_rng(0)
    valid, _ = drawn(rng, 100)
    covered = {coverage: [] for coverage in COVERAGES}  # type: ignore[var-annotated]
    for _ in range(300):
        seen, seen_targets = drawn(rng, 150)
        found = find_guarantees(valid, seen, seen_targets, temperature=1.3)
        new, targets = drawn(rng, 200)
        for coverage in COVERAGES:
            members = found.sets(new, coverage, method)  # type: ignore[arg-type]
            covered[coverage].append(members[np.arange(len(new)), targets].mean())
    for coverage, shares in covered.items():
        deviation = np.std(shares) / math.sqrt(len(shares))
        assert np.mean(shares) > coverage - 3 * deviation
        assert np.mean(shares) < coverage + 0.04


def test_abstention_keeps_its_error_rate_from_logits_to_answers() -> None:
    rng = np.random.default_rng(0)
    valid, _ = drawn(rng, 100, 6.0)
    many, many_targets = drawn(rng, 100_000, 6.0)
    wrong = many.argmax(axis=1) != many_targets
    broken = dict.fromkeys(MAX_ERRORS, 0)
    given = 0
    for _ in range(200):
        found = find_guarantees(valid, *drawn(rng, 600, 6.0), temperature=1.3)
        for rate, threshold in found.thresholds.items():
            if threshold is not None:
                broken[rate] += wrong[found.answered(many, rate)].mean() > rate
                given += 1
    assert max(broken.values()) <= 0.05 * 200
    assert given > 200


def test_guarantees_are_in_the_file_and_on_its_card(artifact: Artifact, tmp_path: Path) -> None:
    path = tmp_path / "model.grunlock"
    assert GUARANTEES.to_dict()["quantiles"]["lac"] == {"0.9": 0.75, "0.99": None}  # JSON has no infinity
    promising = replace(artifact, guarantees=GUARANTEES)
    artifacts.save(promising, path)
    assert artifacts.read(path).guarantees == GUARANTEES
    assert (
        "calibrated on 20 further examples; error rates it can keep by abstaining: 5%"
        in artifacts.contents.card(promising)
    )
    early = replace(promising, guarantees=replace(GUARANTEES, early={0.05: 0.9, 0.1: 0.8, 0.01: None}))
    assert "by abstaining: 5%; by deciding early: 5%, 10%" in artifacts.contents.card(early)


@pytest.mark.parametrize(
    "broken", [{"num_examples": 20}, [], "x", {**GUARANTEES.to_dict(), "quantiles": {"lac": 1}}]
)
def test_guarantees_that_cannot_be_read_are_refused(
    broken: object, artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Guarantees, "to_dict", lambda self: broken)
    artifacts.save(replace(artifact, guarantees=GUARANTEES), tmp_path / "model.grunlock")
    with pytest.raises(ArtifactError, match="member of the model file cannot be read"):
        artifacts.read(tmp_path / "model.grunlock")
