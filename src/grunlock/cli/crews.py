"""Who runs the trainings of a command: this machine, or the cluster that --cluster names."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from grunlock.errors import ClusterError

if TYPE_CHECKING:
    from grunlock.comparison.runs import SeedRunner
    from grunlock.tuning import Crew

console = Console()
CLUSTER_OPTIONS = ("cluster", "trial_cpus", "trial_gpus", "shared")


@dataclass(frozen=True)
class Hands:
    """crew: of searches, in place of processes. runner: of seed runs below `folder`. None: this machine."""

    crew: "Crew | None" = None
    runner: "SeedRunner | None" = None


@contextmanager
def hands(
    cluster: str | None,
    trial_cpus: float | None,
    trial_gpus: float | None,
    shared: str | None,
    *,
    most: int | None = None,
    folder: Path | None = None,
) -> Iterator[Hands]:
    """Connected to the cluster for as long as the block lasts.

    most: trials at once. folder: of the duel or ablation.

    Raises ClusterError if it cannot be reached, or for its options without it.
    """
    if cluster is None:
        given = {"--trial-cpus": trial_cpus, "--trial-gpus": trial_gpus, "--shared": shared}
        besides = [name for name, value in given.items() if value is not None]
        if besides:
            raise ClusterError(
                "These options are of trainings on a cluster.",
                got=", ".join(besides),
                cure="add --cluster ADDRESS, or --cluster auto",
            )
        yield Hands()
        return
    from grunlock.scale import connected
    from grunlock.scale.search.crew import ClusterCrew
    from grunlock.scale.search.seed_tasks import SeedTasks
    from grunlock.scale.search.share import Share

    share = Share(1.0 if trial_cpus is None else trial_cpus, trial_gpus or 0.0)
    with connected(cluster) as found:
        console.print(f"cluster   {found.describe()}", highlight=False, markup=False, soft_wrap=True)
        runner = None if folder is None else SeedTasks(folder, share, shared)
        yield Hands(ClusterCrew(share, most, shared), runner)
