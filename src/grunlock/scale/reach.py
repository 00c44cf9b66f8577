"""Whether every node that works sees what it will read and may write where it will write."""

import uuid
from collections.abc import Sequence
from pathlib import Path

from grunlock.errors import ClusterError, StorageError
from grunlock.files import write_atomically
from grunlock.scale.cluster import Cluster, Node, ask_nodes
from grunlock.scale.storage import Storage

SHARED_CURE = "put it where every node sees it under the same path: a shared file system"
PROBE = ".grunlock-shared-"


def check_shared_folder(cluster: Cluster, folder: Path) -> None:
    """Raises ClusterError naming a node that has work and does not see `folder` as this machine does.

    Raises StorageError if nothing can be written there.
    """
    probe = folder.absolute() / f"{PROBE}{uuid.uuid4().hex}"
    write_atomically(probe, probe.name)
    nodes = working(cluster)
    try:
        answers = ask_nodes(nodes, _content, str(probe))
    finally:
        probe.unlink(missing_ok=True)
    for node, found in zip(nodes, answers, strict=True):
        if found != probe.name:
            raise ClusterError(
                "A node of the cluster does not see the run folder.",
                where=node.host,
                got=f"nothing at {probe.parent} of what this machine wrote there",
                expected="one file system that all nodes share",
                cure="put the run on a shared file system, or write to a storage: -o s3://BUCKET/RUN",
            )


def check_nodes_reach(
    cluster: Cluster, paths: Sequence[Path], storage: Storage | None = None, known: str | None = None
) -> None:
    """Ask each node that has work.

    paths: files that must be there, as large as here
    storage, known: where nodes must be able to write, and a file that was written there from here

    Raises ClusterError, which names the node, for a file that it does not see, StorageError for a place where
    it cannot write or that is another one than here.
    """
    sizes = {path: path.stat().st_size for path in paths if path.exists()}
    content = None if storage is None or known is None else storage.read(known)
    nodes = working(cluster)
    for node, problem in zip(nodes, ask_nodes(nodes, _problem, sizes, storage, known, content), strict=True):
        if problem is None:
            continue
        place, got = problem
        kind = StorageError if storage is not None and place == storage.root else ClusterError
        raise kind(
            "A node does not see what this process sees.",
            where=f"{place} on {node.host}",
            got=got,
            cure=SHARED_CURE,
        )


def working(cluster: Cluster) -> list[Node]:
    """The nodes that have processors."""
    return [node for node in cluster.nodes if node.cpus]


def _content(path: str) -> str | None:
    file = Path(path)
    return file.read_text() if file.is_file() else None


def _problem(
    sizes: dict[Path, int], storage: Storage | None, known: str | None, content: bytes | None
) -> tuple[str, str] | None:
    """The first place that is not as it should be, and what is there."""
    for path, size in sizes.items():
        if not path.is_file():
            return str(path), "no such file"
        if path.stat().st_size != size:
            return str(path), f"{path.stat().st_size:,} bytes, {size:,} where the command runs"
    if storage is not None:
        storage.check_writable()
        if known is not None and storage.read(known) != content:
            return storage.root, f"another folder: no {known} as the command has written it"
    return None
