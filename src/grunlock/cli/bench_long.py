"""grunlock bench --long: accuracy of each kind of encoder on tasks with known answers, against length."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from grunlock.errors import RunInterruptedError

if TYPE_CHECKING:
    from grunlock.benchmark.long.curves import Curve, Point
    from grunlock.benchmark.long.experiment import Cell, Effort, Score
    from grunlock.benchmark.long.run import LongResult


def bench_long(
    groups: list[str] | None,
    *,
    quick: bool,
    threads: int | None,
    json_path: Path | None,
    picture_path: Path | None,
) -> None:
    """Run the cells that are not done yet, show a table per task, draw the curves."""
    from grunlock.benchmark.long.curves import curves
    from grunlock.benchmark.long.picture import picture
    from grunlock.benchmark.long.run import FULL, QUICK, plan
    from grunlock.files import write_atomically
    from grunlock.machine import allowed_cpus

    _check_picture(picture_path)
    scope = QUICK if quick else FULL
    cells = plan(scope, _tasks(groups))
    console = Console()
    used = threads or allowed_cpus()
    _say(
        console, f"{used} threads, {scope.effort.num_updates} updates of {scope.effort.batch_size} sequences"
    )
    result = _run(console, cells, scope.effort, used, json_path)
    found = curves(cells, result.cells)
    for task, lines in found.items():
        show_task(console, task, lines, scope.effort.num_test)
    if json_path is not None:
        _say(console, f"written  {json_path}")
    if picture_path is not None:
        write_atomically(picture_path, picture(found))
        _say(console, f"written  {picture_path}")
    if result.interrupted:
        kept = "the tables above" if json_path is None else str(json_path)
        cure = None if json_path is None else "the same command goes on from there"
        raise RunInterruptedError("Stopped by the user. What is done is kept.", where=kept, cure=cure)


def _run(
    console: Console, cells: "Sequence[Cell]", effort: "Effort", threads: int, json_path: Path | None
) -> "LongResult":
    from grunlock.benchmark.long.run import Listener, read_cells, run_long

    earlier = {} if json_path is None else read_cells(json_path, effort)
    num_earlier = sum(cell in earlier for cell in cells)
    if num_earlier:
        _say(console, f"{num_earlier} of {len(cells)} cells are done in {json_path}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        total = progress.add_task("cells", total=len(cells), completed=num_earlier)
        updates = progress.add_task("starting", total=effort.num_updates)

        def begun(cell: "Cell") -> None:
            progress.reset(updates, description=str(cell))

        def done(cell: "Cell", score: "Score") -> None:
            progress.advance(total)
            if not console.is_terminal:
                shown = "diverged" if score.accuracy is None else f"{score.accuracy:.3f}"
                _say(console, f"{cell}: {shown} ({score.seconds:.1f} s)")

        listener = Listener(begun, lambda count: progress.update(updates, completed=count), done)
        return run_long(cells, effort, threads, json_path, listener)


def show_task(console: Console, task: str, lines: "Mapping[str, Curve]", num_test: int) -> None:
    """Rows are encoders, columns lengths."""
    from grunlock.benchmark.long.tasks import TASKS

    title = f"{task}: accuracy on {num_test:,} fresh sequences, chance {TASKS[task].chance:g}"
    console.print(title, style="bold", highlight=False)
    lengths = sorted({T for curve in lines.values() for T in curve})
    table = Table("")
    for T in lengths:
        table.add_column(f"T={T}", justify="right")
    for kind, curve in lines.items():
        table.add_row(kind, *(_shown(curve[T]) if T in curve else "" for T in lengths))
    console.print(table)


def _shown(point: "Point") -> str:
    """The mean, and the range where several seeds were scored."""
    if point.mean is None:
        return "diverged"
    shown = f"{point.mean:.2f}"
    if len(point.accuracies) > 1:
        shown += f" ({min(point.accuracies):.2f} to {max(point.accuracies):.2f})"
    return shown if not point.num_diverged else f"{shown}, {point.num_diverged} diverged"


def _say(console: Console, words: str) -> None:
    console.print(words, markup=False, highlight=False, soft_wrap=True)


def _tasks(wanted: list[str] | None) -> tuple[str, ...]:
    from grunlock.benchmark.long.tasks import TASKS

    for name in wanted or []:
        if name not in TASKS:
            raise typer.BadParameter(f"{name} is no task: choose among {', '.join(TASKS)}")
    return tuple(dict.fromkeys(wanted or TASKS))


def _check_picture(path: Path | None) -> None:
    """Before hours are spent on what cannot be written."""
    if path is None:
        return
    if path.suffix.lower() != ".svg":
        raise typer.BadParameter(f"{path} does not end in .svg: curves are drawn as SVG")
    if not path.absolute().parent.is_dir():
        raise typer.BadParameter(f"there is no folder {path.absolute().parent}")
