"""Finding the processes that this one trains with: torch.distributed's, or those that torchrun started."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from torch import distributed as dist

from grunlock.errors import ClusterError
from grunlock.parallel.group import ALONE, Group, Ranks

STEP_LIMIT = timedelta(minutes=10)  # longer than writing a checkpoint, which the others wait for
PATIENCE = timedelta(hours=12)  # of those who wait for data to be prepared, or for a wide path
TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@contextmanager
def joined_group(step_limit: timedelta = STEP_LIMIT, patience: timedelta = PATIENCE) -> Iterator[Group]:
    """The group of this process inside: ALONE, unless torch.distributed is in use or torchrun started it.

    It exchanges tensors of the CPU, where the weights are, so it speaks gloo whatever the default group does.
    A default group that is made here stays, for the next training of the process: a second one at the same
    address would meet what the first has left there.

    Raises ClusterError if the others do not come within step_limit, or the first of them ends.
    """
    _begin(step_limit)
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        yield ALONE
    else:
        with _ranks(step_limit, patience) as ranks:
            yield ranks


@contextmanager
def _ranks(step_limit: timedelta, patience: timedelta) -> Iterator[Ranks]:
    try:
        steps = dist.new_group(backend="gloo", timeout=step_limit)
        patient = dist.new_group(backend="gloo", timeout=patience)
    except RuntimeError as error:
        raise _apart(error) from error
    try:
        yield Ranks(steps, patient, step_limit)
    finally:
        for group in (steps, patient):
            dist.destroy_process_group(group)


def _begin(limit: timedelta) -> None:
    """Start torch.distributed if torchrun asks for it and nobody has."""
    if not dist.is_available() or dist.is_initialized() or not all(name in os.environ for name in TORCHRUN):
        return
    try:
        if int(os.environ["WORLD_SIZE"]) > 1:
            dist.init_process_group("gloo", timeout=limit)
    except (RuntimeError, ValueError) as error:
        raise _apart(error) from error


def _apart(error: Exception) -> ClusterError:
    settings = ", ".join(f"{name}={os.environ[name]}" for name in TORCHRUN if name in os.environ)
    return ClusterError(
        "The processes of this training do not find each other.",
        where=settings or "torch.distributed",
        got=str(error).partition("\n")[0],
        cure="see that every process was started, and that MASTER_ADDR can be reached from each of them",
    )
