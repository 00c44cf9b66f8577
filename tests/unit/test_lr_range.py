"""The learning-rate range test: what it reads from known curves, and that it runs."""

import math
from pathlib import Path

import numpy as np
import pytest

from grunlock.errors import StudyError
from grunlock.recipe import read_recipe
from grunlock.tuning.lr_range import judge, lr_range, smooth

LRS = np.geomspace(1e-5, 1.0, 200)


def falling_then_breaking() -> np.ndarray:
    """Falls around 1e-3, is lowest at 1e-2, breaks at 1e-1."""
    x = np.log10(LRS)
    return 2.0 - 1.5 / (1 + np.exp(-4 * (x + 3))) + np.exp(4 * (x + 1))


def test_the_fall_is_found_where_it_is() -> None:
    found = judge(LRS, falling_then_breaking())
    assert found.steepest is not None
    assert 5e-4 < found.steepest < 4e-3  # smoothing lags behind by some steps
    assert 5e-3 < found.best < 5e-2
    low, high = found.suggested
    assert low < 1e-3 < high


def test_a_loss_that_only_rises_has_no_steepest_rate() -> None:
    found = judge(LRS, np.linspace(1.0, 9.0, 200))
    assert found.steepest is None
    assert found.best == pytest.approx(1e-5)
    assert found.diverged == pytest.approx(1.0)


def test_smoothing_is_unbiased_from_the_first_step_and_passes_over_holes() -> None:
    assert smooth(np.full(5, 3.0)) == pytest.approx([3.0] * 5)
    assert smooth(np.array([3.0, math.nan, 3.0]))[1] == pytest.approx(3.0)


def test_it_runs_and_stops_when_the_loss_breaks(colours_csv: Path) -> None:
    recipe = read_recipe(
        "tiny", ["embedding.size=8", "encoder.hidden_size=6", "batches.size=8", "clip=off", "optim.kind=sgd"]
    )
    steps = []
    found = lr_range(
        colours_csv, recipe, low=1e-3, high=1e6, num_steps=120, progress=lambda done, of: steps.append(done)
    )
    assert steps == list(range(1, len(found.lrs) + 1))
    assert found.lrs[0] == pytest.approx(1e-3)
    assert found.diverged is not None
    assert len(found.lrs) < 120
    again = lr_range(colours_csv, recipe, low=1e-3, high=1e6, num_steps=120)
    assert again == found


def test_a_range_must_rise(colours_csv: Path) -> None:
    with pytest.raises(StudyError, match=r"rates that rise(.|\n)*0 < low < high"):
        lr_range(colours_csv, read_recipe("tiny"), low=1.0, high=0.1)
