"""What one task takes of a node, and how many tasks that leaves room for."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grunlock.errors import ClusterError
from grunlock.scale.cluster import Node, alive_nodes

NODES_SECONDS = 5.0  # between looks at the nodes
PATIENCE_SECONDS = 120.0  # for a node to come back after the last one was lost


@dataclass(frozen=True)
class Share:
    """Processors and GPUs of one training, parts of one allowed. It computes with as many threads as it has
    whole processors, at least one."""

    cpus: float = 1.0
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.cpus <= 0 or self.gpus < 0:
            raise ClusterError(
                "A training needs a share of a node.",
                where="--trial-cpus, --trial-gpus",
                got=f"{self.cpus:g} processors, {self.gpus:g} GPUs",
                expected="more than 0 processors",
            )

    @property
    def threads(self) -> int:
        return max(1, int(self.cpus))

    @property
    def options(self) -> dict[str, Any]:
        """Of a Ray task."""
        return {"num_cpus": self.cpus, "num_gpus": self.gpus}

    def slots(self, node: Node) -> int:
        """How many fit on a node at once."""
        fits = int(node.cpus / self.cpus)
        return min(fits, int(node.gpus / self.gpus)) if self.gpus else fits

    def usable(self, nodes: Sequence[Node]) -> tuple[Node, ...]:
        """The nodes that can hold a training. Raises ClusterError if none can."""
        found = tuple(node for node in nodes if self.slots(node))
        if not found:
            raise ClusterError(
                "No node of the cluster can hold a training.",
                got=", ".join(f"{node.host}: {node.cpus:g} processors, {node.gpus:g} GPUs" for node in nodes),
                expected=f"{self.cpus:g} processors and {self.gpus:g} GPUs on one node",
                cure="lower --trial-cpus or --trial-gpus, or add a node",
            )
        return found


class NodeWatch:
    """Says when waiting is in vain: tasks wait for a node that can hold them, also when there is none."""

    def __init__(self, share: Share, where: object) -> None:
        self._share = share
        self._where = where
        self._looked = self._usable = time.monotonic()

    def look(self) -> None:
        """Call it often. Raises ClusterError if no node could hold a training for PATIENCE_SECONDS."""
        now = time.monotonic()
        if now - self._looked < NODES_SECONDS:
            return
        self._looked = now
        if any(self._share.slots(node) for node in alive_nodes()):
            self._usable = now
        elif now - self._usable > PATIENCE_SECONDS:
            raise ClusterError(
                "No node of the cluster is left that can hold a training.",
                where=self._where,
                got=f"none for {PATIENCE_SECONDS:.0f} s",
                cure="go on when nodes are back: a study with --resume, else with the same command",
            )
