"""Ray clusters of real processes on this machine: a head and nodes that can be killed."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

SOON_MISSED = {"health_check_period_ms": 1000, "health_check_failure_threshold": 3}
OBJECT_STORE = 150 * 2**20  # bytes of each node


@contextmanager
def ray_cluster(nodes: int, cpus: int = 1, *, soon_missed: bool = False) -> Iterator[Any]:
    """ray.cluster_utils.Cluster: a head without processors, so that it runs no work, and `nodes` beside it.

    `cluster.address` is for --cluster. `cluster.remove_node(node, allow_graceful=False)` kills one;
    `cluster.worker_nodes` holds them. soon_missed: the head notices within seconds, not half a minute.
    """
    from ray.cluster_utils import Cluster

    options = {"include_dashboard": False, "object_store_memory": OBJECT_STORE}
    head = {"num_cpus": 0, **options, **({"_system_config": SOON_MISSED} if soon_missed else {})}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(nodes):
            cluster.add_node(num_cpus=cpus, object_store_memory=OBJECT_STORE)
        yield cluster
    finally:
        cluster.shutdown()


def working_processes(cluster: Any, title: bytes = b"ray::Map") -> list[int]:
    """Process ids of the workers that run a task now, on the nodes beside the head. Not those of Ray's own
    agents, whose node would die with them.

    title: what theirs begin with; tasks of Ray Data, if not given
    """
    found = []
    for node in cluster.worker_nodes:
        raylet = node.all_processes["raylet"][0].process.pid
        children = Path(f"/proc/{raylet}/task/{raylet}/children").read_text().split()
        for child in map(int, children):
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                if Path(f"/proc/{child}/cmdline").read_bytes().startswith(title):
                    found.append(child)
    return found
