"""The fitted temperature: known answers, optimality, and the cases where there is none inside."""

import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from grunlock.errors import DataError, MissingDependencyError, ShapeError
from grunlock.objectives.calibration import HIGHEST, LOWEST, fit_temperature, fit_weight

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


@pytest.mark.parametrize("true_weight", [0.0, 0.5, 3.0])
def test_finds_the_weight_that_made_the_targets(true_weight: float) -> None:
    """Logits are the sum of two parts; each model has one, and the second is off by a factor."""
    random = np.random.default_rng(1)
    first, second = random.normal(size=(2, 20_000, 3)) * 2.0
    targets = (first + true_weight * second + random.gumbel(size=first.shape)).argmax(axis=1)
    weight, loss = fit_weight(first, second, targets)
    assert weight == pytest.approx(true_weight, rel=0.08, abs=0.03)
    whole = first + weight * second
    assert loss == pytest.approx(nll(whole, targets, fit_temperature(whole, targets)))
    assert loss <= nll(first, targets, fit_temperature(first, targets))


def test_a_model_that_says_the_opposite_gets_no_weight() -> None:
    logits, targets = calibrated(500)
    assert fit_weight(logits, -np.eye(3)[targets], targets)[0] == 0.0
