"""All cells of a plan, one after the other, in a document that is kept up to date and can be continued.

    format, benchmark, date, commit, machine, torch, threads, settings, interrupted
    cells[]: task, encoder, num_steps, seed, chance, accuracy (null: diverged), seconds, updates, commit

`settings` are all that a cell's result depends on; a file with others is refused. Cells of the file that are
not in the plan stay in it.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from grunlock.benchmark.long.experiment import Cell, Effort, Score, run_cell
from grunlock.benchmark.long.model import encoder_sections
from grunlock.benchmark.long.tasks import TASKS
from grunlock.errors import BenchmarkError
from grunlock.files import write_atomically
from grunlock.machine import commit, machine

FORMAT = 2
NAME = "grunlock bench --long"


@dataclass(frozen=True)
class Scope:
    """How far a run goes."""

    lengths: tuple[int, ...]
    seeds: tuple[int, ...]
    effort: Effort


FULL = Scope((16, 32, 64, 128, 256), (0, 1, 2), Effort())
QUICK = Scope((8, 16), (0,), Effort(num_updates=500))


@dataclass(frozen=True)
class Found:
    """A cell that is done."""

    score: Score
    commit: str | None  # of the code that scored it; a continued file may hold several


@dataclass
class LongResult:
    """What is done so far, cells of earlier runs included."""

    cells: dict[Cell, Found] = field(default_factory=dict)
    interrupted: bool = False


@dataclass(frozen=True)
class Listener:
    """Who is told what goes on."""

    begun: Callable[[Cell], None] = lambda cell: None
    update: Callable[[int], None] = lambda updates: None
    done: Callable[[Cell, Score], None] = lambda cell, score: None


def plan(scope: Scope, tasks: Sequence[str]) -> list[Cell]:
    """Seeds outermost and short lengths first, so that a run stopped early has whole tables."""
    kinds = tuple(encoder_sections(scope.effort.hidden_size))
    return [
        Cell(task, kind, num_steps, seed)
        for seed in scope.seeds
        for num_steps in scope.lengths
        for task in tasks
        for kind in kinds
    ]


def run_long(
    cells: Sequence[Cell],
    effort: Effort,
    threads: int,
    json_path: Path | None = None,
    listener: Listener | None = None,
) -> LongResult:
    """Run the cells that the file does not have. Ctrl-C ends it early and loses nothing but the present cell.

    Raises BenchmarkError if the file holds something else or other settings, StorageError if it cannot be
    written.
    """
    listener = listener or Listener()
    result = LongResult(read_cells(json_path, effort) if json_path is not None else {})
    now = commit()

    def write() -> None:
        if json_path is not None:
            content = _document(result, effort, threads, now)
            write_atomically(json_path, json.dumps(content, indent=1) + "\n")

    write()  # a path that cannot be written is found before anything is trained
    try:
        with _torch_threads(threads):
            for cell in cells:
                if cell in result.cells:
                    continue
                listener.begun(cell)
                score = run_cell(cell, effort, listener.update)
                result.cells[cell] = Found(score, now)
                write()
                listener.done(cell, score)
    except KeyboardInterrupt:
        result.interrupted = True
        write()
    return result


def read_cells(path: Path, effort: Effort) -> dict[Cell, Found]:
    """Cells done by earlier runs with the same settings; none if there is no file. Raises BenchmarkError."""
    if not path.exists():
        return {}
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        name = (document["benchmark"], document["format"])
        if name == (NAME, FORMAT):
            _check_settings(path, document["settings"], effort.settings())
            return dict(_cell(entry) for entry in document["cells"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _not_ours(path, f"{type(error).__name__}: {error}") from error
    raise _not_ours(path, f"results of {name[0]}, format {name[1]}")


def _not_ours(path: Path, got: str) -> BenchmarkError:
    return BenchmarkError(
        "This file holds no results that could be continued.",
        where=path,
        got=got,
        expected=f"results of {NAME}, format {FORMAT}",
        cure="name another file with --json, or remove this one",
    )


def _check_settings(path: Path, got: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    different = [key for key in {**expected, **got} if got.get(key) != expected.get(key)]
    if different:
        raise BenchmarkError(
            "The results in this file were made with other settings.",
            where=path,
            got=", ".join(f"{key} = {got.get(key)}" for key in different),
            expected=", ".join(f"{key} = {expected.get(key)}" for key in different),
            cure="run with the settings of the file, or name another file with --json",
        )


def _cell(entry: Mapping[str, Any]) -> tuple[Cell, Found]:
    cell = Cell(entry["task"], entry["encoder"], entry["num_steps"], entry["seed"])
    return cell, Found(Score(entry["accuracy"], entry["seconds"], entry["updates"]), entry["commit"])


def _document(result: LongResult, effort: Effort, threads: int, now: str | None) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "benchmark": NAME,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": now,
        "machine": machine(),
        "torch": torch.__version__,
        "threads": threads,
        "settings": effort.settings(),
        "interrupted": result.interrupted,
        "cells": [
            {
                **asdict(cell),
                "chance": TASKS[cell.task].chance,
                **asdict(found.score),
                "commit": found.commit,
            }
            for cell, found in result.cells.items()
        ],
    }


@contextmanager
def _torch_threads(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
