"""grunlock tune"""

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from grunlock.cli.crews import CLUSTER_OPTIONS, hands
from grunlock.cli.options import (
    ClusterAddress,
    Overrides,
    SharedStorage,
    Space,
    TrialCpus,
    TrialGpus,
    given_besides,
)
from grunlock.errors import RecipeError, StudyError

if TYPE_CHECKING:
    from grunlock.tuning import StudyResult, TrialRecord

console = Console()
BYTES = {"": 1, "B": 1, "KB": 1000, "MB": 1000**2, "KIB": 1024, "MIB": 1024**2}
SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
SHOWN_IMPORTANT = 5


def tune_command(
    context: typer.Context,
    data: Annotated[
        str | None, typer.Argument(help="As for train: a file, a folder of them, or a pattern.")
    ] = None,
    recipe: Space = None,
    overrides: Overrides = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the new study; else studies/DATA-RECIPE.")
    ] = None,
    valid: Annotated[str | None, typer.Option(help="Validation file, if apart.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Of the clock, for this call.")] = None,
    trials: Annotated[int | None, typer.Option(help="Of the study in all.")] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Processes side by side, 1 if not given; with --cluster trials at once, at most."
        ),
    ] = None,
    cluster: ClusterAddress = None,
    trial_cpus: TrialCpus = None,
    trial_gpus: TrialGpus = None,
    shared: SharedStorage = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(
            help="nll (calibrated loss, if none is given), accuracy or macro_f1, then perhaps size and "
            "latency; repeatable."
        ),
    ] = None,
    max_size: Annotated[str | None, typer.Option(metavar="500KB", help="Of the model file.")] = None,
    max_latency: Annotated[
        str | None, typer.Option(metavar="0.2ms", help="Of one prediction on this machine.")
    ] = None,
    sampler: Annotated[str, typer.Option(help="auto, tpe, gp or random.")] = "auto",
    pruner: Annotated[str, typer.Option(help="auto, hyperband or none.")] = "auto",
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each trial; its value is their mean.")] = 1,
    new_splits: Annotated[
        bool, typer.Option("--new-splits", help="With --seeds: each run cuts its validation split anew.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the search.")] = 0,
    storage: Annotated[
        str | None, typer.Option(help="An Optuna storage URL instead of the folder's journal.")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with a study.")] = None,
    widen: Annotated[
        Path | None,
        typer.Option(
            help="Go on beyond the ranges at whose ends this study's best values lie, in a new study."
        ),
    ] = None,
) -> None:
    """Search the ranges of a recipe within a budget of time or trials. Test splits are not looked at."""
    started = time.monotonic()  # the budget counts the seconds that torch and Optuna take to load
    from grunlock.recipe import SearchSpace, read_recipe_or_space
    from grunlock.tuning import Budget, read_study_settings, resume_study, tune, widen_study
    from grunlock.tuning.progress import SearchProgress

    budget = Budget(minutes, trials, started)
    _check_usage(context, data, resume, widen)
    with (
        hands(cluster, trial_cpus, trial_gpus, shared, most=workers) as found,
        SearchProgress(console, budget) as progress,
    ):
        crew = found.crew or workers or 1
        if resume is not None:
            result = resume_study(resume, budget, workers=crew, listen=progress)
        elif widen is not None:
            folder = output or widen.with_name(f"{widen.name}-wider")
            result = widen_study(widen, folder, budget, workers=crew, listen=progress)
        else:
            assert data is not None
            recipe = recipe or space_for(data, limited=bool(max_size or max_latency))
            space = read_recipe_or_space(recipe, overrides or [])
            if not isinstance(space, SearchSpace):
                raise RecipeError(
                    "There is nothing to search: no value of the recipe is a range.",
                    where=recipe,
                    cure="for example --set optim.lr={low=1e-4,high=1e-2,log=true}; or `grunlock train`",
                )
            folder = output or _default_folder(data, recipe)
            settings = read_study_settings(
                {
                    "name": folder.name,
                    "source": str(Path(data).absolute()),
                    "valid": None if valid is None else str(Path(valid).absolute()),
                    "sampler": sampler,
                    "pruner": pruner,
                    "seed": seed,
                    "num_seeds": seeds,
                    "new_splits": new_splits,
                    "max_size": None if max_size is None else parse_size(max_size),
                    "max_latency": None if max_latency is None else parse_seconds(max_latency),
                    "storage": storage,
                    **({"objectives": objective} if objective else {}),
                }
            )
            result = tune(settings, space, folder, budget, workers=crew, listen=progress)
    show_result(result)


