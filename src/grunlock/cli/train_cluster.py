"""grunlock train --cluster"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from grunlock.errors import DataError, RunError

if TYPE_CHECKING:
    from grunlock.recipe import Recipe
    from grunlock.scale.train.run import ClusterRun
    from grunlock.training.progress import ProgressBar

STREAMED_BYTES = 2**30  # of files from which on they are not read into memory, unless the user says


@dataclass(frozen=True)
class NewRun:
    """What a new run is made of; as `grunlock.training.run.train` takes it."""

    data: str
    recipe: "Recipe"
    valid: str | None
    test: str | None
    base: Path | None
    overwrite: bool


@dataclass(frozen=True)
class ClusterOptions:
    """stream: read the data in pieces, on all nodes; None: if it is large."""

    workers: int | None
    threads: int | None
    stream: bool | None
    skip_damaged_files: bool
    tensorboard: bool


def train_there(
    console: Console, address: str, place: str, new: NewRun | None, options: ClusterOptions
) -> "ClusterRun":
    """Begin a run here, or go on with the one at `place` if `new` is None, and train it on a cluster."""
    from grunlock.scale import connected
    from grunlock.scale.train.run import begin_at, check_resumable, team_of, train_on_cluster
    from grunlock.training.progress import ProgressBar

    def say(text: str) -> None:
        console.print(text, style="dim", markup=False, highlight=False, soft_wrap=True)

    streamed = new is not None and _is_streamed(new, place, options)
    with connected(address) as cluster, ProgressBar(console) as bar:
        say(f"cluster {cluster.describe()}")
        team = team_of(cluster, options.workers, options.threads)
        if new is None:
            check_resumable(cluster, place)
        else:
            make = partial(_begin_streamed, options.skip_damaged_files) if streamed else _begin
            begin_at(cluster, place, partial(make, new, bar), overwrite=new.overwrite)
        return train_on_cluster(
            cluster, place, team, listeners=(bar,), say=say, tensorboard=options.tensorboard
        )


def _is_streamed(new: NewRun, place: str, options: ClusterOptions) -> bool:
    """Raises RunError for what is asked for and cannot be streamed."""
    hindrance = None
    if "://" in place:
        hindrance = f"the run is to be at {place}, and pieces need a folder that all nodes share"
    elif new.base is not None:
        hindrance = "--from: a model's own vocabulary and labels are kept"
    wanted = options.stream if options.stream is not None else options.skip_damaged_files or None
    if wanted and hindrance is not None:
        raise RunError(
            "This training cannot read its data in pieces.",
            got=hindrance,
            expected="data in memory, or none of these",
            cure="--no-stream, without --skip-damaged-files",
        )
    if wanted is not None:
        return wanted
    return hindrance is None and new.recipe.data.kind == "text" and _bytes(new.data) > STREAMED_BYTES


def _bytes(data: str) -> int:
    """Of the data's files; 0 for what preparing will refuse in its own words."""
    from grunlock.data.sources import find_files

    try:
        return sum(path.stat().st_size for path in find_files(data))
    except (DataError, OSError):
        return 0


def _begin(new: NewRun, bar: "ProgressBar", folder: Path) -> None:
    from grunlock.training.run import RunOptions, begin

    options = RunOptions(listeners=(bar,), overwrite=new.overwrite)
    begin(new.data, new.recipe, folder, valid=new.valid, test=new.test, base=new.base, options=options)


def _begin_streamed(skip_damaged_files: bool, new: NewRun, bar: "ProgressBar", folder: Path) -> None:
    """The data is prepared beside the run, where a preparation that is killed can be gone on with."""
    from grunlock.files import storage_guard
    from grunlock.scale.stream.prepare import prepare_streamed
    from grunlock.training.events import DataProgress
    from grunlock.training.run import RunOptions, begin

    prepared = folder.parent / f".{folder.name}.data"
    prepare_streamed(
        new.data,
        new.recipe,
        prepared,
        valid=new.valid,
        test=new.test,
        skip_damaged_files=skip_damaged_files,
        progress=lambda activity, rows: bar(DataProgress(activity, rows)),
    )
    options = RunOptions(listeners=(bar,), overwrite=new.overwrite)
    begin(new.data, new.recipe, folder, valid=new.valid, test=new.test, prepared=prepared, options=options)
    data = folder / "data"
    with storage_guard(data):
        data.unlink()
        prepared.rename(data)
