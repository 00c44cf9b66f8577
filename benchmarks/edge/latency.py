"""How long one text takes, from letters to probabilities: this library, its exports, torch.nn.GRU, fastText.

    python -m benchmarks.edge.latency $DATA/trec6 --run runs/trec6 --fasttext-python fasttext-env/bin/python

One thread each, the same validation texts, a process for each contender; they take turns by rounds, so that a
disturbance meets all of them. A text's time is its call's; p50 and p99 are over texts, their median and range
over rounds. Where the network can be asked alone, without tokens being made, that stands beside. torch.nn.GRU
is an embedding, a GRU of the run's sizes and a linear layer over the last states, untrained, fed by the run's
own tokeniser. fastText learns the training texts with its defaults and word pairs; without --fasttext-python
it is left out. Run on a quiet machine.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.edge.runs import RESULTS, run_of
from rich.console import Console
from rich.table import Table

from grunlock.artifact import read
from grunlock.data.texts import labelled_splits
from grunlock.machine import commit, machine
from grunlock.recipe.text_options import TextDataOptions

WORKERS = Path(__file__).parent
OURS = ("grunlock", "grunlock int8", "c", "c int8", "onnx", "onnx int8", "torch.nn.GRU")
COLUMNS = ("", "p50, µs", "range over rounds", "p99, µs", "range", "network alone, p50")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


class Worker:
    """A process that answers texts and says how long each took."""

    def __init__(self, command: list[str], given: dict[str, Any]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | ONE_THREAD
        )
        self._ask(given)

    def round(self) -> dict[str, list[float]]:
        """Seconds of each text: "whole" and, where it can be told, "network"."""
        found: dict[str, list[float]] = self._ask("go")
        return found

    def _ask(self, what: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"a contender has failed: {self._process.args}")
        return json.loads(line)

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def started(run: Path, source: Path, options: argparse.Namespace) -> dict[str, Worker]:
    """All that take part."""
    reading = read(run).recipe.data
    assert isinstance(reading, TextDataOptions)
    splits = labelled_splits(str(source), None, None, reading)
    texts = list(splits["valid"].texts)[: options.texts]
    workers = {}
    for name in OURS:
        command = [sys.executable, "-m", "benchmarks.edge.latency_worker"]
        workers[name] = Worker(command, {"name": name, "run": str(run.absolute()), "texts": texts})
    if options.fasttext_python is not None:
        train = [list(pair) for pair in zip(splits["train"].labels, splits["train"].texts, strict=True)]
        command = [str(options.fasttext_python), str(WORKERS / "fasttext_worker.py")]
        workers["fastText"] = Worker(command, {"train": train, "texts": texts})
    return workers


def measured(workers: dict[str, Worker], rounds: int) -> dict[str, Any]:
    """Of each contender p50 and p99 in microseconds, by round."""
    found: dict[str, dict[str, list[float]]] = {name: {} for name in workers}
    for _ in range(rounds):
        for name, worker in workers.items():
            for part, seconds in worker.round().items():
                for p in (50, 99):
                    value = round(1e6 * float(np.percentile(seconds, p)), 2)
                    found[name].setdefault(f"{part}_p{p}", []).append(value)
    return found


def table(found: dict[str, Any]) -> Table:
    shown = Table(*COLUMNS)
    for name, parts in sorted(found.items(), key=lambda item: float(np.median(item[1]["whole_p50"]))):
        row = [name]
        for key in ("whole_p50", "whole_p99"):
            row += [f"{np.median(parts[key]):,.0f}", f"{min(parts[key]):,.0f} to {max(parts[key]):,.0f}"]
        alone = parts.get("network_p50")
        shown.add_row(*row, "" if alone is None else f"{np.median(alone):,.0f}")
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--run", type=Path, help="a finished run; else one of two epochs is made")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--texts", type=int, default=500)
    parser.add_argument("--fasttext-python", type=Path, help="a Python that has fastText")
    parser.add_argument("--out", type=Path, default=RESULTS / "edge_latency.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = options.run or run_of(options.source, Path(folder) / "run", 0, ["--set=training.epochs=2"])
        workers = started(run, options.source, options)
        measured(workers, 1)  # warms up
        found = measured(workers, options.rounds)
        for worker in workers.values():
            worker.end()
    about = {"set": options.source.name, "rounds": options.rounds, "texts": options.texts}
    without = [] if "fastText" in found else ["fastText: no --fasttext-python"]
    record = {**about, "commit": commit(), "machine": machine(), "left_out": without, "microseconds": found}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    Console(width=120).print(table(found))
    for reason in without:
        print("left out:", reason)


if __name__ == "__main__":
    main()
