"""Trials per minute of a search on a Ray cluster with one worker and with two, and what Ray costs per trial.

    python benchmarks/scale/trials.py --trials 12 --repeats 5

Two nodes of one processor each are started on this machine, as real processes. All searches train the same
recipe for the same epochs with random values, without pruning, one thread each. A first search, not timed
with the others, has the workers import torch; a plain process that trains the same trials is warmed likewise.
What a search needs to begin (a look at the nodes, a queue) is in all rates and costs, divided by its trials.
Where the machine has fewer than two free processors the ratio says nothing. Prints one JSON line last.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from tests.scale.ray_clusters import ray_cluster

from grunlock.machine import commit, machine
from grunlock.recipe import SearchSpace, read_recipe_or_space
from grunlock.scale import connected
from grunlock.scale.search import crew as search
from grunlock.scale.search.crew import ClusterCrew
from grunlock.scale.search.trial_tasks import TrialEnd, TrialSetting
from grunlock.tuning import Budget, Crew, StudySettings, Workers, tune
from grunlock.tuning.objective import Outcome, Report
from grunlock.tuning.study import Study
from grunlock.tuning.work import Limits, TrialListener, work

console = Console(stderr=True)
SPACE = ["embedding.size=32", "encoder.hidden_size=64", "head.dropout={low=0.0, high=0.5}"]
SHOWN = [
    ("trials per minute, one worker", "trials_per_minute_1", 1.0),
    ("trials per minute, two workers", "trials_per_minute_2", 1.0),
    ("ratio", "ratio", 1.0),
    ("Ray's cost per trial, ms", "ray_cost_seconds", 1e3),
    ("an empty trial through Ray, ms", "empty_trial_seconds", 1e3),
    ("an empty trial here, ms", "empty_trial_here_seconds", 1e3),
]
WITH_START = "two workers, start included"
NOTHING = Outcome({"nll": 1.0, "accuracy": 0.5, "macro_f1": 0.5}, None)


def empty_task(setting: TrialSetting, number: int, values: Mapping[str, Any], attempt: str) -> TrialEnd:
    """A trial that does nothing, as a task."""
    return TrialEnd(NOTHING, {})


def empty_trial(number: int, values: Mapping[str, Any], report: Report) -> Outcome:
    """A trial that does nothing, here."""
    return NOTHING


class EmptyCrew:
    """Runs trials that do nothing, in this process."""

    def run(self, study: Study, limits: Limits, listen: TrialListener | None) -> None:
        work(study, empty_trial, limits, listen=listen)


class Searches:
    """Searches of one kind, each in a folder of its own."""

    def __init__(self, folder: Path, rows: int, epochs: int) -> None:
        self.folder = folder
        self.data = folder / "texts.csv"
        self.data.write_text(texts(rows), encoding="utf-8")
        space = read_recipe_or_space("tiny", [*SPACE, f"training.epochs={epochs}"])
        assert isinstance(space, SearchSpace)
        self.space = space
        self._count = 0

    def seconds(self, trials: int, workers: Workers) -> float:
        """Of one trial: the time of a whole search over its trials."""
        self._count += 1
        settings = StudySettings(
            name=f"study{self._count}", source=str(self.data), sampler="random", pruner="none"
        )
        result = tune(
            settings, self.space, self.folder / settings.name, Budget(trials=trials), workers=workers
        )
        assert len(result.trials) == trials
        return result.seconds / trials


def texts(rows: int) -> str:
    """A table of two classes that differ in the words they use more often."""
    draw = random.Random(0)
    lines = ["label,text"]
    for row in range(rows):
        label = row % 2
        words = [f"w{int(draw.triangular(0, 400, 100 + 200 * label))}" for _ in range(draw.randint(5, 40))]
        lines.append(f"{label},{' '.join(words)}")
    return "\n".join(lines) + "\n"


def cost_of_empty_trial(searches: Searches, trials: int) -> dict[str, float]:
    """Seconds of a trial that does nothing: through Ray with one worker, and in this process."""
    real = search.run_trial_here
    search.run_trial_here = empty_task
    try:
        through_ray = searches.seconds(trials, ClusterCrew(most=1))
    finally:
        search.run_trial_here = real
    here: Crew = EmptyCrew()
    return {"ray": through_ray, "here": searches.seconds(trials, here)}


def spread(values: list[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def measure(folder: Path, trials: int, repeats: int, rows: int, epochs: int) -> dict[str, Any]:
    """Connects, and leaves the cluster it started. Seconds are of one trial."""
    torch.set_num_threads(1)
    searches = Searches(folder, rows, epochs)
    started = time.perf_counter()
    with ray_cluster(nodes=2) as nodes, connected(nodes.address):
        start_seconds = time.perf_counter() - started
        first = searches.seconds(trials, ClusterCrew())  # workers start and import torch
        with_start = trials / (start_seconds + trials * first) * 60
        searches.seconds(1, 1)
        found: dict[str, list[float]] = {"plain": [], "one": [], "two": [], "ray": [], "here": []}
        for _ in track(range(repeats), "measuring", console=console):
            found["plain"].append(searches.seconds(trials, 1))
            found["one"].append(searches.seconds(trials, ClusterCrew(most=1)))
            found["two"].append(searches.seconds(trials, ClusterCrew()))
            for name, seconds in cost_of_empty_trial(searches, 10 * trials).items():
                found[name].append(seconds)
    one, two, plain = found["one"], found["two"], found["plain"]
    return {
        "trials": trials,
        "repeats": repeats,
        "rows": rows,
        "epochs": epochs,
        "trials_per_minute_1": spread([60 / seconds for seconds in one]),
        "trials_per_minute_2": spread([60 / seconds for seconds in two]),
        "ratio": spread([a / b for a, b in zip(one, two, strict=True)]),
        "trials_per_minute_2_with_start": with_start,
        "start_seconds": start_seconds,
        "plain_seconds": spread(plain),
        "ray_cost_seconds": spread([a - b for a, b in zip(one, plain, strict=True)]),
        "empty_trial_seconds": spread(found["ray"]),
        "empty_trial_here_seconds": spread(found["here"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trials", type=int, default=12, help="of each search; even")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), arguments.trials, arguments.repeats, arguments.rows, arguments.epochs)
    about = machine()
    found |= {"processor": about["processor"], "cpus": about["cpus_allowed"], "commit": commit()}
    for words, name, factor in SHOWN:
        median, low, high = (factor * found[name][part] for part in ("median", "low", "high"))
        console.print(f"{words:<34}{median:.2f} ({low:.2f} to {high:.2f})", highlight=False)
    console.print(f"{WITH_START:<34}{found['trials_per_minute_2_with_start']:.2f}")
    console.print(f"{about['processor']}, {about['cpus_allowed']} processors, commit {found['commit']}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
