"""A folder of runs on one node's own disk that is kept in a storage all nodes reach, such as s3://."""

from pathlib import Path

from grunlock.files import storage_guard
from grunlock.scale.storage import Storage
from grunlock.training.events import CheckpointWritten, EpochDone, Event

Stamp = tuple[int, int]  # time of change (ns) and bytes
# A copy may end anywhere: what a run goes on from comes after what it refers to, what says it is done last.
LAST = ("checkpoint.pt", "model.grunlock", "metrics.json")


class Mirror:
    """Copies between `folder` and `storage`. A listener of a training: at every epoch and checkpoint what has
    changed goes out.

    Links and names that begin with a dot are left out. Methods raise StorageError.
    """

    def __init__(self, folder: Path, storage: Storage) -> None:
        self.folder = folder
        self.storage = storage
        self._stored: dict[str, Stamp] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, EpochDone | CheckpointWritten):
            self.copy()

    def copy(self, without: str = "") -> None:
        """Send every file that is new or has changed, and remove what was sent and is no longer here."""
        found = _files(self.folder)
        found.pop(without, None)
        for name in sorted(found, key=_order):
            if self._stored.get(name) != found[name]:
                self.storage.upload(self.folder / name, name)
        for name in self._stored.keys() - found.keys():
            self.storage.remove(name)
        self._stored = found

    def replace(self, about: str) -> None:
        """Make the storage hold this folder and nothing else. about: without this file there is no run; it is
        the first to go and the last to come."""
        for name in [about, *self.storage.names()]:
            self.storage.remove(name)
        self._stored = {}
        self.copy(without=about)
        self.copy()

    def fetch(self) -> list[str]:
        """Bring all that is stored here. Returns the names."""
        names = self.storage.names()
        for name in names:
            file = self.folder / name
            with storage_guard(file):
                file.parent.mkdir(parents=True, exist_ok=True)
            self.storage.download(name, file)
        found = _files(self.folder)
        self._stored = {name: found[name] for name in names if name in found}
        return names


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