def _check_usage(context: typer.Context, data: str | None, resume: Path | None, widen: Path | None) -> None:
    given = [str(value) for value in (data, resume, widen) if value is not None]
    if len(given) != 1:
        raise StudyError(
            "Give data to start a study, or --resume or --widen to go on with one.",
            got=" and ".join(given) or "none of them",
        )
    going_on = {"resume", "minutes", "trials", "workers", *CLUSTER_OPTIONS} | (
        {"widen", "output"} if widen else set()
    )
    besides = given_besides(context, *going_on)
    if data is None and besides:
        raise StudyError(
            "A study goes on as it was started.",
            got=besides,
            expected="--minutes, --trials, --workers and --cluster with its options only"
            + ("; --output with --widen" if widen else ""),
            cure="for other settings start a new study",
        )


def space_for(data: str, *, limited: bool) -> str:
    """The built-in search space where none is named."""
    from grunlock.data.series.sources import holds_series

    if holds_series(data):
        return "search_series"
    return "small" if limited else "search"


def parse_size(text: str) -> int:
    """Bytes, from "500KB", "1.5 MB" or "20000". Raises StudyError."""
    match = re.fullmatch(r"\s*([0-9.]+)\s*([A-Za-z]*)\s*", text)
    if match is None or match[2].upper() not in BYTES:
        raise StudyError("Not a size.", got=text, expected="for example 500KB, 1.5MB or 300KiB")
    return int(float(match[1]) * BYTES[match[2].upper()])


def parse_seconds(text: str) -> float:
    """Seconds, from "0.2ms", "150us" or "1s". Raises StudyError."""
    match = re.fullmatch(r"\s*([0-9.]+)\s*([a-z]+)\s*", text)
    if match is None or match[2] not in SECONDS:
        raise StudyError("Not a duration.", got=text, expected="for example 0.2ms, 150us or 1s")
    return float(match[1]) * SECONDS[match[2]]


def show_result(result: "StudyResult") -> None:
    """The best trial, the front, what mattered, what is at an edge, and where everything lies."""
    best, settings = result.best, result.settings
    counts = {
        state: sum(t.state == state for t in result.trials)
        for state in dict.fromkeys(t.state for t in result.trials)
    }
    console.print(
        f"{len(result.trials)} trials in {result.seconds:.0f} s: "
        + ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in counts.items()),
        highlight=False,
    )
    if len(settings.objectives) > 1:
        console.print(_front(result))
    console.print(f"best      trial {best.number}, {_described(best)}", highlight=False, soft_wrap=True)
    for key, value in best.values.items():
        console.print(f"          {key} = {value}", highlight=False, markup=False, soft_wrap=True)
    for found in result.at_edge:
        console.print(f"[yellow]{found.sentence}", highlight=False, soft_wrap=True)
    if result.at_edge:
        widen = f"          go on beyond: grunlock tune --widen {result.folder}"
        console.print(widen, highlight=False, markup=False, soft_wrap=True)
    if result.importance:
        important = sorted(result.importance.items(), key=lambda item: -item[1])[:SHOWN_IMPORTANT]
        shares = ", ".join(f"{key} {share:.0%}" for key, share in important)
        console.print(f"mattered  {shares}", highlight=False, soft_wrap=True)
    console.print(f"study     {result.folder}", highlight=False, markup=False, soft_wrap=True)
    console.print(
        f"model     {result.folder / 'model.grunlock'}", highlight=False, markup=False, soft_wrap=True
    )
    console.print(
        f"next      grunlock train DATA --recipe {result.folder}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def _front(result: "StudyResult") -> Table:
    table = Table(title="no trial beats these in everything")
    table.add_column("trial", justify="right")
    for name in result.settings.objectives:
        table.add_column(name, justify="right")
    for trial in result.pareto:
        cells = [
            _cell(name, value)
            for name, value in zip(result.settings.objectives, trial.objectives, strict=True)
        ]
        table.add_row(str(trial.number), *cells)
    return table


def _cell(name: str, value: float) -> str:
    if name == "size":
        return f"{value / 1000:,.0f} KB"
    return f"{1e3 * value:.3g} ms" if name == "latency" else f"{value:.4f}"


def _described(trial: "TrialRecord") -> str:
    parts = [f"{name} {value:.4f}" for name, value in trial.metrics.items()]
    if trial.size is not None:
        parts.append(_cell("size", trial.size))
    if trial.latency is not None:
        parts.append(_cell("latency", trial.latency))
    return ", ".join(parts)


def _default_folder(data: str, recipe: str) -> Path:
    name = re.sub(r"[^\w.-]+", "-", Path(data).name or Path(data).parent.name)
    return Path("studies") / f"{name}-{Path(recipe).stem}"
