"""One small cluster for the tests of this folder that kill nothing. Skips them where Ray is not installed."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.scale.ray_clusters import ray_cluster

# Ray and what it brings warn of their own future; workers import the tests' functions from here.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_worker_niceness", "0")  # beside other tests workers would wait for them
os.environ.setdefault("RAY_raylet_start_wait_time_s", "150")  # beside other tests a node starts slowly
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "scale" in item.path.parts:
            item.add_marker(pytest.mark.filterwarnings("ignore"))


@pytest.fixture(scope="package")
def two_nodes() -> Iterator[Any]:
    """A cluster with one processor on each of two nodes. It ends with these tests: its idle processes would
    slow down all that follow."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install grunlock[scale]")
    with ray_cluster(nodes=2) as cluster:
        yield cluster
