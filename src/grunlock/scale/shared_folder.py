"""Whether every node sees the same folder."""

import uuid
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from grunlock.errors import ClusterError
from grunlock.files import write_atomically
from grunlock.scale.cluster import Cluster
from grunlock.scale.failures import told

PROBE = ".grunlock-shared-"
PROBE_SECONDS = 60.0


def check_shared(cluster: Cluster, folder: Path) -> None:
    """Raises ClusterError naming a node that has work and does not see `folder` as this machine does.

    Raises StorageError if nothing can be written there.
    """
    probe = folder.absolute() / f"{PROBE}{uuid.uuid4().hex}"
    write_atomically(probe, probe.name)
    try:
        ask = ray.remote(num_cpus=0, max_retries=2)(_content)
        asked = {
            ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)).remote(
                str(probe)
            ): node.host
            for node in cluster.nodes
            if node.cpus
        }
        ready, late = ray.wait(list(asked), num_returns=len(asked), timeout=PROBE_SECONDS)
        if late:
            raise ClusterError("A node of the cluster does not answer.", where=asked[late[0]])
        for reference in ready:
            _check_answer(reference, asked[reference], probe)
    finally:
        probe.unlink(missing_ok=True)


def _check_answer(reference: "ray.ObjectRef[str | None]", host: str, probe: Path) -> None:
    try:
        found = ray.get(reference)
    except ray.exceptions.RayError as error:
        raise told(error, host) from error
    if found != probe.name:
        raise ClusterError(
            "A node of the cluster does not see the run folder.",
            where=host,
            got=f"nothing at {probe.parent} of what this machine wrote there",
            expected="one file system that all nodes share",
            cure="put the run on a shared file system, or write to a storage: -o s3://BUCKET/RUN",
        )


def _content(path: str) -> str | None:
    file = Path(path)
    return file.read_text() if file.is_file() else None
