"""Each schedule against its formula at points computed by hand, and torch where torch has the same one."""

import math
from itertools import pairwise

import pytest
import torch

from grunlock.optim.schedules import Schedule, build_schedule
from grunlock.recipe.derived import Derived
from grunlock.recipe.optimization_options import (
    ConstantSchedule,
    CosineSchedule,
    ExponentialSchedule,
    LinearSchedule,
    MilestonesSchedule,
    OneCycleSchedule,
    PlateauSchedule,
    ScheduleOptions,
    StepSchedule,
    WarmupStableDecaySchedule,
)
from tests.conftest import small_facts

TOTAL = 100  # 10 epochs of 10 steps


def schedule_of(
    options: ScheduleOptions, *, warmup: int = 0, milestones: tuple[int, ...] = (), total: int = TOTAL
) -> Schedule:
    derived = Derived(
        facts=small_facts(),
        steps_per_epoch=10,
        total_steps=total,
        warmup_steps=warmup,
        milestone_steps=milestones,
        chrono_steps=20,
    )
    return build_schedule(options, derived)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (ConstantSchedule(), {0: 1.0, 50: 1.0, 99: 1.0, 1000: 1.0}),
        (StepSchedule(every_epochs=3, factor=0.5), {0: 1.0, 29: 1.0, 30: 0.5, 59: 0.5, 60: 0.25, 99: 0.125}),
        (ExponentialSchedule(factor=0.9), {0: 1.0, 9: 1.0, 10: 0.9, 25: 0.81, 99: 0.9**9}),
        (LinearSchedule(final_lr_fraction=0.2), {0: 1.0, 50: 0.6, 75: 0.4, 100: 0.2}),
        (CosineSchedule(final_lr_fraction=0.1), {0: 1.0, 50: 0.55, 100: 0.1}),
        (CosineSchedule(final_lr_fraction=0.0), {25: (1 + math.sqrt(0.5)) / 2}),
        (
            OneCycleSchedule(start_lr_fraction=0.04, peak_at_fraction=0.3, final_lr_fraction=0.01),
            {0: 0.04, 15: 0.52, 30: 1.0, 65: 0.505, 100: 0.01},
        ),
        (
            WarmupStableDecaySchedule(decay_fraction=0.2, final_lr_fraction=0.1),
            {0: 1.0, 80: 1.0, 90: 0.55, 100: 0.1},
        ),
        (WarmupStableDecaySchedule(decay_fraction=0.0), {0: 1.0, 99: 1.0, 100: 1.0}),
        (WarmupStableDecaySchedule(decay_fraction=1.0), {0: 1.0, 50: 0.5, 100: 0.0}),
    ],
)
def test_formula_at_hand_computed_steps(options: ScheduleOptions, expected: dict[int, float]) -> None:
    schedule = schedule_of(options)
    assert {step: schedule(step, ()) for step in expected} == pytest.approx(expected, abs=1e-12)


def test_milestones_count_from_the_step_itself_and_may_coincide() -> None:
    schedule = schedule_of(MilestonesSchedule(factor=0.5), milestones=(30, 60, 60))
    assert [schedule(step, ()) for step in (0, 29, 30, 59, 60, 99)] == [1.0, 1.0, 0.5, 0.5, 0.125, 0.125]


ALL = [
    ConstantSchedule(),
    StepSchedule(every_epochs=2),
    ExponentialSchedule(),
    MilestonesSchedule(),
    LinearSchedule(),
    CosineSchedule(),
    OneCycleSchedule(),
    WarmupStableDecaySchedule(),
    PlateauSchedule(),
]


@pytest.mark.parametrize("options", ALL, ids=lambda options: options.kind)
@pytest.mark.parametrize("warmup", [0, 7, TOTAL])
def test_pure_bounded_and_constant_after_the_end(options: ScheduleOptions, warmup: int) -> None:
    schedule = schedule_of(options, warmup=warmup, milestones=(30, 65))
    losses = (1.0, 2.0, 3.0, 4.0)
    factors = [schedule(step, losses) for step in range(TOTAL + 1)]
    assert [schedule(step, losses) for step in reversed(range(TOTAL + 1))] == factors[::-1]
    assert all(0.0 <= factor <= 1.0 for factor in factors)
    assert {schedule(step, losses) for step in (TOTAL, TOTAL + 1, 10 * TOTAL)} == {factors[TOTAL]}


@pytest.mark.parametrize(
    "options", [o for o in ALL if not isinstance(o, OneCycleSchedule)], ids=lambda o: o.kind
)
def test_rises_in_warmup_and_never_after(options: ScheduleOptions) -> None:
    schedule = schedule_of(options, warmup=5, milestones=(30, 65))
    factors = [schedule(step, ()) for step in range(TOTAL)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert all(later <= earlier for earlier, later in pairwise(factors[4:]))


def test_one_cycle_rises_to_the_peak_and_falls() -> None:
    factors = [schedule_of(OneCycleSchedule())(step, ()) for step in range(TOTAL)]
    assert factors == pytest.approx(sorted(factors[:31]) + sorted(factors[31:], reverse=True))


def test_schedules_of_progress_start_behind_the_warmup_others_count_from_the_first_step() -> None:
    linear = schedule_of(LinearSchedule(), warmup=20)
    assert [linear(step, ()) for step in (19, 20, 60, 100)] == pytest.approx([1.0, 1.0, 0.5, 0.0])
    by_epoch = schedule_of(StepSchedule(every_epochs=2), warmup=20)
    assert [by_epoch(step, ()) for step in (9, 19, 20, 39, 40)] == pytest.approx([0.5, 1.0, 0.5, 0.5, 0.25])


def test_nothing_but_warmup() -> None:
    schedule = schedule_of(CosineSchedule(final_lr_fraction=0.01), warmup=TOTAL)
    assert [schedule(step, ()) for step in (0, 99, 100)] == pytest.approx([0.01, 1.0, 0.01])


def test_training_of_one_step() -> None:
    assert schedule_of(CosineSchedule(), total=1)(0, ()) == 1.0


@pytest.mark.parametrize("patience", [1, 2, 5])
def test_plateau_agrees_with_torch(patience: int) -> None:
    losses = [1.0, 0.9, 0.95, 0.9, 0.91, 0.92, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 0.4, 0.4, 0.4]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=patience, threshold=0.0, eps=0.0
    )
    ours = schedule_of(PlateauSchedule(factor=0.5, patience_epochs=patience))
    for epoch, loss in enumerate(losses, start=1):
        theirs.step(loss)
        assert ours(10 * epoch, losses[:epoch]) == optimizer.param_groups[0]["lr"]


def test_plateau_takes_nan_for_no_improvement() -> None:
    ours = schedule_of(PlateauSchedule(factor=0.5, patience_epochs=1))
    assert ours(0, [1.0, math.nan]) == 1.0
    assert ours(0, [1.0, math.nan, math.nan]) == 0.5


def test_only_plateau_reads_losses() -> None:
    for options in ALL:
        schedule = schedule_of(options, milestones=(30,))
        differs = schedule(50, [1.0] * 9) != schedule(50, ())
        assert differs == isinstance(options, PlateauSchedule)
