"""Results on disk: a JSON file per task, and the models whose predictions are timed.

A file is written whole or not at all, so what is there is done.
"""

import json
import platform
import shutil
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.encoders.plan import Task

from grunlock import __version__
from grunlock.artifact import ARTIFACT_NAME
from grunlock.errors import BenchmarkError
from grunlock.files import write_atomically
from grunlock.machine import commit, machine

Record = dict[str, Any]


class Store:
    """Everything below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, task: Task) -> Record | None:
        """The task's result, None if it is not done. Raises BenchmarkError if it had other settings."""
        path = self._path(task)
        if not path.is_file():
            return None
        record: Record = json.loads(path.read_text(encoding="utf-8"))
        if record["settings"] != task.settings():
            raise BenchmarkError(
                "This result was made with other settings, so it cannot stand beside new ones.",
                where=path,
                got=record["settings"],
                expected=task.settings(),
                cure="name another folder with --work, or remove this file to have it made anew",
            )
        return record

    def write(self, task: Task, found: Record) -> None:
        """Keep a result, with its settings and where it was made. Raises StorageError."""
        about = machine()
        record = {
            "settings": task.settings(),
            **found,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": commit(),
            "versions": {
                "grunlock": __version__,
                "torch": version("torch"),
                "numpy": np.__version__,
                "python": platform.python_version(),
            },
            "machine": {key: about[key] for key in ("processor", "cpus_allowed", "system")},
        }
        path = self._path(task)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(record, indent=1) + "\n")

    def model(self, task: Task) -> Path:
        """Where the model of set and encoder is kept."""
        return self.folder / "models" / f"{task.data_set.name}.{task.encoder}.grunlock"

    def keep_model(self, task: Task, run: Path) -> None:
        target = self.model(task)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run / ARTIFACT_NAME, target)

    def fresh_run_folder(self, task: Task) -> Path:
        """A path for a run; what a killed run of the task left there is removed."""
        folder = self.folder / "runs" / f"{task.stage}.{task.name}"
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        return folder

    def _path(self, task: Task) -> Path:
        return self.folder / task.stage / f"{task.name}.json"
