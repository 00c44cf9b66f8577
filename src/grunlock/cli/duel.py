"""grunlock duel"""

import re
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from grunlock.cli.crews import hands
from grunlock.cli.options import (
    ClusterAddress,
    Overrides,
    SharedStorage,
    TrialCpus,
    TrialGpus,
    usual_recipes,
)
from grunlock.errors import StudyError

if TYPE_CHECKING:
    from grunlock.comparison.duel import ContenderResult, DuelResult
    from grunlock.comparison.runs import SeedRun, Source

console = Console()


def duel_command(
    data: Annotated[str, typer.Argument(help="As for train.")],
    recipes: Annotated[
        str | None,
        typer.Option(
            help="Contenders, separated by commas; the first one is compared with each other: built-in "
            "recipes, TOML files, run folders, kinds of encoder (lstm, transformer, ...), LABEL=RECIPE. "
            "If not given: default,seed; for .npz and .ts series,seed_series."
        ),
    ] = None,
    overrides: Overrides = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of the duel; else duels/DATA. Goes on if stopped."),
    ] = None,
    valid: Annotated[str | None, typer.Option(help="Validation file, if apart.")] = None,
    test: Annotated[str | None, typer.Option(help="Test file, if apart.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each contender.")] = 5,
    on: Annotated[str, typer.Option(help="The split that decides: test or valid.")] = "test",
    minutes: Annotated[float | None, typer.Option(help="Of search, for each contender with ranges.")] = None,
    trials: Annotated[int | None, typer.Option(help="Of search, for each contender with ranges.")] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processes of a search, 1 if not given; with --cluster trials of a search at once, at most.",
        ),
    ] = None,
    cluster: ClusterAddress = None,
    trial_cpus: TrialCpus = None,
    trial_gpus: TrialGpus = None,
    shared: SharedStorage = None,
) -> None:
    """Compare recipes on the same splits and seeds, with a linear model always in (texts: fastText too)."""
    from grunlock.comparison.contenders import read_contender, with_baselines
    from grunlock.comparison.duel import duel
    from grunlock.tuning import Budget

    folder = output or Path("duels") / re.sub(r"[^\w.-]+", "-", Path(data).name or Path(data).parent.name)
    base, plain = usual_recipes(data)
    names = [base, plain] if recipes is None else recipes.split(",")
    named = [read_contender(name.strip(), overrides or (), base) for name in names]
    budget = None if minutes is None and trials is None else Budget(minutes, trials)

    def tell(name: str, run: "SeedRun") -> None:
        console.print(f"{name}  seed {run.seed}  {run.accuracy:.4f}  {run.seconds:.0f} s", highlight=False)

    source = source_of(data, valid, test, on)
    contenders = with_baselines(named)
    with hands(cluster, trial_cpus, trial_gpus, shared, most=workers, folder=folder) as found:
        result = duel(
            source,
            contenders,
            folder,
            range(seeds),
            budget=budget,
            workers=found.crew or workers or 1,
            runner=found.runner,
            listen=tell,
        )
    show_duel(result)


def show_duel(result: "DuelResult") -> None:
    """The table, then each verdict as a sentence."""
    table = Table(title=f"accuracy on {result.on}, {len(result.seeds)} seeds")
    for name in ("contender", "accuracy", "parameters", "size", "training"):
        table.add_column(name, justify="left" if name == "contender" else "right")
    for each in result.contenders:
        table.add_row(each.name, *_cells(each))
    console.print(table)
    for verdict in result.verdicts:
        console.print(verdict.sentence, highlight=False, markup=False, soft_wrap=True)
    for each in result.contenders:
        if each.error is not None:
            console.print(f"[red]{each.name} failed:[/red] {each.error}", highlight=False, soft_wrap=True)
    console.print(f"numbers   {result.folder / 'duel.json'}", highlight=False, markup=False, soft_wrap=True)


def _cells(each: "ContenderResult") -> list[str]:
    if each.right is None:
        return ["failed", "", "", ""]
    spread = f" ± {100 * statistics.stdev(each.accuracies):.2f}" if len(set(each.accuracies)) > 1 else ""
    searched = f" + {each.search_seconds:.0f} s search" if each.search_seconds else ""
    return [
        f"{100 * statistics.fmean(each.accuracies):.2f}{spread}",
        "" if each.parameters is None else f"{each.parameters:,}",
        "" if each.size is None else f"{each.size / 1000:,.0f} KB",
        f"{each.seconds:.0f} s{searched}",
    ]


def absolute(source: str) -> str:
    """A path that stays right in other folders."""
    return str(Path(source).absolute())


def source_of(data: str, valid: str | None, test: str | None, on: str) -> "Source":
    """Raises StudyError unless `on` is valid or test."""
    from grunlock.comparison.runs import Source

    if on not in ("valid", "test"):
        raise StudyError("There is no such split to decide.", where="--on", got=on, expected="valid or test")
    apart = {
        name: None if path is None else absolute(path) for name, path in (("valid", valid), ("test", test))
    }
    return Source(absolute(data), **apart, on=on)
