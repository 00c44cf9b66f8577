"""What the processes of a group need before they can train together: the same data, the same state.

Rank 0 alone reads sources and checkpoints. The others open what it has prepared.
"""

import platform
import time
from pathlib import Path

from grunlock.data.prepared import PreparedData, is_prepared, open_prepared
from grunlock.errors import ClusterError
from grunlock.parallel import Group
from grunlock.training.checkpoint import damaged_checkpoint, state_of
from grunlock.training.loop import Trainer
from grunlock.training.run_folder import RunFolder

VISIBLE_SECONDS = 5.0  # a network file system may show new files to other machines a little later


def shared_data(group: Group, run: RunFolder, prepared: PreparedData | None) -> PreparedData:
    """The run's data on every rank. prepared: rank 0's, None elsewhere.

    Raises ClusterError if a process does not see it, or sees another's.
    """
    fingerprint = group.from_first(None if prepared is None else prepared.fingerprint)

    def opened() -> PreparedData:
        data = prepared or _open_soon(run.data)
        if data is None or data.fingerprint != fingerprint:
            raise ClusterError(
                "A process of this training does not see the data that the first one prepared.",
                where=f"rank {group.rank} of {group.size}, on {platform.node()}",
                got=f"nothing prepared in {run.data}" if data is None else f"other data in {run.data}",
                expected="a run folder in a file system that all processes share",
                cure="choose such a folder with -o",
            )
        return data

    return group.each(opened)


def _open_soon(folder: Path) -> PreparedData | None:
    until = time.monotonic() + VISIBLE_SECONDS
    while not is_prepared(folder):
        if time.monotonic() > until:
            return None
        time.sleep(0.1)
    return open_prepared(folder)


def restore(trainer: Trainer, path: Path) -> None:
    """Go on from a checkpoint, if there is one, on every rank. Raises RunError for one of another network."""
    group = trainer.sharing.group

    def content() -> Path | bytes | None:
        if not path.is_file():
            return None
        return path if group.size == 1 else path.read_bytes()

    found = group.from_first(group.lead(content))
    if found is not None:
        group.each(lambda: _load(trainer, found, path))


def _load(trainer: Trainer, found: Path | bytes, path: Path) -> None:
    state = state_of(found, path)
    try:
        trainer.load_state_dict(state)
    except Exception as error:  # optimisers and torch raise whatever a wrong state leads them to
        raise damaged_checkpoint(path, error) from error
