"""grunlock train --cluster"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from grunlock.recipe import Recipe
    from grunlock.scale.train import ClusterRun
    from grunlock.training.progress import ProgressBar


@dataclass(frozen=True)
class NewRun:
    """What a new run is made of; as `grunlock.training.run.train` takes it."""

    data: str
    recipe: "Recipe"
    valid: str | None
    test: str | None
    base: Path | None
    overwrite: bool


def train_there(
    console: Console,
    address: str,
    place: str,
    new: NewRun | None,
    *,
    workers: int | None,
    threads: int | None,
    tensorboard: bool,
) -> "ClusterRun":
    """Begin a run here, or go on with the one at `place` if `new` is None, and train it on a cluster."""
    from grunlock.scale import connected
    from grunlock.scale.train import begin_at, check_resumable, team_of, train_on_cluster
    from grunlock.training.progress import ProgressBar

    def say(text: str) -> None:
        console.print(text, style="dim", markup=False, highlight=False, soft_wrap=True)

    with connected(address) as cluster, ProgressBar(console) as bar:
        say(f"cluster {cluster.describe()}")
        team = team_of(cluster, workers, threads)
        if new is None:
            check_resumable(cluster, place)
        else:
            begin_at(cluster, place, lambda folder: _begin(new, folder, bar), overwrite=new.overwrite)
        return train_on_cluster(cluster, place, team, listeners=(bar,), say=say, tensorboard=tensorboard)


def _begin(new: NewRun, folder: Path, bar: "ProgressBar") -> None:
    from grunlock.training.run import RunOptions, begin

    options = RunOptions(listeners=(bar,), overwrite=new.overwrite)
    begin(new.data, new.recipe, folder, valid=new.valid, test=new.test, base=new.base, options=options)
