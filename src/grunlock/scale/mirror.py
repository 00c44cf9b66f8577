"""A copy of a folder of runs on a storage, kept up to date while they are trained."""

from collections.abc import Mapping
from pathlib import Path

from grunlock.files import storage_guard, write_atomically
from grunlock.scale.storage import Storage
from grunlock.training.events import CheckpointWritten, EpochDone, Event

Stamp = tuple[int, int]  # time of change (ns) and bytes
# A copy may end anywhere: what a run goes on from comes after what it refers to, what says it is done last.
LAST = ("checkpoint.pt", "model.grunlock", "metrics.json")


class Mirror:
    """A listener of a training. Files that have not changed are not copied again; links are left out."""

    def __init__(self, folder: Path, storage: Storage, stored: Mapping[str, Stamp | None]) -> None:
        """stored: names on the storage, with the stamp of the same file here; None: it is not the same."""
        self._folder = folder
        self._storage = storage
        self._stored = dict(stored)

    def __call__(self, event: Event) -> None:
        if isinstance(event, EpochDone | CheckpointWritten):
            self.copy()

    def copy(self) -> None:
        """Raises StorageError."""
        found = _files(self._folder)
        for name in sorted(found, key=_order):
            if self._stored.get(name) != found[name]:
                self._storage.write(name, (self._folder / name).read_bytes())
        for name in self._stored.keys() - found.keys():
            self._storage.remove(name)
        self._stored = dict(found)


def fetch(storage: Storage, folder: Path) -> dict[str, Stamp | None]:
    """Copy all that is stored into a folder. Returns what `Mirror` takes as stored."""
    for name in storage.names():
        content = storage.read(name)
        if content is None:
            continue  # removed since
        path = folder / name
        with storage_guard(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    return dict(_files(folder))


def _files(folder: Path) -> dict[str, Stamp]:
    found = {}
    for path in folder.rglob("*"):  # does not follow links to folders
        if path.is_file() and not path.is_symlink() and not path.name.startswith("."):
            about = path.stat()
            found[path.relative_to(folder).as_posix()] = (about.st_mtime_ns, about.st_size)
    return found


def _order(name: str) -> tuple[int, str]:
    last = name.rpartition("/")[2]
    return (LAST.index(last) + 1 if last in LAST else 0), name
