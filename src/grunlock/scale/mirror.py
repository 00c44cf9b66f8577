"""A run folder on each node's own disk that is kept in a storage all nodes reach, such as s3://."""

from pathlib import Path

from grunlock.errors import RunError
from grunlock.scale.storage import Storage
from grunlock.training.events import CheckpointWritten, Event
from grunlock.training.run_folder import RunFolder


class Mirror:
    """Copies between `folder` and `storage`. A listener: at every checkpoint what has changed goes out."""

    def __init__(self, folder: Path, storage: Storage) -> None:
        self.run = RunFolder(folder)
        self.storage = storage
        self._sent: dict[Path, tuple[int, int]] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, CheckpointWritten):
            self.push()

    def check_free(self, overwrite: bool) -> None:
        """Raises RunError if a run, or anything else, is there."""
        names = self.storage.names()
        if names and not (overwrite and self.run.about.name in names):
            raise RunError(
                "The run folder is not empty.",
                where=self.storage.root,
                got=", ".join(names[:3]),
                expected="a place with nothing in it" + (", or a run to replace" if overwrite else ""),
                cure=f"choose another with -o, continue with --resume {self.storage.root}"
                + ("" if overwrite else ", or pass --overwrite"),
            )

    def check_run(self) -> None:
        """Raises RunError if there is no run to go on with."""
        if self.storage.read(self.run.about.name) is None:
            raise RunError(
                "There is no run to resume here.",
                where=self.storage.root,
                expected="a place with run.json and recipe.toml",
                cure="give the place that -o named when the run was started",
            )

    def replace(self) -> None:
        """Make the storage hold this run and nothing else. A run that was not sent whole is none."""
        about = self.run.about.name
        for name in [about, *self.storage.names()]:
            self.storage.remove(name)
        self.push(without=about)
        self.push()

    def push(self, without: str = "") -> None:
        """Send every file that is new or has changed.

        A checkpoint goes after the history up to it, and the model last, so that whenever the sending is cut
        short there is a run to go on with.
        """
        last = (self.run.checkpoint, self.run.metrics, self.run.artifact)
        files = sorted(path for path in self.run.path.rglob("*") if path.is_file() and path.name != without)
        for path in sorted(files, key=lambda path: last.index(path) + 1 if path in last else 0):
            state = path.stat().st_size, path.stat().st_mtime_ns
            if self._sent.get(path) != state and not path.name.startswith("."):
                self.storage.upload(path, path.relative_to(self.run.path).as_posix())
                self._sent[path] = state

    def pull(self) -> None:
        """Bring the run here."""
        for name in self.storage.names():
            file = self.run.path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            self.storage.download(name, file)
            self._sent[file] = file.stat().st_size, file.stat().st_mtime_ns
