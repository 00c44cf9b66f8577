"""Memory, speed and accuracy of corpora of different size: prepared on Ray, then trained for an epoch.

    python -m benchmarks.scale.bounded_memory 2_000_000 20_000_000 --out memory.json

For each size a corpus of benchmarks/scale/corpus.py is written, prepared by a process of its own on a Ray
cluster of this machine, and trained by another. All processes are looked at twice a second:

    driver     the one that prepares
    training   the one that trains
    task       Ray workers that hold a chunk
    ray        the rest of the cluster: its servers, and workers that wait

Peaks are of the largest process of a kind and of all of a kind together, resident bytes as Linux counts them:
pages shared with others, the object store among them, count in each. The corpora are removed afterwards. Last
a table, and one JSON document with all samples goes to --out.
"""

import json
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.scale.sizes import measure_sizes, size_options
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

SETTINGS = (
    'text.tokens="words"',
    "text.vocab_size=30000",
    "embedding.size=16",
    "encoder.hidden_size=32",
    "batches.size=1024",
    "training.epochs=1",
)
SAMPLED_SECONDS = 0.5
OBJECT_STORE = 200 * 2**20  # bytes
MIB = 2**20
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Watch:
    """Resident bytes of the processes below some others, while it runs.

    roots:   process ids, and what kind these processes are
    samples: seconds since the start, and by kind the largest process and the sum
    """

    roots: dict[int, str]
    samples: list[dict[str, Any]] = field(default_factory=list)

    def look(self, seconds: float) -> None:
        found: dict[str, list[int]] = {}
        for pid, name in list(self.roots.items()):
            for kind, size in _sizes(pid, name):
                found.setdefault(kind, []).append(size)
        by_kind = {kind: [max(sizes), sum(sizes)] for kind, sizes in found.items()}
        self.samples.append({"seconds": round(seconds, 1), **by_kind})

    def peaks(self) -> dict[str, dict[str, int]]:
        """By kind: bytes of the largest process, and of all together."""
        kinds = {kind for sample in self.samples for kind in sample if kind != "seconds"}
        of = {kind: np.array([s[kind] for s in self.samples if kind in s]) for kind in sorted(kinds)}
        return {
            kind: {"largest": int(sizes[:, 0].max()), "together": int(sizes[:, 1].max())}
            for kind, sizes in of.items()
        }


def _sizes(pid: int, name: str) -> Iterator[tuple[str, int]]:
    """Kind and resident bytes of a process and of all below it, from /proc."""
    waiting = [pid]
    while waiting:
        process = Path("/proc") / str(waiting.pop())
        try:
            children = (process / "task" / process.name / "children").read_text().split()
            pages = int((process / "statm").read_text().split()[1])
            title = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
        waiting += [int(child) for child in children]
        working = title.startswith("ray::Map")
        yield name if process.name == str(pid) else "task" if working else "ray", pages * PAGE


@contextmanager
def watching(watch: Watch) -> Iterator[None]:
    stop, started = threading.Event(), time.monotonic()

    def loop() -> None:
        while not stop.wait(SAMPLED_SECONDS):
            watch.look(time.monotonic() - started)

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        watch.look(time.monotonic() - started)


def prepare_there(corpus: Path, folder: Path, address: str, out: Path) -> None:
    """Prepare the corpus on the cluster, in this process."""
    from grunlock.recipe import read_recipe
    from grunlock.scale import connected
    from grunlock.scale.stream.prepare import prepare_streamed

    with connected(address):
        started = time.monotonic()
        data = prepare_streamed(corpus, read_recipe("tiny", list(SETTINGS)), folder)
        seconds = time.monotonic() - started
    sizes = {"train": data.train.num_examples, "valid": data.valid.num_examples}
    out.write_text(json.dumps({"seconds": seconds, "splits": sizes, "notes": list(data.notes)}))


