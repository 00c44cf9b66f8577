"""The stages: which tasks they have, what is done already, the document of what is done. Shows progress."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.encoders.plan import DataSet, Task, epochs_within, pairs
from benchmarks.encoders.processes import Listener, run_tasks
from benchmarks.encoders.store import Record, Store
from benchmarks.encoders.table import Row, make_row, markdown, section
from benchmarks.encoders.worker import KEPT_SEED
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from grunlock.errors import BenchmarkError
from grunlock.files import write_atomically

SHOWN = {
    "pace": lambda found: (
        f"{found['seconds_per_epoch']:.2f} s an epoch, on a CPU {100 * found['cpu_share']:.0f} % of the time"
    ),
    "train": lambda found: (
        f"test {found['test_accuracy']:.4f}, valid {found['valid_accuracy']:.4f}, "
        f"best epoch {found['best_epoch']} of {found['epochs']}, {found['wall_seconds']:.0f} s"
    ),
    "latency": lambda found: f"{found['microseconds']:.0f} µs a prediction",
}


@dataclass(frozen=True)
class Bench:
    """What was asked for, and where it is kept."""

    sets: Sequence[DataSet]
    encoders: Sequence[str]
    seeds: Sequence[int]
    workers: int
    store: Store
    console: Console

    # ---- what there is to do -------------------------------------------------------------------

    def pace_tasks(self) -> list[Task]:
        return [Task("pace", *pair) for pair in pairs(self.sets, self.encoders)]

    def train_tasks(self) -> list[Task]:
        """Seeds outermost, so that a run stopped early has whole tables.

        Raises BenchmarkError if it is not known how many epochs a task has.
        """
        wanted = [(pair, seed) for seed in self.seeds for pair in pairs(self.sets, self.encoders)]
        return [self._train_task(self._needed_pace(*pair), *pair, seed) for pair, seed in wanted]

    def latency_tasks(self) -> list[Task]:
        """Of the models that there are."""
        trained = [self._trained(*pair, KEPT_SEED) for pair in pairs(self.sets, self.encoders)]
        return [replace(task, stage="latency") for task, _ in filter(None, trained)]

    def _train_task(self, pace: Record, data_set: DataSet, encoder: str, seed: int) -> Task:
        epochs = epochs_within(data_set.budget_seconds, pace["seconds_per_epoch"], data_set.max_epochs)
        return Task("train", data_set, encoder, seed, epochs)

    def _trained(self, data_set: DataSet, encoder: str, seed: int) -> tuple[Task, Record] | None:
        pace = self.store.read(Task("pace", data_set, encoder))
        if pace is None:
            return None
        task = self._train_task(pace, data_set, encoder, seed)
        record = self.store.read(task)
        return None if record is None else (task, record)

    def _needed_pace(self, data_set: DataSet, encoder: str) -> Record:
        task = Task("pace", data_set, encoder)
        record = self.store.read(task)
        if record is None:
            raise BenchmarkError(
                "It is not known how long an epoch takes.",
                where=f"{data_set.name}, {encoder}",
                cure="run the stage pace first, or leave it out with --sets and --encoders",
            )
        return record

    # ---- doing it ------------------------------------------------------------------------------

    def run(self, stage: str) -> bool:
        """False if a task failed. Raises BenchmarkError for results that do not belong together."""
        if stage == "pace":
            return self._run_tasks(stage, self.pace_tasks(), workers=1)
        if stage == "train":
            return self._run_tasks(stage, self.train_tasks(), self.workers)
        return self._run_tasks(stage, self.latency_tasks(), workers=1)

    def _run_tasks(self, stage: str, tasks: Sequence[Task], workers: int) -> bool:
        waiting = [task for task in tasks if self.store.read(task) is None]
        earlier = len(tasks) - len(waiting)
        self._say(f"{stage}: {earlier} of {len(tasks)} are done")
        failed: list[Task] = []
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        try:
            with Progress(*columns, console=self.console, transient=True) as progress:
                bar = progress.add_task(stage, total=len(tasks), completed=earlier)

                def running(now: Sequence[Task]) -> None:
                    progress.update(bar, description=f"{stage} {', '.join(task.name for task in now)}")

                def end(task: Task, words: str | None) -> None:
                    failed.extend([] if words is None else [task])
                    progress.advance(bar)
                    self._say(f"{task.name}: {words or SHOWN[stage](self.store.read(task))}")

                listener = Listener(running, end)
                run_tasks(waiting, self.store, workers, listener)
        finally:
            looked = [task for task in tasks if self.store.read(task) is not None]
            if stage == "train" and looked:
                self._say(f"for benchmarks/LOG.md:\n{log_line(looked)}")
        return not failed

    def _say(self, words: str) -> None:
        self.console.print(words, markup=False, highlight=False, soft_wrap=True)

    # ---- the table -----------------------------------------------------------------------------

    def write_table(self, folder: Path) -> None:
        """encoders.json and encoders.md. Raises BenchmarkError if nothing is done."""
        rows = {data_set: self._rows(data_set) for data_set in self.sets}
        sections = [(data_set, found) for data_set, found in rows.items() if found]
        runs = self._runs()
        if not runs:
            raise BenchmarkError(
                "There is nothing to make a table of.",
                where=self.store.folder,
                cure="run the stages pace and train first",
            )
        commits = sorted({str(record["commit"]) for record in runs.values()})
        document = {
            "benchmark": "encoders",
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "commits": commits,
            "machines": _distinct(runs, "machine"),
            "versions": _distinct(runs, "versions"),
            "threads": 1,
            "sets": [section(data_set, found) for data_set, found in sections],
            "runs": runs,
        }
        write_atomically(folder / "encoders.json", json.dumps(document, indent=1) + "\n")
        write_atomically(folder / "encoders.md", markdown(sections, commits))
        self._say((folder / "encoders.md").read_text(encoding="utf-8"))

    def _runs(self) -> dict[str, Record]:
        found = [
            self._trained(*pair, seed) for pair in pairs(self.sets, self.encoders) for seed in self.seeds
        ]
        return {task.name: record for task, record in filter(None, found)}

    def _rows(self, data_set: DataSet) -> list[Row]:
        rows = []
        for _, encoder in pairs([data_set], self.encoders):
            found = {seed: self._trained(data_set, encoder, seed) for seed in self.seeds}
            runs = {seed: trained[1] for seed, trained in found.items() if trained is not None}
            if runs:
                pace = self._needed_pace(data_set, encoder)
                latency = self._latency(data_set, encoder)
                rows.append(make_row(encoder, runs, pace, latency))
        return rows

    def _latency(self, data_set: DataSet, encoder: str) -> Record | None:
        trained = self._trained(data_set, encoder, KEPT_SEED)
        return None if trained is None else self.store.read(replace(trained[0], stage="latency"))


def _distinct(runs: Mapping[str, Record], key: str) -> list[Any]:
    found: list[Any] = []
    for record in runs.values():
        if record[key] not in found:
            found.append(record[key])
    return found


def log_line(tasks: Sequence[Task]) -> str:
    """The row of benchmarks/LOG.md for the looks that these trainings took."""
    sets, encoders, seeds = (
        ", ".join(dict.fromkeys(str(value) for value in values))
        for values in zip(*((task.data_set.name, task.encoder, task.seed) for task in tasks), strict=True)
    )
    what = f"`benchmarks/encoders`: {encoders}; seeds {seeds}; {len(tasks)} runs, once each"
    why = "comparison of encoders at equal training time; nothing is chosen by it"
    return f"| {datetime.now(UTC):%Y-%m-%d} | {sets} | {what} | {why} |"
