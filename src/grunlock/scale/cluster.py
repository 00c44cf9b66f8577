"""Connecting to a Ray cluster, and what is asked of its nodes before anything runs on them."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from grunlock._version import __version__
from grunlock.errors import ClusterError
from grunlock.scale.failures import is_lost, is_ours, told

AUTO = "auto"
CONNECT_SECONDS = 5.0  # until a port must have answered
PROBE_SECONDS = 30.0  # until Ray must have: ray.init itself waits for minutes and hears no signal
ANSWER_SECONDS = 120.0  # a node starts its first process on the way
# Asked in a process of its own, which can be ended. Says on standard error why not.
PROBE = "import sys, ray; ray.init(address=sys.argv[1], log_to_driver=False, logging_level='error')"


@dataclass(frozen=True)
class Node:
    """A machine of the cluster. memory: bytes that Ray may use there for tasks."""

    id: str
    host: str
    cpus: float
    gpus: float
    memory: int


@dataclass(frozen=True)
class Cluster:
    """A cluster this process is connected to. own: it was started here and ends with the connection."""

    address: str
    nodes: tuple[Node, ...]
    own: bool

    @property
    def cpus(self) -> int:
        return int(sum(node.cpus for node in self.nodes))

    @property
    def gpus(self) -> int:
        return int(sum(node.gpus for node in self.nodes))

    def describe(self) -> str:
        gpus = f", {self.gpus} GPUs" if self.gpus else ""
        nodes = "1 node" if len(self.nodes) == 1 else f"{len(self.nodes)} nodes"
        return f"{self.address}: {nodes}, {self.cpus} processors{gpus}"


@contextmanager
def connected(address: str = AUTO) -> Iterator[Cluster]:
    """Connect this process to a cluster, and leave it at the end of the block.

    address: HOST:PORT of a head node; ray://HOST:PORT is not needed, as every command runs on a node.
        "auto": the cluster that RAY_ADDRESS names or that runs on this machine, else one is started here,
        on all processors, for as long as the block lasts.

    Raises ClusterError if there is no cluster, or if Python, Ray or grunlock differ between this process and
    a node.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    found = _reachable(address)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error", "configure_logging": False}
    if found is None:
        ray.init(address="local", include_dashboard=False, **quiet)
    else:
        ray.init(address=found, **quiet)
    try:
        nodes = alive_nodes()
        _check_versions(nodes)
        yield Cluster(ray.get_runtime_context().gcs_address, nodes, own=found is None)
    finally:
        ray.shutdown()


def alive_nodes() -> tuple[Node, ...]:
    """The nodes as they are now, in an order of their own."""
    found = (each for each in ray.nodes() if each["Alive"])
    return tuple(
        Node(
            id=each["NodeID"],
            host=each["NodeManagerAddress"],
            cpus=each["Resources"].get("CPU", 0.0),
            gpus=each["Resources"].get("GPU", 0.0),
            memory=int(each["Resources"].get("memory", 0)),
        )
        for each in sorted(found, key=lambda each: str(each["NodeID"]))
    )


def _reachable(address: str) -> str | None:
    """The address to give to Ray; None: a cluster is to be started here."""
    if address == AUTO:
        address = os.environ.get("RAY_ADDRESS", AUTO)
    if address == AUTO:
        return AUTO if _probe(AUTO) is None else None
    _check_port(address)
    reason = _probe(address)
    if reason is not None:
        raise _unreachable(address, reason)
    return address


def _check_port(address: str) -> None:
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal():
        raise ClusterError(
            "This is no address of a cluster.",
            where="--cluster",
            got=address,
            expected="HOST:PORT of its head node, such as 10.0.0.1:6379, or auto",
        )
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(address, error) from error


def _probe(address: str) -> str | None:
    """None if a process can connect; else why not."""
    try:
        found = subprocess.run(
            [sys.executable, "-c", PROBE, address],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer of Ray in {PROBE_SECONDS:.0f} s"
    if found.returncode == 0:
        return None
    text = found.stderr.decode(errors="replace")
    if "InvalidAuthToken" in text:
        raise _refused(address)
    if "Version mismatch" in text:
        raise _other_versions(address, _versions_in(text))
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else f"exit code {found.returncode}"


def _unreachable(address: str, reason: object) -> ClusterError:
    return ClusterError(
        "The cluster cannot be reached.",
        where=address,
        got=reason,
        expected="a Ray head node that listens there",
        cure="start one with `ray start --head`, and run this command on one of the cluster's nodes",
    )


def _refused(address: str) -> ClusterError:
    return ClusterError(
        "The cluster asks for a token that this process did not give.",
        where=address,
        got="InvalidAuthToken",
        expected="the token of the cluster in ~/.ray/auth_token, and RAY_AUTH_MODE=token",
        cure="export RAY_AUTH_MODE=token; on a machine without the token copy it from the head node, where "
        "`ray get-auth-token` prints it",
    )


def _versions_in(text: str) -> str:
    lines = text[text.index("Version mismatch") :].splitlines()
    return " ".join(" ".join(lines[:5]).split())


def _other_versions(address: str, got: object) -> ClusterError:
    return ClusterError(
        "The cluster runs other versions than this process.",
        where=address,
        got=got,
        expected="the same Python, Ray and grunlock on every node",
        cure=f'install "grunlock[scale,train]=={__version__}" there and here, then start the node anew',
    )


def own_versions() -> dict[str, str]:
    """What must be the same on every node."""
    return {"python": sys.version.split()[0], "ray": ray.__version__, "grunlock": _installed_version()}


def _installed_version() -> str:
    try:
        from grunlock import _version
    except ImportError:
        return "not installed"
    return _version.__version__


def ask_nodes(nodes: Sequence[Node], question: Callable[..., Any], *arguments: object) -> list[Any]:
    """What each node answers, in the order of the nodes. question: a function of a module, which every node
    has. It takes no processor, so that busy nodes answer too.

    Raises the error of ours that a question raised, and ClusterError for a node that does not answer or
    cannot ask itself.
    """
    ask = ray.remote(num_cpus=0, max_retries=2)(question)
    asked = [
        ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)).remote(
            *arguments
        )
        for node in nodes
    ]
    node_of = dict(zip(asked, nodes, strict=True))
    _, late = ray.wait(asked, num_returns=len(asked), timeout=ANSWER_SECONDS) if asked else ([], [])
    if late:
        raise ClusterError(
            "A node of the cluster does not answer.",
            where=node_of[late[0]].host,
            got=f"nothing in {ANSWER_SECONDS:.0f} s",
            cure="see `ray status`, and take the node out of the cluster",
        )
    return [_answer(reference, node) for reference, node in node_of.items()]


def _answer(reference: Any, node: Node) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        if is_ours(error) or is_lost(error):
            raise told(error, node.host) from error
        raise ClusterError(
            "A node of the cluster cannot run grunlock.",
            where=node.host,
            got=str(error).strip().splitlines()[-1],
            cure=f'install "grunlock[scale,train]=={__version__}" there, then start the node anew',
        ) from error


def _check_versions(nodes: tuple[Node, ...]) -> None:
    """Raises ClusterError for a node where other versions run, or that does not answer."""
    here = own_versions()
    for node, there in zip(nodes, ask_nodes(nodes, _versions_there), strict=True):
        differing = [
            f"{name} {there[name]} there, {here[name]} here" for name in here if there[name] != here[name]
        ]
        if differing:
            raise _other_versions(node.host, "; ".join(differing))


def _versions_there() -> dict[str, str]:
    from grunlock.scale.cluster import own_versions as versions

    return versions()
