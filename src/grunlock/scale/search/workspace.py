"""Where tasks on other machines write the runs of a study or duel, and how these come into its folder.

Either every node sees the folder, or each works in a folder of its own and copies runs to a shared storage at
every epoch and checkpoint, from where the next attempt and the driver fetch them.
"""

import glob
import os
import shutil
import socket
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ray

from grunlock.errors import ClusterError
from grunlock.files import alone, storage_guard, write_atomically
from grunlock.scale.cluster import Node, alive_nodes, ask_nodes
from grunlock.scale.mirror import Mirror
from grunlock.scale.storage import Storage

TOKEN = ".cluster-token"  # in the folder: names it on the shared storage, and shows who sees it
RUN = "run.json"  # of a run that has begun


@dataclass(frozen=True)
class Workspace:
    """Made by `workspace_for`, carried by every task.

    folder: absolute, in the driver's tree
    shared: an address for `Storage.at`; None: every node sees `folder`
    """

    folder: Path
    shared: str | None
    token: str

    @contextmanager
    def opened(self, name: str) -> Iterator[tuple[Path, list[Mirror]]]:
        """On a node: the folder that stands for `folder` there, with what is known of the part `name` below
        it, and the listeners that keep the copy. The part is copied at the end if the block ends well."""
        if self.shared is None:
            self._check_seen()
            with alone(
                self.folder / f".{name.replace('/', '-')}.lock"
            ):  # an attempt on a node cut off may still write
                yield self.folder, []
            return
        root = self._root_here()
        part, stored = root / name, self._stored(name)
        shutil.rmtree(part, ignore_errors=True)  # of an attempt that went on elsewhere
        mirror = Mirror(part, stored)
        mirror.fetch()
        try:
            yield root, [mirror]
            mirror.copy()
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def offer(self, name: str) -> None:
        """In the driver, before the first attempt: what the folder knows of a part is what holds. Where it
        knows nothing, a driver that was killed may have left something on the storage."""
        if self.shared is not None and any((self.folder / name).rglob(RUN)):
            part, stored = self.folder / name, self._stored(name)
            Mirror(part, stored).replace(RUN)

    def collect(self, name: str) -> None:
        """In the driver, when nobody writes any more: bring the part into the folder, in one piece."""
        if self.shared is None:
            return
        part, stored = self.folder / name, self._stored(name)
        aside = part.with_name(f".{part.name}.{uuid.uuid4().hex}")
        names = Mirror(aside, stored).fetch()
        if not names:
            return
        with storage_guard(part):
            if part.exists():
                shutil.rmtree(part)
            aside.rename(part)
        for each in names:
            stored.remove(each)

    def clear(self) -> None:
        """In the driver, at the end: what nodes have prepared for themselves goes away."""
        if self.shared is not None:
            ask_nodes(alive_nodes(), _clear_node, self)

    def here(self, path: Path, root: Path) -> Path:
        """A path below `root`, as the driver knows it."""
        return self.folder / path.relative_to(root)

    def _stored(self, name: str) -> Storage:
        assert self.shared is not None
        return Storage.at(self.shared).below(f"{self.folder.name}-{self.token}").below(name)

    def _root_here(self) -> Path:
        node = ray.get_runtime_context().get_node_id()
        return Path(tempfile.gettempdir()) / f"grunlock-{os.getuid()}" / self.token / node[:16]

    def _check_seen(self) -> None:
        path = self.folder / TOKEN
        if not path.is_file() or path.read_text(encoding="utf-8") != self.token:
            raise ClusterError(
                "A node does not see the folder of the results.",
                where=f"{self.folder} on {socket.gethostname()}",
                expected="the same folder at the same path on every node",
                cure="choose one on a shared file system with -o, or give --shared s3://BUCKET/FOLDER",
            )


def workspace_for(
    folder: Path, shared: str | None, nodes: Sequence[Node], sources: Iterable[str | None]
) -> Workspace:
    """A workspace that all nodes can use, for data that all of them see.

    folder: exists. sources: paths or patterns of the data.

    Raises ClusterError that names the node and path if one is not seen there, StorageError if the shared
    storage cannot be written from here or from a node.
    """
    folder = folder.absolute()
    path = folder / TOKEN
    if not path.is_file():
        write_atomically(path, uuid.uuid4().hex)
    found = Workspace(folder, shared, path.read_text(encoding="utf-8"))
    if shared is not None:
        Storage.at(shared).check_writable()
    wanted = {source: listed(source) for source in sources if source is not None}
    ask_nodes(nodes, _check_node, found, wanted)
    return found


def listed(source: str) -> list[tuple[str, int]]:
    """Files and their bytes that a path, folder or pattern stands for."""
    path = Path(source)
    if path.is_dir():
        paths = [each for each in path.rglob("*") if each.is_file()]
    elif path.exists():
        paths = [path]
    else:
        paths = [Path(each) for each in glob.glob(source, recursive=True)]
    return sorted((str(each), each.stat().st_size) for each in paths if each.is_file())


def _check_node(workspace: Workspace, wanted: dict[str, list[tuple[str, int]]]) -> None:
    if workspace.shared is None:
        workspace._check_seen()
    else:
        Storage.at(workspace.shared).check_writable()
    for source, files in wanted.items():
        there = listed(source)
        if there != files:
            differing = sorted(set(files) ^ set(there))[0][0]
            raise ClusterError(
                "A node does not see the same data.",
                where=f"{source} on {socket.gethostname()}",
                got=f"{len(there)} files of {sum(size for _, size in there):,} bytes; {differing} differs",
                expected=f"{len(files)} files of {sum(size for _, size in files):,} bytes",
                cure="put the data on a shared file system, or copy it to the same path on every node",
            )


def _clear_node(workspace: Workspace) -> None:
    shutil.rmtree(workspace._root_here(), ignore_errors=True)
