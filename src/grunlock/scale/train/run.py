"""Data-parallel training on a cluster: `begin` makes the run here, Ray Train's workers go on with it.

The run folder is the truth. Ray Train starts processes, connects them by torch.distributed and replaces those
that are lost; it is given no checkpoints and no data, and what it writes is removed.
"""

import os
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.train.torch import TorchConfig
from ray.train.v2.api.config import FailureConfig, RunConfig, ScalingConfig
from ray.train.v2.torch.torch_trainer import TorchTrainer

from grunlock.errors import ClusterError, GrunlockError, RunInterruptedError
from grunlock.scale.cluster import Cluster
from grunlock.scale.mirror import Mirror
from grunlock.scale.reach import check_shared_folder
from grunlock.scale.storage import Storage
from grunlock.scale.train.board import start_board
from grunlock.scale.train.stored_runs import ABOUT, check_no_run, check_run
from grunlock.scale.train.watch import Fit, Losses, Watch
from grunlock.scale.train.worker import Job, work
from grunlock.training.events import Listener
from grunlock.training.interruption import stop_request
from grunlock.training.run_folder import check_free, open_run

GROW_SECONDS = 300.0  # between two looks for new nodes: taking them in costs what came since a checkpoint
# Read by Ray Train from the environment of the process that starts it.
SETTINGS = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    # For a group that a lost node had a part in; then the nodes are counted anew.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "10",
}


@dataclass(frozen=True)
class Team:
    """Who trains: at most `workers` processes, each with `threads` processors."""

    workers: int
    threads: int


@dataclass(frozen=True)
class ClusterRun:
    """What a finished run on a cluster gives back. place: the run folder or its URI."""

    place: str
    metrics: dict[str, Any]  # on the validation split
    artifact_sha256: str


def team_of(cluster: Cluster, workers: int | None, threads: int | None) -> Team:
    """One process per processor, or per `threads` processors, of the cluster, unless fewer are asked for.

    Raises ClusterError if the cluster has no room for them.
    """
    threads = threads or 1
    room = sum(int(node.cpus // threads) for node in cluster.nodes)
    if room < (workers or 1):
        raise ClusterError(
            "The cluster has no room for these workers.",
            where=cluster.describe(),
            got=f"{workers or 1} x {threads} processors",
            expected=f"at most {room} workers of {threads} processors, each on one node",
            cure="fewer --workers or --threads, or more nodes",
        )
    return Team(workers or room, threads)


def is_uri(place: str) -> bool:
    return "://" in place


def begin_at(cluster: Cluster, place: str, make: Callable[[Path], None], *, overwrite: bool) -> None:
    """Make a run at `place` that every node can go on with. make: begins it in a folder of this machine.

    Raises StorageError if the place cannot be written to, ClusterError if it is a folder that a node does not
    see, RunError if something is there, and what `make` raises; the place is as it was before then.
    """
    if not is_uri(place):
        folder = Path(place).absolute()
        check_free(folder, overwrite)
        _check_parent(cluster, folder)
        make(folder)
        return
    storage = Storage.at(place)
    storage.check_writable()
    check_no_run(storage, overwrite)
    with tempfile.TemporaryDirectory(prefix="grunlock-") as temporary:
        mirror = Mirror(Path(temporary) / "run", storage)
        make(mirror.folder)
        mirror.replace(ABOUT)


def check_resumable(cluster: Cluster, place: str) -> None:
    """Raises RunError if there is no run, ClusterError or StorageError as `begin_at`."""
    if is_uri(place):
        storage = Storage.at(place)
        storage.check_writable()
        check_run(storage)
    else:
        open_run(Path(place))
        check_shared_folder(cluster, Path(place))


def _check_parent(cluster: Cluster, folder: Path) -> None:
    """Of a folder that is still to be made: the first above it that is there."""
    check_shared_folder(cluster, next(above for above in folder.parents if above.is_dir()))


def train_on_cluster(
    cluster: Cluster,
    place: str,
    team: Team,
    *,
    listeners: Sequence[Listener] = (),
    say: Callable[[str], None] = lambda text: None,
    tensorboard: bool = False,
) -> ClusterRun:
    """Train the run at `place` to its end. say: is told in words what happens to the workers.

    Raises what training raises; ClusterError if workers were lost again and again with no checkpoint in
    between; RunInterruptedError after Ctrl-C, when a checkpoint has been written.
    """
    name, mirrored = uuid.uuid4().hex[:12], is_uri(place)
    where = place if mirrored else str(Path(place).absolute())
    job = Job(where, mirrored, name, os.getcwd(), team.threads, tensorboard)
    board = start_board()
    with (
        _ray_train_settings(),
        tempfile.TemporaryDirectory(prefix="grunlock-") as own,
        stop_request() as stop,
    ):
        fit = Fit(_trainer(job, board, team, own))
        watch = Watch(
            place,
            fit,
            take=lambda: ray.get(board.take.remote()),
            ask_to_stop=lambda: ray.get(board.stop.remote()),
            listeners=listeners,
            say=say,
        )
        outcome = watch.outcome(stop)
        board.end.remote(outcome)  # a group that starts after this has nothing to do
    if isinstance(outcome, RunInterruptedError):
        raise RunInterruptedError(
            outcome.what,
            where=place,
            cure=f"go on with: grunlock train --resume {place} --cluster {cluster.address}",
        )
    if isinstance(outcome, GrunlockError):
        raise outcome
    return ClusterRun(place, outcome.metrics, outcome.artifact_sha256)


def _trainer(job: Job, board: Any, team: Team, folder: str) -> TorchTrainer:
    """folder: for what Ray Train writes on this machine.

    The weights are in the memory of processors, so the processes speak gloo. Losses are counted on the board,
    where it is known whether there was a checkpoint in between, so Ray Train has no limit of its own.
    """
    return TorchTrainer(
        work,
        train_loop_config={"job": job, "board": board},
        torch_config=TorchConfig(backend="gloo"),
        scaling_config=ScalingConfig(
            num_workers=(1, team.workers),
            resources_per_worker={"CPU": team.threads},
            elastic_resize_monitor_interval_s=GROW_SECONDS,
        ),
        run_config=RunConfig(
            name=f"grunlock-{job.name}",
            storage_path=folder,
            failure_config=FailureConfig(max_failures=-1),
            callbacks=[Losses(board)],
        ),
    )


@contextmanager
def _ray_train_settings() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in SETTINGS}
    os.environ.update(SETTINGS)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
