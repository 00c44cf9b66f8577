"""grunlock train"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from grunlock.cli.options import Overrides, given_besides, speaks_for_all, usual_recipes
from grunlock.errors import RunError

if TYPE_CHECKING:
    from grunlock.recipe import Recipe

console = Console()


def train_command(
    context: typer.Context,
    data: Annotated[
        str | None,
        typer.Argument(
            help="CSV, TSV, JSONL or Parquet file, a folder of them, or a pattern; for numeric series "
            "also .npz and .ts."
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            "-r",
            help="A built-in recipe, a TOML file or a run folder; else default, for .npz and .ts series.",
        ),
    ] = None,
    overrides: Overrides = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the new run; else runs/DATA-RECIPE.")
    ] = None,
    valid: Annotated[str | None, typer.Option(help="Validation file, if apart.")] = None,
    test: Annotated[str | None, typer.Option(help="Test file, if apart.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with a stopped run.")] = None,
    base: Annotated[
        Path | None, typer.Option("--from", help="Continue a trained model on new data; labels may grow.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing run.")] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write curves for it.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads to compute with.")] = None,
) -> None:
    """Train a classifier from labelled texts or numeric series into a run folder."""
    _check_usage(data, resume, given_besides(context, "resume", "tensorboard", "threads"))
    import torch

    from grunlock.training.progress import ProgressBar
    from grunlock.training.run import RunOptions, RunResult
    from grunlock.training.run import resume as resume_run
    from grunlock.training.run import train as train_run

    if threads is not None:
        torch.set_num_threads(threads)
    chosen = None if data is None else _chosen_recipe(data, recipe, base, overrides or [])
    with ProgressBar(console if speaks_for_all() else Console(quiet=True)) as bar:
        options = RunOptions(listeners=(bar,), tensorboard=tensorboard, overwrite=overwrite)
        result: RunResult
        if chosen is None:
            assert resume is not None
            result = resume_run(resume, options)
        else:
            assert data is not None
            folder = output or _default_folder(data, chosen.name)
            result = train_run(data, chosen, folder, valid=valid, test=test, base=base, options=options)
    if speaks_for_all():
        show_result(result.folder, result.metrics, result.artifact_sha256)


def show_result(folder: Path, metrics: dict[str, object], sha256: str) -> None:
    """Say how good the model is on validation and where everything lies."""
    for name in ("accuracy", "macro_f1", "nll", "ece"):
        console.print(f"valid {name:<9} {metrics[name]:.4f}", highlight=False, markup=False)
    console.print(f"run       {folder}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"model     {folder / 'model.grunlock'}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"sha256    {sha256}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"next      grunlock evaluate {folder}", highlight=False, markup=False, soft_wrap=True)


def _check_usage(data: str | None, resume: Path | None, besides: str) -> None:
    if resume is not None and besides:
        raise RunError(
            "--resume goes on exactly as the run was started.",
            got=f"beside it {besides}",
            expected="grunlock train --resume RUN",
        )
    if resume is None and data is None:
        raise RunError(
            "Training needs data.",
            expected="grunlock train DATA",
            cure="or grunlock train --resume RUN",
        )


def _default_folder(data: str, recipe_name: str) -> Path:
    """runs/DATA-RECIPE, with everything that is awkward in a file name replaced."""
    from grunlock.data.tables import table_stem

    name = f"{table_stem(Path(data).absolute())}-{recipe_name}"
    return Path("runs") / re.sub(r"[^\w.-]+", "_", name)


def _chosen_recipe(data: str, recipe: str | None, base: Path | None, overrides: list[str]) -> "Recipe":
    """A continued model keeps its own recipe unless another is named."""
    from grunlock import artifact
    from grunlock.recipe import override, read_recipe

    if recipe is not None:
        return read_recipe(recipe, overrides)
    if base is None:
        return read_recipe(usual_recipes(data)[0], overrides)
    return override(artifact.read(base).recipe, overrides)
