"""Requests a second and their times through Ray Serve, beside the server of one machine.

    python -m benchmarks.scale.serve                          # trains the model first, half a minute
    python -m benchmarks.scale.serve --rounds 1 --seconds 2   # whether it runs

The client is wrk, as in benchmarks.serving.throughput: one thread, connections kept alive, each asks
/v1/predict with one question of trec6 as soon as its last answer is there. The cluster is one of Ray's own
processes on this machine, with two processors for replicas. Processor time there is that of Ray Serve:
proxy, controller and replicas. Run on a quiet machine: client, server and cluster share its processors.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.serving.running import Running, arguments, cpu_seconds, keep, running, texts, trained
from benchmarks.serving.throughput import SCRIPT, WARMING_SECONDS, lone_client, summary, wrk
from rich.progress import Progress
from tests.scale.ray_clusters import ray_cluster

CONNECTIONS = (1, 16, 32)
COUNTS = (1, 2)  # workers of our own server, replicas of the cluster


@dataclass(frozen=True)
class OnCluster:
    """processes: of Ray Serve."""

    address: str
    processes: list[int]

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    @property
    def cpu_seconds(self) -> float:
        return cpu_seconds(self.processes)


@contextmanager
def alone(run: Path, workers: int) -> Iterator[Running]:
    """The server of one machine."""
    with running(run, "--workers", workers) as server:
        yield server


@contextmanager
def on_cluster(run: Path, replicas: int) -> Iterator[OnCluster]:
    """The same on a cluster that this process starts."""
    with (
        ray_cluster(nodes=1, cpus=max(COUNTS)) as cluster,
        running(run, "--cluster", cluster.address, "--replicas", replicas) as server,
    ):
        yield OnCluster(server.address, [each for each in below(os.getpid()) if is_of_serve(each)])


def below(process: int) -> list[int]:
    """The processes that it started, and these in turn."""
    found = [process]
    for each in found:
        for threads in Path(f"/proc/{each}/task").glob("*/children"):
            found.extend(map(int, threads.read_text().split()))
    return found[1:]


def is_of_serve(process: int) -> bool:
    """By the title that Ray gives its processes."""
    title = Path(f"/proc/{process}/cmdline").read_bytes()
    return title.startswith((b"ray::Serve", b"ray::Proxy"))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing: apt-get install wrk")
    run = trained(given.run, given.data)
    bodies = [json.dumps({"text": text}) for text in texts(given.data)]
    systems = [(how, count) for how in (alone, on_cluster) for count in COUNTS]
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, Progress() as progress:
        lines, script = Path(folder) / "bodies.jsonl", Path(folder) / "ask.lua"
        lines.write_text("\n".join(bodies) + "\n")
        script.write_text(SCRIPT % lines)
        task = progress.add_task("rounds", total=len(systems) * given.rounds * len(CONNECTIONS))
        for how, count in systems:
            rounds: dict[int, list[dict[str, Any]]] = {each: [] for each in CONNECTIONS}
            with how(run, count) as server:
                wrk(server, script, CONNECTIONS[-1], WARMING_SECONDS)
                for _ in range(given.rounds):
                    for connections in CONNECTIONS:
                        rounds[connections].append(wrk(server, script, connections, given.seconds))
                        progress.advance(task)
                lone = lone_client(server, bodies)
            by_connections = {str(each): summary(several) for each, several in rounds.items()}
            found[f"{how.__name__}_{count}"] = {"wrk": by_connections, "python_client": lone}
    for name, each in found.items():
        for connections, numbers in each["wrk"].items():
            rate, p50, p99 = (numbers[key] for key in ("requests_per_second", "p50_ms", "p99_ms"))
            times = f"p50 {p50:6.2f} ms  p99 {p99:6.2f} ms  errors {numbers['errors']}"
            print(f"{name:<13} {connections:>3} connections  {rate:7.0f} a second  {times}")
    keep("cluster", found)


if __name__ == "__main__":
    main()
