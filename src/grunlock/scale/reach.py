"""Whether every node that works sees what it will read and may write where it will write."""

from collections.abc import Sequence
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from grunlock.errors import ClusterError, StorageError
from grunlock.scale.cluster import Cluster
from grunlock.scale.failures import told
from grunlock.scale.storage import Storage

SHARED_CURE = "put it where every node sees it under the same path: a shared file system"


def check_nodes_reach(
    cluster: Cluster, paths: Sequence[Path], storage: Storage | None = None, known: str | None = None
) -> None:
    """Ask each node that has processors.

    paths: files that must be there, as large as here
    storage, known: where nodes must be able to write, and a file that was written there from here

    Raises ClusterError, which names the node, for a file that it does not see, StorageError for a place where
    it cannot write or that is another one than here.
    """
    sizes = {path: path.stat().st_size for path in paths if path.exists()}
    content = None if storage is None or known is None else storage.read(known)
    ask = ray.remote(num_cpus=0, max_retries=2)(_problem)
    for node in cluster.nodes:
        if not node.cpus:
            continue
        there = ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False))
        try:
            problem = ray.get(there.remote(sizes, storage, known, content))
        except ray.exceptions.RayError as error:
            raise told(error, node.host) from error
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
