"""grunlock bench: this machine, against the peers installed; with --long, what each encoder remembers."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from grunlock.cli.bench_long import bench_long
from grunlock.errors import RunInterruptedError

if TYPE_CHECKING:
    from grunlock.benchmark.cases import Comparison
    from grunlock.benchmark.measure import Effort, Measurement
    from grunlock.benchmark.processes import WorkerPool
    from grunlock.benchmark.run import BenchmarkOptions, BenchmarkResult

ROUNDS, TURN_SECONDS = 9, 0.3
QUICK_ROUNDS, QUICK_TURN_SECONDS = 3, 0.05


def bench_command(
    groups: Annotated[
        list[str] | None,
        typer.Option(
            "--group", "-g", help="A group of comparisons (with --long: a task), repeatable; all by default."
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Few small sizes and few rounds: a look.")] = False,
    peers: Annotated[
        list[str] | None,
        typer.Option("--peer", metavar="NAME=PYTHON", help="The interpreter that has a peer; repeatable."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads for everybody; all allowed CPUs by default.")
    ] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Turns of each contender.")] = None,
    lengths: Annotated[
        Path | None, typer.Option(help="Texts whose lengths the ragged cases take; else drawn like IMDb's.")
    ] = None,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Write everything here, kept up to date while it runs.")
    ] = None,
    long: Annotated[
        bool,
        typer.Option(
            "--long", help="Instead: accuracy of each encoder on tasks of growing length; --json continues."
        ),
    ] = False,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="With --long: draw the curves here.")
    ] = None,
) -> None:
    """Measure the GRU beside torch, Keras, JAX and ONNX Runtime, whichever are installed."""
    if long:
        _refuse("--long", {"--peer": peers, "--rounds": rounds, "--lengths": lengths})
        bench_long(groups, quick=quick, threads=threads, json_path=json_path, picture_path=picture)
        return
    _refuse("a benchmark of speed", {"--picture": picture})
    from grunlock.benchmark.lengths import drawn_lengths, length_batches, text_lengths
    from grunlock.benchmark.measure import Effort
    from grunlock.benchmark.plan import FULL, QUICK, plan
    from grunlock.benchmark.processes import WorkerPool
    from grunlock.benchmark.run import BenchmarkOptions
    from grunlock.machine import allowed_cpus

    chosen, pythons = _groups(groups), _pythons(peers or [])
    sizes = QUICK if quick else FULL
    drawn = drawn_lengths() if lengths is None else text_lengths(lengths)
    comparisons = plan(chosen, sizes, length_batches(drawn, sizes.num_length_batches))
    effort = Effort(
        rounds or (QUICK_ROUNDS if quick else ROUNDS), QUICK_TURN_SECONDS if quick else TURN_SECONDS
    )
    source = "drawn, log-normal" if lengths is None else lengths.name
    settings = {"groups": list(chosen), "quick": quick, "lengths": source}
    options = BenchmarkOptions(effort, threads or allowed_cpus(), json_path, settings)
    console = Console()
    _show_settings(console, effort, options.threads, source)
    with WorkerPool(pythons) as pool:
        result = _run(console, comparisons, pool, options)
    for peer, reason in pool.missing.items():
        console.print(f"{peer}: not installed ({reason})", markup=False, highlight=False, soft_wrap=True)
    if json_path is not None:
        console.print(f"written  {json_path}", markup=False, highlight=False, soft_wrap=True)
    if result.interrupted:
        kept = "the tables above" if json_path is None else str(json_path)
        raise RunInterruptedError("Stopped by the user. What was measured is kept.", where=kept)


def _refuse(what: str, options: Mapping[str, object]) -> None:
    for name, value in options.items():
        if value is not None:
            raise typer.BadParameter(f"{name} does not go with {what}")


def _show_settings(console: Console, effort: "Effort", threads: int, lengths: str) -> None:
    words = f"{threads} threads, {effort.rounds} rounds in turn, lengths of texts {lengths}"
    console.print(words, markup=False, highlight=False, soft_wrap=True)


def _run(
    console: Console, comparisons: "list[Comparison]", pool: "WorkerPool", options: "BenchmarkOptions"
) -> "BenchmarkResult":
    from grunlock.benchmark.run import run_benchmark
    from grunlock.cli.bench_tables import one_line, show_group

    left = [comparison.group for comparison in comparisons]
    finished: list[Measurement] = []
    with _progress(console) as progress:
        task = progress.add_task("starting", total=len(comparisons))

        def tell(activity: str) -> None:
            progress.update(task, description=f"{comparisons[len(finished)].case}: {activity}")

        def done(measurement: "Measurement") -> None:
            finished.append(measurement)
            progress.advance(task)
            group = left.pop(0)
            if not console.is_terminal:
                console.print(one_line(measurement), markup=False, highlight=False, soft_wrap=True)
            if group not in left:
                show_group([m for m in finished if m.comparison.group == group], console)

        result = run_benchmark(comparisons, pool, options, tell, done)
    if result.interrupted and left:
        show_group([m for m in result.measurements if m.comparison.group == left[0]], console)
    return result


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)


def _groups(wanted: list[str] | None) -> tuple[str, ...]:
    from grunlock.benchmark.plan import GROUPS

    for name in wanted or []:
        if name not in GROUPS:
            raise typer.BadParameter(f"{name} is no group: choose among {', '.join(GROUPS)}")
    return tuple(wanted or GROUPS)


def _pythons(pairs: list[str]) -> dict[str, str]:
    from grunlock.benchmark.worker import PEER_MODULES

    pythons = {}
    for pair in pairs:
        name, _, python = pair.partition("=")
        if name not in PEER_MODULES or not python:
            choices = ", ".join(PEER_MODULES)
            raise typer.BadParameter(f"{pair} is not NAME=PYTHON with a name among {choices}")
        pythons[name] = python
    return pythons
