"""grunlock train"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from grunlock.cli.options import (
    ClusterAddress,
    Overrides,
    given_among,
    given_besides,
    speaks_for_all,
    usual_recipes,
)
from grunlock.cli.train_cluster import ClusterOptions, NewRun, train_there
from grunlock.errors import RunError

if TYPE_CHECKING:
    from grunlock.recipe import Recipe
    from grunlock.training.run import RunResult

console = Console()
ONLY_ON_A_CLUSTER = ("workers", "stream", "skip_damaged_files")


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
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="Folder of the new run; else runs/DATA-RECIPE. With --cluster a folder that all its nodes "
            "share, or a storage such as s3://BUCKET/RUN.",
        ),
    ] = None,
    valid: Annotated[str | None, typer.Option(help="Validation file, if apart.")] = None,
    test: Annotated[str | None, typer.Option(help="Test file, if apart.")] = None,
    resume: Annotated[str | None, typer.Option(help="Go on with a stopped run.")] = None,
    base: Annotated[
        Path | None, typer.Option("--from", help="Continue a trained model on new data; labels may grow.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing run.")] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write curves for it.")] = False,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Threads to compute with; with --cluster in each worker, else 1 there."),
    ] = None,
    cluster: ClusterAddress = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="With --cluster: processes that share every batch; else one a processor."),
    ] = None,
    stream: Annotated[
        bool | None,
        typer.Option(
            "--stream/--no-stream",
            help="With --cluster: read data larger than memory in pieces; else from 1 GiB on.",
        ),
    ] = None,
    skip_damaged_files: Annotated[
        bool,
        typer.Option("--skip-damaged-files", help="With --stream: leave out files that cannot be read."),
    ] = False,
) -> None:
    """Train a classifier from labelled texts or numeric series into a run folder."""
    besides = given_besides(context, "resume", "tensorboard", "threads", "cluster", "workers")
    _check_usage(data, resume, besides)
    _check_place(resume or output, cluster, given_among(context, *ONLY_ON_A_CLUSTER))
    new: NewRun | None = None
    place = resume or output or ""
    if data is not None:
        chosen = _chosen_recipe(data, recipe, base, overrides or [])
        new = NewRun(data, chosen, valid, test, base, overwrite)
        place = output or str(_default_folder(data, chosen.name))
    if cluster is None:
        result = _train_here(place, new, tensorboard, threads)
        if speaks_for_all():
            show_result(result.folder, result.metrics, result.artifact_sha256)
    else:
        options = ClusterOptions(workers, threads, stream, skip_damaged_files, tensorboard)
        there = train_there(console, cluster, place, new, options)
        show_result(there.place, there.metrics, there.artifact_sha256)


def _train_here(place: str, new: NewRun | None, tensorboard: bool, threads: int | None) -> "RunResult":
    """new: None to go on with the run at `place`."""
    import torch

    from grunlock.training.progress import ProgressBar
    from grunlock.training.run import RunOptions, resume, train

    if threads is not None:
        torch.set_num_threads(threads)
    with ProgressBar(console if speaks_for_all() else Console(quiet=True)) as bar:
        options = RunOptions(
            listeners=(bar,), tensorboard=tensorboard, overwrite=new is not None and new.overwrite
        )
        if new is None:
            return resume(place, options)
        return train(
            new.data, new.recipe, place, valid=new.valid, test=new.test, base=new.base, options=options
        )


def show_result(folder: Path | str, metrics: dict[str, object], sha256: str) -> None:
    """Say how good the model is on validation and where everything lies."""
    for name in ("accuracy", "macro_f1", "nll", "ece"):
        console.print(f"valid {name:<9} {metrics[name]:.4f}", highlight=False, markup=False)
    console.print(f"run       {folder}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"model     {folder}/model.grunlock", highlight=False, markup=False, soft_wrap=True)
    console.print(f"sha256    {sha256}", highlight=False, markup=False, soft_wrap=True)
    if "://" not in str(folder):
        console.print(f"next      grunlock evaluate {folder}", highlight=False, markup=False, soft_wrap=True)


def _check_usage(data: str | None, resume: str | None, besides: str) -> None:
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


def _check_place(place: str | None, cluster: str | None, needing_one: str) -> None:
    """needing_one: options that mean something only with a cluster."""
    if cluster is not None:
        return
    if place is not None and "://" in place:
        needing_one = f"a run at {place}"
    if needing_one:
        raise RunError(
            "This needs a cluster.",
            got=f"{needing_one} without --cluster",
            expected="--cluster ADDRESS beside it",
            cure="--cluster auto starts one on this machine",
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
