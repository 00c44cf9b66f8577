"""Model files on their way to the nodes: the command watches and tries them, an actor holds them there."""

import asyncio
import hashlib
from concurrent.futures import ThreadPoolExecutor

from grunlock.serving import ServerOptions
from grunlock.serving.served import artifact_path
from grunlock.serving.slots import Slot, Slots

NAMESPACE = "grunlock"  # of the actor
Versions = dict[str, str]  # of each model by name: the sha256 of its file
Files = dict[str, tuple[str, bytes]]  # of each model by name: its version, its content


class Models:
    """The models as the command has them: read, verified and tried here before a replica gets them.

    Raises as create_app.
    """

    def __init__(self, options: ServerOptions) -> None:
        self._slots = Slots(Slot.open(name, path, options.precision) for name, path in options.models.items())
        self._aside = ThreadPoolExecutor(1, "grunlock-reload")

    def look(self, *, always: bool = False) -> None:
        """Take files that are others than at the last look. always: also those that seem to be the same."""
        for slot in self._slots.by_name.values():
            if always or slot.has_changed():
                asyncio.run(slot.reload(self._aside))

    def files(self, known: Versions) -> Files:
        """Version and content of each model whose version is not the known one.

        A file that changed since it was tried, or went, is left for the next look: what goes out was tried.
        """
        found: Files = {}
        for name, slot in self._slots.by_name.items():
            version = slot.current.version
            if known.get(name) == version:
                continue
            file = artifact_path(slot.path)
            content = file.read_bytes() if file.is_file() else b""
            if hashlib.sha256(content).hexdigest() == version:
                found[name] = (version, content)
        return found


class Shelf:
    """An actor that holds the files of the models by name and version, for replicas that start or change.

    Nodes need not see the disk from which they come.
    """

    def __init__(self, files: Files) -> None:
        self._newest: Versions = {}
        self._files: dict[tuple[str, str], bytes] = {}
        self.put(files)

    def put(self, files: Files) -> None:
        """Version and content of models by name. Those that were there stay until `keep_newest`."""
        for name, (version, content) in files.items():
            self._newest[name] = version
            self._files[name, version] = content

    def keep_newest(self) -> None:
        """Forget files that were replaced."""
        newest = set(self._newest.items())
        self._files = {key: content for key, content in self._files.items() if key in newest}

    def newest(self) -> dict[str, bytes]:
        """The newest file of each model."""
        return {name: self._files[name, version] for name, version in self._newest.items()}

    def file(self, name: str, version: str) -> bytes | None:
        """None where this version is not held any more."""
        return self._files.get((name, version))
