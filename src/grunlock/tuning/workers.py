"""Workers in processes of their own that share one study through its storage."""

import multiprocessing
import queue
import signal
from collections.abc import Sequence
from contextlib import AbstractContextManager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from grunlock.errors import GrunlockError, RunInterruptedError, StudyError
from grunlock.kernels.processors import usable_processors
from grunlock.tuning.results import TrialRecord
from grunlock.tuning.study import Study
from grunlock.tuning.work import Limits, TrialListener

POLL_SECONDS = 0.2


def run_workers(study: Study, limits: Limits, count: int, listen: TrialListener | None) -> None:
    """Work with `count` processes until the budget is used up; each gets its share of the processors.

    A worker that dies, killed for its memory for instance, leaves its trial unfinished; the others go on, and
    at the end a StudyError says so. Ctrl-C reaches the workers as well: each writes a checkpoint, and
    RunInterruptedError is raised when all have ended.
    """
    if study.settings.storage is not None and study.settings.storage.startswith("sqlite:///:memory:"):
        raise StudyError("Workers cannot share a storage in memory.", got=study.settings.storage)
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    claim, found = context.Lock(), context.Queue()
    unfinished = [trial.number for trial in study.unfinished()]
    threads = max(1, usable_processors().count // count)
    workers = [
        context.Process(
            target=_worker_main,
            args=(study.folder.path, limits, unfinished[index::count], threads, claim, found),
            name=f"worker {index}",
        )
        for index in range(count)
    ]
    for worker in workers:
        worker.start()
    errors: list[GrunlockError] = []
    try:
        while any(worker.is_alive() for worker in workers):
            _drain(found, errors, listen, POLL_SECONDS)
    except KeyboardInterrupt:
        pass  # the workers had the same signal
    finally:
        for worker in workers:
            worker.join()
    _drain(found, errors, listen, 0.0)
    _raise(errors, workers, study.folder.path)


def _drain(
    found: Any, errors: list[GrunlockError], listen: TrialListener | None, wait_seconds: float
) -> None:
    while True:
        try:
            item = found.get(timeout=wait_seconds) if wait_seconds else found.get_nowait()
        except queue.Empty:
            return
        if isinstance(item, GrunlockError):
            errors.append(item)
        elif listen is not None:
            listen(*item)


def _raise(errors: list[GrunlockError], workers: Sequence[BaseProcess], folder: Path) -> None:
    for error in errors:
        if not isinstance(error, RunInterruptedError):
            raise error
    if errors:
        raise errors[0]
    died = [worker for worker in workers if worker.exitcode != 0]
    if died:
        raise StudyError(
            "A worker ended before its trial did; the others went on.",
            where=folder,
            got=", ".join(f"{worker.name} with exit code {worker.exitcode}" for worker in died),
            cure=f"go on with `grunlock tune --resume {folder}`, with fewer --workers if memory ran out",
        )


def _worker_main(
    folder: Path,
    limits: Limits,
    unfinished: list[int],
    threads: int,
    claim: AbstractContextManager[object],
    found: Any,
) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    import torch

    from grunlock.tuning.objective import TrainingObjective
    from grunlock.tuning.study import open_study
    from grunlock.tuning.work import work

    torch.set_num_threads(threads)
    try:
        study = open_study(folder)
        evaluate = TrainingObjective(study.settings, study.space, folder)

        def tell(trial: TrialRecord, best: bool) -> None:
            found.put((trial, best))

        work(study, evaluate, limits, unfinished=unfinished, claim=claim, listen=tell)
    except KeyboardInterrupt:
        found.put(RunInterruptedError("Stopped.", where=folder))
    except GrunlockError as error:
        found.put(error)
