"""Search on made-up learning curves whose best value is known: epochs until it is found.

    python benchmarks/planted_study.py --seeds 10

Accuracy of a trial rises over 27 epochs to a final value that is 0.95 at lr 3e-3, head dropout 0.3 and
embedding size 96, and falls off around it; noise of 0.002 is on every epoch. Found: a trial whose final value
without noise is 0.94 or more. No training runs, so that the search alone is measured. Writes
benchmarks/results/planted_study.json.
"""

import argparse
import json
import math
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grunlock.files import write_atomically
from grunlock.recipe import SearchSpace, read_recipe_or_space
from grunlock.seeding import generator
from grunlock.tuning import StudySettings
from grunlock.tuning.objective import Outcome, Report
from grunlock.tuning.study import create_study
from grunlock.tuning.work import Limits, work

EPOCHS = 27
BEST, GOOD = 0.95, 0.94
MOST_EPOCHS = 3000
WAYS = (("random", "none"), ("auto", "none"), ("random", "auto"), ("auto", "auto"))
RESULT = Path(__file__).parent / "results" / "planted_study.json"


def planted_space(*overrides: str) -> SearchSpace:
    """Three ranges around the best value."""
    found = read_recipe_or_space(
        "default",
        [
            "optim.lr={low=1e-4, high=1e-1, log=true}",
            "head.dropout={low=0.0, high=0.8}",
            "embedding.size={low=16, high=256, log=true}",
            f"training.epochs={EPOCHS}",
            *overrides,
        ],
    )
    assert isinstance(found, SearchSpace)
    return found


def final_accuracy(values: Mapping[str, Any]) -> float:
    """Of a trial, without noise."""
    return (
        BEST
        - 0.10 * math.log10(values["optim.lr"] / 3e-3) ** 2
        - 0.30 * (values["head.dropout"] - 0.3) ** 2
        - 0.01 * math.log2(values["embedding.size"] / 96) ** 2
    )


class LearningCurves:
    """An evaluation that counts the epochs that were paid for.

    stop_at: after so many epochs it is as if the process were killed: nothing is told to the study.
    """

    def __init__(self, stop_at: int | None = None) -> None:
        self.epochs = 0
        self._stop_at = stop_at

    def __call__(self, number: int, values: Mapping[str, Any], report: Report) -> Outcome:
        final, best = final_accuracy(values), 0.0
        for epoch in range(1, EPOCHS + 1):
            if self.epochs == self._stop_at:
                raise KeyboardInterrupt
            self.epochs += 1
            noise = 0.002 * generator(number, "noise", epoch).normal()
            best = max(best, final - (final - 0.3) * math.exp(-epoch / 4) + noise)
            report.value(epoch, best)
        return Outcome({"accuracy": best, "macro_f1": best, "nll": 1 - best}, None)


def epochs_until_found(folder: Path, most: int = MOST_EPOCHS, **changes: Any) -> int:
    """Epochs paid until a trial's final accuracy is GOOD; at most some more than `most`.

    changes: of the study's settings.
    """
    settings = StudySettings(
        **{"name": "planted", "source": "nowhere", "objectives": ("accuracy",), **changes}
    )
    study, curves = create_study(folder, settings, planted_space(), None), LearningCurves()
    trials = 0
    while curves.epochs < most:
        trials += 1
        work(study, curves, Limits(trials, None))
        best = study.best()
        if best is not None and final_accuracy(best.values) >= GOOD:
            break
    return curves.epochs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    seeds = range(parser.parse_args().seeds)
    found: dict[str, list[int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for sampler, pruner in WAYS:
            name = f"sampler {sampler}, pruner {pruner}"
            found[name] = [
                epochs_until_found(
                    Path(folder) / f"{sampler}-{pruner}-{seed}", sampler=sampler, pruner=pruner, seed=seed
                )
                for seed in seeds
            ]
            mean, median = statistics.fmean(found[name]), statistics.median(found[name])
            print(f"{name}: mean {mean:.0f}, median {median:.0f} epochs, {found[name]}", flush=True)
    write_atomically(RESULT, json.dumps({"most_epochs": MOST_EPOCHS, "epochs": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
