"""checkpoint.pt: everything a run needs to go on as if it had never stopped.

Tensors and plain values only, read back with torch's weights-only loader: opening a checkpoint runs no
code from it.
"""

import io
import time
from pathlib import Path
from typing import Any

import torch

from grunlock.errors import RunError
from grunlock.files import atomic_file

CHECKPOINT_VERSION = 4


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Replace the checkpoint atomically. Raises StorageError; the old checkpoint stays then."""
    with atomic_file(path) as file:
        try:
            torch.save({"version": CHECKPOINT_VERSION, "state": state}, file)
        except RuntimeError as error:
            # torch's zip writer covers a refused write with a complaint of its own about positions
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """The state last written, or None if the run stopped before its first checkpoint.

    Raises RunError if the file is damaged or of another version.
    """
    return state_of(path, path) if path.is_file() else None


def state_of(file: Path | bytes, path: Path) -> dict[str, Any]:
    """The state in a checkpoint, the file or what is in it. Errors as read_checkpoint, naming the path."""
    try:
        source = io.BytesIO(file) if isinstance(file, bytes) else file
        content = torch.load(source, weights_only=True)
        version, state = content["version"], content["state"]
        if not isinstance(state, dict):
            raise TypeError(f"its state is of type {type(state).__name__}")
    except Exception as error:  # torch's reader raises whatever a damaged byte leads it to
        raise damaged_checkpoint(path, error) from error
    if version != CHECKPOINT_VERSION:
        raise RunError(
            "The checkpoint has another version.", where=path, got=version, expected=CHECKPOINT_VERSION
        )
    return state


def damaged_checkpoint(path: Path, error: Exception) -> RunError:
    """What is said about a checkpoint that cannot be read, or that does not fit its run."""
    return RunError(
        "The checkpoint is damaged.",
        where=path,
        got=str(error).partition("\n")[0],
        cure="delete it to start this run again from its first step",
    )


class CheckpointClock:
    """Says when the next checkpoint is due: every so many seconds, and every so many steps if given."""

    def __init__(self, every_seconds: float, every_steps: int | None) -> None:
        self._every_seconds = every_seconds
        self._every_steps = every_steps
        self._last = time.monotonic()

    def due(self, step: int) -> bool:
        by_steps = self._every_steps is not None and step % self._every_steps == 0
        return by_steps or time.monotonic() - self._last >= self._every_seconds

    def written(self) -> None:
        self._last = time.monotonic()
