"""Tasks in worker processes, one thread each, a given number beside each other."""

import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import IO

from benchmarks.encoders.plan import ROOT, Task
from benchmarks.encoders.store import Store
from benchmarks.encoders.worker import to_json

from grunlock.benchmark.processes import worker_environment

POLL_SECONDS = 0.1
SHOWN_CHARACTERS = 2000  # of a failed worker's last words
ONE_THREAD = {
    **worker_environment(1),
    "GRUNLOCK_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass(frozen=True)
class Listener:
    """Who is told what goes on."""

    running: Callable[[Sequence[Task]], None] = lambda tasks: None
    ended: Callable[[Task, str | None], None] = lambda task, words: None  # words: of one that failed


@dataclass
class _Worker:
    task: Task
    process: subprocess.Popen[bytes]
    errors: IO[bytes]


@dataclass
class _Crew:
    """The workers that are running."""

    store: Store
    workers: list[_Worker] = field(default_factory=list)

    def start(self, task: Task) -> None:
        errors = tempfile.TemporaryFile()  # noqa: SIM115  closed by collect
        command = [sys.executable, "-m", "benchmarks.encoders.worker", to_json(task, self.store.folder)]
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=ONE_THREAD,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,  # Ctrl-C is for the parent, which then tells them once
        )
        self.workers.append(_Worker(task, process, errors))

    def collect(self) -> list[tuple[Task, str | None]]:
        """Those that have ended, with their last words if they failed."""
        ended = [worker for worker in self.workers if worker.process.poll() is not None]
        self.workers = [worker for worker in self.workers if worker not in ended]
        return [(worker.task, _last_words(worker)) for worker in ended]

    def stop(self) -> None:
        for worker in self.workers:
            worker.process.terminate()
        for worker in self.workers:
            worker.process.wait()
            worker.errors.close()


def _last_words(worker: _Worker) -> str | None:
    worker.errors.seek(0)
    words = worker.errors.read().decode("utf-8", "replace").strip()[-SHOWN_CHARACTERS:]
    worker.errors.close()
    code = worker.process.returncode
    return None if code == 0 else f"ended with {code}: {words}"


def run_tasks(tasks: Sequence[Task], store: Store, workers: int, listener: Listener) -> None:
    """Do them in order. A task that fails is told and left out. On Ctrl-C workers are ended first."""
    waiting, crew = deque(tasks), _Crew(store)
    try:
        while waiting or crew.workers:
            while waiting and len(crew.workers) < workers:
                crew.start(waiting.popleft())
                listener.running([worker.task for worker in crew.workers])
            time.sleep(POLL_SECONDS)
            for task, words in crew.collect():
                listener.ended(task, words)
    finally:
        crew.stop()
