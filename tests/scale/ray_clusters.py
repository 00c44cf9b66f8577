"""Ray clusters of real processes on this machine: a head and nodes that can be killed."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

OBJECT_STORE = 150 * 2**20  # bytes of each node


@contextmanager
def ray_cluster(nodes: int, cpus: int = 1) -> Iterator[Any]:
    """ray.cluster_utils.Cluster: a head without processors, so that it runs no work, and `nodes` beside it.

    `cluster.address` is for --cluster. `cluster.remove_node(node, allow_graceful=False)` kills one;
    `cluster.worker_nodes` holds them.
    """
    from ray.cluster_utils import Cluster

    options = {"include_dashboard": False, "object_store_memory": OBJECT_STORE}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **options})
    try:
        for _ in range(nodes):
            cluster.add_node(num_cpus=cpus, object_store_memory=OBJECT_STORE)
        yield cluster
    finally:
        cluster.shutdown()


def working_processes(cluster: Any) -> list[int]:
    """Process ids of the workers that run a task of Ray Data now, on the nodes beside the head. Not those of
    Ray's own agents, whose node would die with them."""
    found = []
    for node in cluster.worker_nodes:
        raylet = node.all_processes["raylet"][0].process.pid
        children = Path(f"/proc/{raylet}/task/{raylet}/children").read_text().split()
        for child in map(int, children):
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                title = Path(f"/proc/{child}/cmdline").read_bytes()
                if title.startswith(b"ray::Map"):
                    found.append(child)
    return found


def training_processes(cluster: Any) -> list[int]:
    """The ids of the processes that train on the nodes of `cluster`; other clusters may run beside it."""
    raylets = {node.all_processes["raylet"][0].process.pid for node in cluster.worker_nodes}
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name = (folder / "cmdline").read_bytes()
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            continue
        if name.startswith(b"ray::RayTrainWorker") and parent in raylets:
            found.append(int(folder.name))
    return sorted(found)