def train_there(corpus: Path, folder: Path, run: Path, out: Path) -> None:
    """Train on the prepared folder, in this process, and score the test split."""
    from grunlock.data import open_prepared
    from grunlock.evaluation.splits import runtime_forward, split_logits
    from grunlock.recipe import read_recipe
    from grunlock.training.run import train

    started = time.monotonic()
    result = train(corpus, read_recipe("tiny", list(SETTINGS)), run, prepared=folder)
    seconds = time.monotonic() - started
    test = open_prepared(folder).test
    assert test is not None  # cut from the corpus
    network = result.artifact.network("float32")
    logits, targets = split_logits(runtime_forward(network), test, len(result.artifact.labels))
    accuracy = float((logits.argmax(axis=1) == targets).mean())
    out.write_text(json.dumps({"seconds": seconds, "accuracy": accuracy, "tested": len(targets)}))


def in_a_process(watch: Watch, kind: str, work: Callable[..., None], *arguments: Any) -> Any:
    """What `work` writes to its last argument, a file; watched from its start to its end."""
    out = arguments[-1]
    process = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    process.start()
    assert process.pid is not None  # it has been started
    watch.roots[process.pid] = kind
    with watching(watch):
        process.join()
    if process.exitcode != 0:
        raise SystemExit(f"{kind} ended with exit code {process.exitcode}")
    return json.loads(out.read_text())


def measure(
    num_texts: int, folder: Path, address: str, roots: dict[int, str], tell: Callable[[str], None]
) -> Any:
    """One size, whose corpus is in the folder. roots: processes of the cluster."""
    tell(f"{num_texts:,} texts: preparing")
    preparing, training = Watch(dict(roots)), Watch({})
    data = folder / "data"
    prepared = in_a_process(
        preparing, "driver", prepare_there, folder / "corpus", data, address, folder / "prepared.json"
    )
    stored = sum(path.stat().st_size for path in data.rglob("*") if path.is_file())
    tell(f"{num_texts:,} texts: training")
    trained = in_a_process(
        training, "training", train_there, folder / "corpus", data, folder / "run", folder / "trained.json"
    )
    return {
        "texts": num_texts,
        "corpus_bytes": sum(path.stat().st_size for path in (folder / "corpus").iterdir()),
        "prepared_bytes": stored,
        "prepare": prepared | {"texts_per_second": num_texts / prepared["seconds"]},
        "train": trained | {"texts_per_second": prepared["splits"]["train"] / trained["seconds"]},
        "peaks": preparing.peaks() | training.peaks(),
        "samples": {"prepare": preparing.samples, "train": training.samples},
    }


@contextmanager
def cluster(cpus: int) -> Iterator[tuple[str, dict[int, str]]]:
    """A Ray cluster of one node on this machine: its address, and its processes."""
    from ray.cluster_utils import Cluster

    node = {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": OBJECT_STORE}
    started = Cluster(initialize_head=True, head_node_args=node)
    try:
        processes = [each.process.pid for of in started.head_node.all_processes.values() for each in of]
        yield started.address, dict.fromkeys(processes, "ray")
    finally:
        started.shutdown()


def show(results: list[Any]) -> None:
    table = Table("texts", "prepare", "train", "texts/s", "accuracy", "driver", "task", "ray", "training")
    for found in results:
        peaks = {kind: f"{peak['largest'] / MIB:,.0f} MiB" for kind, peak in found["peaks"].items()}
        table.add_row(
            f"{found['texts']:,}",
            f"{found['prepare']['seconds']:.0f} s",
            f"{found['train']['seconds']:.0f} s",
            f"{found['prepare']['texts_per_second']:,.0f}, {found['train']['texts_per_second']:,.0f}",
            f"{found['train']['accuracy']:.2%}",
            *(peaks.get(kind, "-") for kind in ("driver", "task", "ray", "training")),
        )
    Console(width=140).print(table)


def _describe(shown: Progress, task: TaskID, activity: str) -> None:
    shown.reset(task, description=activity)


def main() -> None:
    options = size_options(__doc__)
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()

    def measured(num_texts: int, folder: Path) -> dict[str, Any]:
        with cluster(options.cpus) as (address, roots), Progress(*columns, transient=True) as shown:
            task = shown.add_task("")
            found: dict[str, Any] = measure(
                num_texts, folder, address, roots, partial(_describe, shown, task)
            )
            return found

    measure_sizes(options, SETTINGS, measured, show)


if __name__ == "__main__":
    main()
