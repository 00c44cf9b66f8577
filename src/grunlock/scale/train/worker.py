"""One process of a training on a cluster: what Ray Train starts on the nodes.

Every start, the first one too, goes on with the run as its folder says. Knows no recovery: a process that is
lost ends the group, Ray Train starts another one, and that goes on from the last checkpoint.
"""

import os
import shutil
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from ray import train as ray_train
from torch import distributed

from grunlock.errors import ClusterError, GrunlockError
from grunlock.scale.failures import MEMORY_CURE
from grunlock.scale.mirror import Mirror
from grunlock.scale.storage import Storage
from grunlock.scale.train.board import Finished, GroupStarted, Reporter
from grunlock.training.events import Listener
from grunlock.training.interruption import StopRequest
from grunlock.training.run import RunOptions, RunResult, resume


@dataclass(frozen=True)
class Job:
    """What every process is told.

    place: the run folder, on a file system that all nodes share, or the URI of a storage
    mirrored: place is a URI, and each node works in a copy of its own
    name: of the copies, new for every command
    started_in: the folder of the command, which paths in a recipe are relative to
    threads: to compute with, in each process
    """

    place: str
    mirrored: bool
    name: str
    started_in: str
    threads: int
    tensorboard: bool


def work(config: dict[str, Any]) -> None:
    """Train, as one rank of the group that Ray Train has made. config: job, a Job; board.

    The outcome goes to the board. Raises ClusterError, which Ray Train answers with another start, if another
    process of the group is lost.
    """
    job, board = config["job"], config["board"]
    if ray.get(board.ended.remote()):
        return  # this start answers to an end that only the others of the group took for a loss
    torch.set_num_threads(job.threads)
    if Path(job.started_in).is_dir():
        os.chdir(job.started_in)
    try:
        result = _trained(job, board)
    except ClusterError:
        raise
    except GrunlockError as error:
        ray.get(board.end.remote(error))
    except MemoryError as error:
        ray.get(board.end.remote(_out_of_memory(error)))
    except Exception as error:  # a fault of the program: trying again would meet it again
        ray.get(board.end.remote(_failed(error)))
    else:
        if result is not None:
            ray.get(board.end.remote(result))


def _trained(job: Job, board: Any) -> Finished | None:
    """The result, of rank 0."""
    rank = ray_train.get_context().get_world_rank()
    nodes = _nodes_of_ranks()
    if rank == 0:
        ray.get(board.tell.remote([GroupStarted(len(nodes), len(set(nodes)))]))
    stop = StopRequest()
    reporter = Reporter(board, stop)
    if not job.mirrored:
        result = _resumed(job, rank, Path(job.place), [reporter], stop)
        return Finished(result.metrics, result.artifact_sha256) if rank == 0 else None
    with _copied(job, rank, nodes) as mirror:
        result = _resumed(job, rank, mirror.folder, [mirror, reporter], stop)
        if rank > 0:
            return None
        mirror.copy()
        return Finished(result.metrics, result.artifact_sha256)


def _resumed(job: Job, rank: int, folder: Path, listeners: list[Listener], stop: StopRequest) -> RunResult:
    """Only rank 0 tells and writes."""
    if rank > 0:
        return resume(folder, RunOptions(stop=stop))
    return resume(folder, RunOptions(listeners, tensorboard=job.tensorboard, stop=stop))


@contextmanager
def _copied(job: Job, rank: int, nodes: list[str]) -> Iterator[Mirror]:
    """The run on this node's own disk, where its first rank brings it."""
    mirror = Mirror(_copy(job, nodes[rank]), Storage.at(job.place))
    first_of_node = nodes.index(nodes[rank]) == rank
    try:
        if first_of_node:
            shutil.rmtree(mirror.folder, ignore_errors=True)
            mirror.fetch()
        if len(nodes) > 1:
            with _with_others():
                distributed.barrier()
        yield mirror
    finally:
        if first_of_node:
            shutil.rmtree(mirror.folder, ignore_errors=True)


def _nodes_of_ranks() -> list[str]:
    """The node of each rank."""
    own = ray.get_runtime_context().get_node_id()
    size = ray_train.get_context().get_world_size()
    if size == 1:
        return [own]
    nodes: list[Any] = [None] * size
    with _with_others():
        distributed.all_gather_object(nodes, own)
    return nodes


@contextmanager
def _with_others() -> Iterator[None]:
    """Raises ClusterError for what torch.distributed raises when another process is lost."""
    try:
        yield
    except RuntimeError as error:
        raise ClusterError(
            "Another process of this training was lost.", where=_where(), got=str(error).partition("\n")[0]
        ) from error


def _copy(job: Job, node: str) -> Path:
    """The folder of this node's copy, below Ray's own folder for temporary files."""
    session = Path(ray_train.get_context().get_storage().local_working_directory)
    return session / f"grunlock-{job.name}-{node[:16]}"


def _out_of_memory(error: MemoryError) -> ClusterError:
    return ClusterError(
        "A worker ran out of memory.", where=_where(), got=str(error) or "MemoryError", cure=MEMORY_CURE
    )


def _failed(error: Exception) -> ClusterError:
    return ClusterError("A worker failed.", where=_where(), got="".join(traceback.format_exception(error)))


def _where() -> str:
    return f"{ray.util.get_node_ip_address()}, rank {ray_train.get_context().get_world_rank()}"
