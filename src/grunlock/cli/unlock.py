"""grunlock unlock"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from grunlock.cli.crews import CLUSTER_OPTIONS, hands
from grunlock.cli.duel import absolute
from grunlock.cli.options import (
    ClusterAddress,
    Overrides,
    SharedStorage,
    Space,
    TrialCpus,
    TrialGpus,
    given_besides,
)
from grunlock.cli.tune import parse_seconds, parse_size, space_for
from grunlock.errors import StudyError

if TYPE_CHECKING:
    from grunlock.unlock import StageDone, UnlockResult

console = Console()
DEFAULT_MINUTES = 10.0
EXAMPLES = {"text": '--text "..."', "series": "SERIES.npz"}


def unlock_command(
    context: typer.Context,
    data: Annotated[str | None, typer.Argument(help="As for train.")] = None,
    recipe: Space = None,
    overrides: Overrides = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A new folder; else unlocked/DATA.")
    ] = None,
    valid: Annotated[str | None, typer.Option(help="Validation file, if apart.")] = None,
    test: Annotated[str | None, typer.Option(help="Test file, if apart.")] = None,
    minutes: Annotated[
        float | None, typer.Option(help=f"Of the clock, for everything; {DEFAULT_MINUTES:g} if not given.")
    ] = None,
    trials: Annotated[int | None, typer.Option(help="Of the search, at most.")] = None,
    max_size: Annotated[str | None, typer.Option(metavar="500KB", help="Of the model file.")] = None,
    max_latency: Annotated[
        str | None, typer.Option(metavar="0.2ms", help="Of one prediction on this machine.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Processes of the search, 1 if not given; with --cluster trials at once, at most."
        ),
    ] = None,
    cluster: ClusterAddress = None,
    trial_cpus: TrialCpus = None,
    trial_gpus: TrialGpus = None,
    shared: SharedStorage = None,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 0,
    resume: Annotated[Path | None, typer.Option(help="Go on with a road that was stopped.")] = None,
) -> None:
    """The whole road: audit, linear model, the usual GRU, search, seeds, verdict, in a given time."""
    from grunlock.tuning.progress import SearchProgress
    from grunlock.tuning.tune import Budget
    from grunlock.unlock import UnlockSettings, go_on, unlock

    if (data is None) == (resume is None):
        raise StudyError("Give data to start, or --resume to go on.", got=data or "neither")
    besides = given_besides(context, "resume", "minutes", *CLUSTER_OPTIONS)
    if resume is not None and besides:
        raise StudyError(
            "A road goes on as it was started.",
            got=besides,
            expected="--minutes and --cluster with its options only",
            cure="start a new one",
        )
    with (
        hands(cluster, trial_cpus, trial_gpus, shared, most=workers) as found,
        SearchProgress(console, Budget(minutes=minutes or DEFAULT_MINUTES)) as progress,
    ):
        if resume is not None:
            result = go_on(resume, minutes, listen=tell_stage, listen_trial=progress, crew=found.crew)
        else:
            assert data is not None
            settings = UnlockSettings(
                source=absolute(data),
                valid=None if valid is None else absolute(valid),
                test=None if test is None else absolute(test),
                recipe=recipe or space_for(data, limited=bool(max_size or max_latency)),
                overrides=tuple(overrides or ()),
                minutes=DEFAULT_MINUTES if minutes is None else minutes,
                trials=trials,
                max_size=None if max_size is None else parse_size(max_size),
                max_latency=None if max_latency is None else parse_seconds(max_latency),
                workers=workers or 1,
                seed=seed,
            )
            result = unlock(
                settings,
                output or _default_folder(data),
                listen=tell_stage,
                listen_trial=progress,
                crew=found.crew,
            )
    show_unlocked(result)


def show_unlocked(result: "UnlockResult") -> None:
    """The road as a table, the verdicts, where everything lies, and a line to try it."""
    table = Table(title="the road")
    for name in ("station", "validation", "test", "size", "one prediction", "training"):
        table.add_column(name, justify="left" if name == "station" else "right")
    for station in result.stations:
        table.add_row(
            station.name,
            f"{100 * station.valid_accuracy:.2f}",
            "" if station.test_accuracy is None else f"{100 * station.test_accuracy:.2f}",
            "" if station.size is None else f"{station.size / 1000:,.0f} KB",
            "" if station.latency is None else f"{1e3 * station.latency:.3g} ms",
            f"{station.seconds:.0f} s",
        )
    console.print(table)
    for sentence in result.verdicts:
        console.print(sentence, highlight=False, markup=False, soft_wrap=True)
    lines = {
        "report": f"{result.folder / 'report.md'}; drawn: grunlock report {result.folder}",
        "model": result.model,
        "try": f"grunlock predict {result.folder} {EXAMPLES[result.kind]}",
    }
    for name, value in lines.items():
        console.print(f"{name:<9} {value}", highlight=False, markup=False, soft_wrap=True)


def tell_stage(done: "StageDone") -> None:
    """What a stage found, when it has ended."""
    console.print(f"{done.stage:<9} {done.sentence}", highlight=False, markup=False, soft_wrap=True)


def _default_folder(data: str) -> Path:
    return Path("unlocked") / re.sub(r"[^\w.-]+", "-", Path(data).name or Path(data).parent.name)
