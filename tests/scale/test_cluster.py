"""Connecting to clusters that are there, that are not, and that are not what they should be."""

import socket
from typing import Any

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install grunlock[scale]")

from grunlock.errors import ClusterError
from grunlock.scale import cluster as clusters
from grunlock.scale import connected


def test_nodes_of_a_cluster(two_nodes: Any) -> None:
    with connected(two_nodes.address) as cluster:
        assert cluster.cpus == 2
        assert len(cluster.nodes) == 3  # the head has no processors
        assert not cluster.own
        assert cluster.describe() == f"{two_nodes.address}: 3 nodes, 2 processors"


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1", "127.0.0.1:port", ":", "127.0.0.1:-1"])
def test_no_address(address: str) -> None:
    with pytest.raises(ClusterError, match="This is no address of a cluster"), connected(address):
        pass


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:99999", "no.such.host.invalid:6379"])
def test_nobody_listens(address: str) -> None:
    with pytest.raises(ClusterError, match="cannot be reached") as caught, connected(address):
        pass
    assert caught.value.where == address
    assert "ray start --head" in str(caught.value.cure)


def test_somebody_else_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "PROBE_SECONDS", 3.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ClusterError, match="cannot be reached") as caught, connected(address):
            pass
    assert "no answer of Ray" in str(caught.value.got)


def test_a_cluster_that_asks_for_a_token(two_nodes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "Failed to get cluster ID from GCS server: Unauthenticated: RPC error: InvalidAuthToken: missing"
    monkeypatch.setattr(clusters, "PROBE", f"import sys; sys.exit({said!r})")
    with pytest.raises(ClusterError, match="asks for a token") as caught, connected(two_nodes.address):
        pass
    assert "RAY_AUTH_MODE=token" in str(caught.value.cure)


def test_other_versions_on_a_node(two_nodes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "own_versions", lambda: {"python": "3.99.1", "ray": "1", "grunlock": "9"})
    with pytest.raises(ClusterError, match="runs other versions") as caught, connected(two_nodes.address):
        pass
    assert "3.99.1 here" in str(caught.value.got)


def out_of_memory() -> None:
    raise MemoryError("no room for 9 GB")


def test_a_node_without_memory_is_not_one_without_grunlock(two_nodes: Any) -> None:
    with (
        connected(two_nodes.address) as cluster,
        pytest.raises(ClusterError, match="ran out of memory") as told,
    ):
        clusters.ask_nodes(cluster.nodes[:1], out_of_memory)
    assert told.value.where == cluster.nodes[0].host
    assert "more memory" in str(told.value.cure)
