"""What Ray raises, in our words."""

from ray import exceptions

from grunlock.errors import ClusterError, GrunlockError

MEMORY_CURE = "fewer workers to a node, a smaller batch, or nodes with more memory"


def told(error: exceptions.RayError, where: object) -> GrunlockError:
    """The error of ours that a task raised, or one that says how its worker or node ended."""
    cause: Exception = error
    while isinstance(cause, exceptions.RayTaskError) and isinstance(cause.cause, Exception):
        cause = cause.cause
    if isinstance(cause, GrunlockError):
        return cause
    if isinstance(cause, exceptions.OutOfMemoryError | MemoryError):
        return ClusterError(
            "A worker ran out of memory and was ended by its node.",
            where=where,
            got=_first_line(cause),
            cure=MEMORY_CURE,
        )
    if isinstance(cause, exceptions.NodeDiedError | exceptions.ObjectLostError):
        return ClusterError("A node of the cluster was lost.", where=where, got=_first_line(cause))
    if isinstance(cause, exceptions.WorkerCrashedError | exceptions.ActorDiedError):
        return ClusterError(
            "A worker ended without a word.",
            where=where,
            got=_first_line(cause),
            expected="a worker that is not killed; the system kills the one that takes too much memory",
            cure=MEMORY_CURE,
        )
    return ClusterError("A task of the cluster failed.", where=where, got=f"{type(cause).__name__}: {cause}")


def is_lost(error: exceptions.RayError) -> bool:
    """Whether a task ended with its worker or node, so that it may end well elsewhere."""
    return isinstance(
        error,
        exceptions.WorkerCrashedError
        | exceptions.NodeDiedError
        | exceptions.ObjectLostError
        | exceptions.OutOfMemoryError
        | exceptions.LocalRayletDiedError,
    )


def is_ours(error: exceptions.RayError) -> bool:
    """Whether `told` has words for it. Else a task raised what nobody expects: a fault to be seen."""
    if not isinstance(error, exceptions.RayTaskError):
        return True
    return isinstance(error.cause, GrunlockError | MemoryError | exceptions.RayError)


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
