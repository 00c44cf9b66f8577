"""Which point is tried next, and which trial ends early: the choice among Optuna's samplers and pruners."""

import warnings
from collections.abc import Sequence
from typing import Literal

import optuna

from grunlock.recipe import SearchSpace
from grunlock.seeding import derive_seed
from grunlock.tuning.settings import StudySettings
from grunlock.tuning.space import numeric

Direction = Literal["maximize", "minimize"]

GP_MAX_RANGES = 8
REDUCTION_FACTOR = 3  # Hyperband (Li 2018): a third of the trials of a rung go on


def build_sampler(
    settings: StudySettings, space: SearchSpace, pruner: optuna.pruners.BasePruner, number: int
) -> optuna.samplers.BaseSampler:
    """The sampler of one trial. Its randomness depends on the study's seed and the trial's number alone, and
    all else it knows from the study, so a study that was killed goes on as if it had not been.

    auto: a Gaussian process, which wastes fewest trials, for one objective and up to GP_MAX_RANGES ranges of
    numbers only, if no trial is pruned: Optuna's learns nothing from pruned ones. Else the tree-structured
    Parzen estimator over all ranges together, with trials that still run counted as bad, so that workers
    spread.
    """
    kind = settings.sampler
    own_seed = derive_seed(settings.seed, "sampler", number) % 2**32
    if kind == "auto":
        small = numeric(space) and len(space.ranges) <= GP_MAX_RANGES and len(settings.objectives) == 1
        kind = "gp" if small and isinstance(pruner, optuna.pruners.NopPruner) else "tpe"
    if kind == "random":
        return optuna.samplers.RandomSampler(seed=own_seed)
    if kind == "gp":
        return optuna.samplers.GPSampler(seed=own_seed, n_startup_trials=1)
    return optuna.samplers.TPESampler(
        seed=own_seed, n_startup_trials=1, multivariate=True, constant_liar=True
    )


def build_pruner(settings: StudySettings, epochs: int) -> optuna.pruners.BasePruner:
    """auto: Hyperband over epochs; over several seeds Wilcoxon's test against the best trial's runs of the
    same seeds (Optuna's `WilcoxonPruner`); none for several objectives, which have no order."""
    if settings.pruner == "none" or len(settings.objectives) > 1:
        return optuna.pruners.NopPruner()
    if settings.num_seeds > 1:
        with warnings.catch_warnings():  # its interface may change: our own tests would see that
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.pruners.WilcoxonPruner(p_threshold=0.1, n_startup_steps=2)
    return optuna.pruners.HyperbandPruner(
        min_resource=1, max_resource=max(epochs, 1), reduction_factor=REDUCTION_FACTOR
    )


def num_spread_points(num_trials: int | None, num_first: int) -> int:
    """How many points of an even spread come before the sampler, which needs something to learn from: a
    quarter of the trials, 10 at most, those to be tried first included."""
    wanted = 10 if num_trials is None else min(10, max(1, num_trials // 4))
    return max(0, wanted - num_first)


def directions(objectives: Sequence[str]) -> list[Direction]:
    """maximize for accuracy and macro_f1, minimize for nll, size and latency."""
    return ["maximize" if name in ("accuracy", "macro_f1") else "minimize" for name in objectives]
