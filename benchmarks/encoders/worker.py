"""A worker process: does one task, given as JSON, and writes its result. Started by processes.py.

python -m benchmarks.encoders.worker '{"work": ..., "task": {...}}'
"""

import json
import os
import shutil
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.encoders.plan import DataSet, Task
from benchmarks.encoders.store import Record, Store

KEPT_SEED = 0  # whose model's predictions are timed


def to_json(task: Task, work: Path) -> str:
    return json.dumps({"work": str(work.absolute()), "task": asdict(task)}, default=str)


def from_json(text: str) -> tuple[Task, Path]:
    order = json.loads(text)
    data_set = order["task"].pop("data_set")
    data_set["source"] = Path(data_set["source"])
    return Task(data_set=DataSet(**data_set), **order["task"]), Path(order["work"])


def do(task: Task, store: Store) -> None:
    """Write the task's result; nothing else stays but the model of KEPT_SEED."""
    if task.stage == "latency":
        from benchmarks.encoders.latency import time_predictions

        store.write(task, time_predictions(store.model(task), task.data_set))
        return
    run = store.fresh_run_folder(task)
    try:
        found = _train_or_pace(task, run)
        if task.stage == "train" and task.seed == KEPT_SEED:
            store.keep_model(task, run)
        store.write(task, found)
    finally:
        shutil.rmtree(run, ignore_errors=True)


def _train_or_pace(task: Task, run: Path) -> Record:
    from benchmarks.encoders.pace import measure
    from benchmarks.encoders.training import train_once

    parent = os.getppid()

    def end_with_parent(event: Any) -> None:
        """A run that nobody waits for would disturb those of the command that goes on."""
        if os.getppid() != parent:
            sys.exit("the process that started this one has ended")

    return (measure if task.stage == "pace" else train_once)(task, run, end_with_parent)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit("stopped"))  # so that do() clears up
    wanted, work = from_json(sys.argv[1])
    do(wanted, Store(work))
