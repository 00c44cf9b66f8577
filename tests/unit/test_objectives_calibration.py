"""The fitted temperature: known answers, optimality, and the cases where there is none inside."""

import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from grunlock.errors import DataError, MissingDependencyError, ShapeError
from grunlock.objectives.calibration import HIGHEST, LOWEST, fit_temperature, fit_weights

Doubles = NDArray[np.float64]


def calibrated(num_examples: int, seed: int = 0) -> tuple[Doubles, NDArray[np.int64]]:
    """Logits, and targets drawn from their own softmax."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(num_examples, 3)) * 2.0
    gumbel = random.gumbel(size=logits.shape)
    return logits, (logits + gumbel).argmax(axis=1)


def nll(logits: Doubles, targets: NDArray[np.int64], temperature: float) -> float:
    scaled = logits / temperature
    log_total = np.log(np.exp(scaled).sum(axis=1))
    return float((log_total - scaled[np.arange(len(targets)), targets]).mean())


@pytest.mark.parametrize("true_temperature", [0.3, 1.0, 4.0])
def test_finds_the_temperature_that_made_the_targets(true_temperature: float) -> None:
    logits, targets = calibrated(20_000)
    assert fit_temperature(logits * true_temperature, targets) == pytest.approx(true_temperature, rel=0.05)


def test_no_temperature_on_a_fine_grid_is_better() -> None:
    logits, targets = calibrated(200, seed=3)
    found = fit_temperature(logits, targets)
    grid = np.exp(np.linspace(np.log(LOWEST), np.log(HIGHEST), 2001))
    assert nll(logits, targets, found) <= min(nll(logits, targets, t) for t in grid) + 1e-12


def test_scaling_logits_scales_the_temperature() -> None:
    logits, targets = calibrated(500)
    assert fit_temperature(logits * 3.0, targets) == pytest.approx(
        3.0 * fit_temperature(logits, targets), rel=1e-4
    )


def test_all_right_gives_the_lower_bound() -> None:
    assert fit_temperature([[0.2, 0.0], [0.0, 0.1]], [0, 1]) == LOWEST


def test_worse_than_nothing_gives_the_upper_bound() -> None:
    assert fit_temperature([[5.0, 0.0], [0.0, 5.0]], [1, 0]) == HIGHEST


@pytest.mark.parametrize("logits", [[[2.0, 2.0], [1.0, 1.0]], [[9e4, 0.0], [0.0, 9e4]]])
def test_stays_at_one_where_nothing_is_better(logits: list[list[float]]) -> None:
    assert fit_temperature(logits, [0, 1]) == 1.0


def test_huge_logits_do_not_overflow() -> None:
    logits, targets = calibrated(100)
    assert fit_temperature(logits * 1e30, targets) == HIGHEST


@pytest.mark.parametrize(
    ("logits", "targets", "error", "message"),
    [
        ([[1.0, 2.0]], [0, 1], ShapeError, "`targets`"),
        ([1.0, 2.0], [0], ShapeError, "`logits`"),
        (np.zeros((0, 2)), [], ShapeError, "nothing to calibrate"),
        ([[1.0, np.inf]], [0], DataError, "must be finite"),
        ([[1.0, 2.0]], [2], DataError, "0 to 1"),
    ],
)
def test_wrong_arrays_are_refused(
    logits: object, targets: object, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        fit_temperature(logits, targets)  # type: ignore[arg-type]


def test_without_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(MissingDependencyError, match=r"pip install \"grunlock\[train\]\""):
        fit_temperature([[1.0, 0.0]], [1])


@pytest.mark.parametrize("true_weights", [(0.0, 0.0), (0.5, 0.0), (3.0, 0.3)])
def test_finds_the_weights_that_made_the_targets(true_weights: tuple[float, float]) -> None:
    """Logits are the sum of three parts; each model has one, and two are off by a factor."""
    random = np.random.default_rng(1)
    first, *others = random.normal(size=(3, 20_000, 3)) * 2.0
    truth = first + sum(weight * other for weight, other in zip(true_weights, others, strict=True))
    targets = (truth + random.gumbel(size=first.shape)).argmax(axis=1)
    weights, loss = fit_weights(first, others, targets)
    assert weights == pytest.approx(true_weights, rel=0.08, abs=0.03)
    whole = first + sum(weight * other for weight, other in zip(weights, others, strict=True))
    assert loss == pytest.approx(nll(whole, targets, fit_temperature(whole, targets)), rel=1e-6)
    assert loss <= nll(first, targets, fit_temperature(first, targets)) + 1e-9


def test_no_weights_near_those_found_are_better() -> None:
    random = np.random.default_rng(2)
    first, *others = random.normal(size=(3, 300, 4))
    targets = (first + others[0] + random.gumbel(size=first.shape)).argmax(axis=1)
    weights, loss = fit_weights(first, others, targets)
    for changes in ((0.02, 0.0), (-0.02, 0.0), (0.0, 0.02), (0.02, 0.02)):
        whole = first + sum(max(0.0, w + c) * o for w, c, o in zip(weights, changes, others, strict=True))
        assert nll(whole, targets, fit_temperature(whole, targets)) >= loss - 1e-7


def test_a_model_that_says_the_opposite_gets_no_weight() -> None:
    logits, targets = calibrated(500)
    assert fit_weights(logits, [-np.eye(3)[targets]], targets)[0] == (0.0,)


def test_a_model_that_knows_nothing_leaves_the_others_finite_weights() -> None:
    logits, targets = calibrated(500)
    (weight,), _ = fit_weights(np.zeros_like(logits), [logits], targets)
    assert 0.0 < weight <= 100.0 * HIGHEST


def test_weights_need_logits_of_one_shape() -> None:
    with pytest.raises(ShapeError, match="others"):
        fit_weights([[1.0, 0.0]], [[[1.0, 0.0], [0.0, 1.0]]], [1])
