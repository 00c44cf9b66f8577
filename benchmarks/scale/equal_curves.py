"""Whether training on a cluster learns what one process learns, undisturbed and with losses in the middle.

    python -m benchmarks.scale.equal_curves DATA --set training.epochs=5 --output equal_curves.json

The loss curve of one process, with a recipe of which no process draws anything for itself, against Ray
clusters of two and four nodes with the same global batch, of real processes on this machine. In two cases
a worker, or a whole node, is killed half way. Said of each: the largest relative difference of a loss from
the one process's, steps done twice or left out, and the time from the kill until training went on. The last
line printed is JSON.
"""

import argparse
import json
import os
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from tests.scale.ray_clusters import ray_cluster, working_processes

from grunlock.files import write_atomically
from grunlock.machine import commit, machine
from grunlock.recipe import Recipe, read_recipe
from grunlock.scale import connected
from grunlock.scale.train.run import Team, begin_at, train_on_cluster
from grunlock.training.events import Event, RunStarted, StepDone
from grunlock.training.history import read_history
from grunlock.training.run import begin, train

# Nothing that each process draws for itself; statistics, row-sparse tables and averages are in.
SETTINGS = (
    "embedding.word_dropout=0",
    "embedding.ngrams.buckets=4096",
    "encoder.input_dropout=0",
    "encoder.norm=batch",
    "head.dropout=0",
    "training.checkpoint_every_steps=20",
)
Kill = Callable[[Any], None]


@dataclass(frozen=True)
class Case:
    name: str
    nodes: int
    kill: Kill | None = None


@dataclass
class Found:
    """Of one case. Losses are nats per sequence; differences are relative to the one process's."""

    name: str
    steps: int
    train_difference: float
    valid_difference: float
    repeated_or_missing: int
    seconds: float
    back_after_seconds: float | None = None
    said: list[str] = field(default_factory=list)


def kill_worker(cluster: Any) -> None:
    os.kill(max(working_processes(cluster, b"ray::RayTrainWorker")), signal.SIGKILL)


def kill_node(cluster: Any) -> None:
    """Not the one that this process is connected through."""
    own = ray.get_runtime_context().get_node_id()
    node = next(node for node in cluster.worker_nodes if node.node_id != own)
    cluster.remove_node(node, allow_graceful=False)


CASES = (
    Case("2 nodes", 2),
    Case("4 nodes", 4),
    Case("2 nodes, a worker killed", 2, kill_worker),
    Case("2 nodes, a node killed", 2, kill_node),
)


class Disturbance:
    """A listener that kills once, half way, and notes when training goes on."""

    def __init__(self, cluster: Any, kill: Kill | None) -> None:
        self._cluster, self._kill = cluster, kill
        self._half = 0
        self._killed_at: float | None = None
        self.back_after: float | None = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._half = event.total_steps // 2
            if self._killed_at is not None:
                self.back_after = time.monotonic() - self._killed_at
        elif isinstance(event, StepDone) and event.step >= self._half and self._killed_at is None:
            self._killed_at = time.monotonic()
            if self._kill is not None:
                self._kill(self._cluster)


def measure(case: Case, data: Path, recipe: Recipe, folder: Path, alone: Path) -> Found:
    said: list[str] = []
    started = time.monotonic()
    with ray_cluster(nodes=case.nodes) as real, connected(real.address) as cluster:
        disturbance = Disturbance(real, case.kill)
        begin_at(cluster, str(folder), lambda run: begin(data, recipe, run), overwrite=False)
        train_on_cluster(cluster, str(folder), Team(case.nodes, 1), listeners=[disturbance], say=said.append)
    found = compared(case.name, alone, folder)
    found.seconds = time.monotonic() - started
    found.back_after_seconds, found.said = disturbance.back_after, said
    if case.kill is not None and found.back_after_seconds is None:
        raise SystemExit(f"{case.name}: training ended before anything was killed; give it more epochs")
    return found


def compared(name: str, alone: Path, folder: Path) -> Found:
    """The curves of two run folders."""
    expected, got = curves(alone), curves(folder)
    steps = [step for step, _ in got["step"]]
    odd = sum(step != right for step, right in zip(steps, range(1, len(expected["step"]) + 1), strict=False))
    odd += abs(len(steps) - len(expected["step"]))
    train_difference = difference(expected["step"], got["step"])
    valid_difference = difference(expected["epoch"], got["epoch"])
    return Found(name, len(steps), train_difference, valid_difference, odd, 0.0)


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Step and loss: training's of each step, validation's of each epoch."""
    records = read_history(folder / "history.jsonl")
    names = {"step": "train_loss", "epoch": "valid_loss"}
    return {
        kind: [(each["step"], each[loss]) for each in records if each["event"] == kind]
        for kind, loss in names.items()
    }


def difference(expected: Sequence[tuple[int, float]], got: Sequence[tuple[int, float]]) -> float:
    """The largest, relative to what was expected, over the steps that both have."""
    by_step = dict(got)
    pairs = np.array([(loss, by_step[step]) for step, loss in expected if step in by_step])
    return float(np.max(np.abs(pairs[:, 1] - pairs[:, 0]) / np.abs(pairs[:, 0])))


def table(found: Sequence[Found]) -> Table:
    shown = Table("case", "steps", "train loss", "valid loss", "odd steps", "seconds", "back after")
    for each in found:
        back = "" if each.back_after_seconds is None else f"{each.back_after_seconds:.0f} s"
        train, valid = f"{each.train_difference:.1e}", f"{each.valid_difference:.1e}"
        odd, seconds = str(each.repeated_or_missing), f"{each.seconds:.0f}"
        shown.add_row(each.name, str(each.steps), train, valid, odd, seconds, back)
    return shown


def run(data: Path, recipe: Recipe, cases: Sequence[Case], console: Console) -> list[Found]:
    """Every case, each against the same single process."""
    torch.set_num_threads(1)
    found: list[Found] = []
    with tempfile.TemporaryDirectory() as name, Progress(console=console) as progress:
        task, folder = progress.add_task("one process", total=1 + len(cases)), Path(name)
        alone = folder / "alone"
        train(data, recipe, alone)
        for number, case in enumerate(cases):
            progress.update(task, advance=1, description=case.name)
            found.append(measure(case, data, recipe, folder / str(number), alone))
        progress.update(task, advance=1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--recipe", default="tiny")
    parser.add_argument("--set", action="append", default=[], help="more settings of the recipe")
    parser.add_argument("--only", action="append", choices=[case.name for case in CASES])
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    recipe = read_recipe(arguments.recipe, [*SETTINGS, *arguments.set])
    cases = [case for case in CASES if not arguments.only or case.name in arguments.only]
    console = Console(stderr=True)
    found = run(arguments.data, recipe, cases, console)
    console.print(table(found))
    result = {
        "data": arguments.data.name,
        "recipe": arguments.recipe,
        "settings": [*SETTINGS, *arguments.set],
        "machine": machine(),
        "commit": commit(),
        "cases": [asdict(each) for each in found],
    }
    if arguments.output is not None:
        write_atomically(arguments.output, json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
