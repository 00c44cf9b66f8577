"""What the server tells Prometheus.

Counts and histograms are those of all workers together where there are several (prometheus_client keeps them
in files then, in the folder of PROMETHEUS_MULTIPROC_DIR); what stands in Standing is that of the worker that
answers.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from grunlock.serving.slots import Slots

SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
EXAMPLES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
STATM = Path("/proc/self/statm")


class Metrics:
    """Of one application. queued, streams: numbers as they are at the moment."""

    def __init__(self, slots: Slots, queued: Callable[[], int], streams: Callable[[], int]) -> None:
        self._counted = CollectorRegistry()
        self._requests = Counter(
            "grunlock_requests", "Requests by route and status.", ["route", "status"], registry=self._counted
        )
        self._seconds = Histogram(
            "grunlock_request_seconds",
            "From a request's headers to its answer.",
            ["route"],
            buckets=SECONDS,
            registry=self._counted,
        )
        self._batches = Histogram(
            "grunlock_batch_examples",
            "Examples in one pass of the classifier.",
            buckets=EXAMPLES,
            registry=self._counted,
        )
        self._standing = CollectorRegistry()
        self._standing.register(Standing(slots, queued, streams))
        self._of_route: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    def request(self, route: str, status: int, seconds: float) -> None:
        """One more. Routes are those of the application, so that there are few."""
        found = self._of_route.get((route, status))
        if found is None:
            found = self._requests.labels(route, str(status)), self._seconds.labels(route)
            self._of_route[route, status] = found
        found[0].inc()
        found[1].observe(seconds)

    def batch(self, examples: int) -> None:
        """One more."""
        self._batches.observe(examples)

    def text(self) -> bytes:
        """In the format of Prometheus."""
        counted = self._counted
        if SHARED_FOLDER in os.environ:
            counted = CollectorRegistry()
            MultiProcessCollector(counted)  # type: ignore[no-untyped-call]
        return generate_latest(counted) + generate_latest(self._standing)


class Standing(Collector):
    """What is true at the moment of the question, in this worker."""

    def __init__(self, slots: Slots, queued: Callable[[], int], streams: Callable[[], int]) -> None:
        self._slots = slots
        self._queued = queued
        self._streams = streams

    def collect(self) -> Iterator[Metric]:
        worker = str(os.getpid())
        for name, help_text, value in (
            ("grunlock_queued_examples", "Examples that wait for the classifier.", self._queued()),
            ("grunlock_streams", "Streams that are open.", self._streams()),
            ("grunlock_resident_memory_bytes", "Memory of the process.", resident_bytes()),
        ):
            if value is not None:
                gauge = GaugeMetricFamily(name, help_text, labels=["worker"])
                gauge.add_metric([worker], value)
                yield gauge
        model = GaugeMetricFamily(
            "grunlock_model", "1 for the version that is served.", labels=["worker", "model", "version"]
        )
        refused = GaugeMetricFamily(
            "grunlock_refused_file", "1 while the newest model file was refused.", labels=["worker", "model"]
        )
        reloads = CounterMetricFamily(
            "grunlock_reloads", "Looks at a model file.", labels=["worker", "model", "outcome"]
        )
        for name, slot in self._slots.by_name.items():
            model.add_metric([worker, name, slot.current.version], 1)
            refused.add_metric([worker, name], 0 if slot.fault is None else 1)
            for outcome, count in slot.reloads.items():
                reloads.add_metric([worker, name, outcome], count)
        yield from (model, refused, reloads)


def resident_bytes() -> int | None:
    """None where the system does not tell (it is Linux that does)."""
    if not STATM.exists():
        return None
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
