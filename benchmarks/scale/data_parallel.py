"""Tokens a second of one process and of several that train together, and what they send each other.

    python -m benchmarks.scale.data_parallel data.csv --recipe default --ranks 1 2 --steps 100 --repeats 5 \\
        --set batches.size=512 --out benchmarks/results/data_parallel.json

Run it in the checkout's root on a quiet machine. Processes have one thread each and speak over 127.0.0.1, as
torchrun would start them; numbers of processes take turns. A step is the whole one, optimiser included; the
first steps of every process are not timed. Written: tokens of the global batches a second (median and all
repeats), the share of a step spent in exchanges (waiting for others included), bytes that a process sends.

What it would be on N machines, by this model:

    seconds of a step = compute / N + bytes(N) / bandwidth + exchanges * latency * log2(N)

compute is a step of one process here. Of sums a ring sends 2 (N - 1) / N of their bytes, measured; of rows of
tables every machine sends N - 1 times the largest share's, counted from shares of N in real batches.
"""

import argparse
import json
import math
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from grunlock import __version__
from grunlock.data.prepare import prepare
from grunlock.data.prepared import open_prepared
from grunlock.machine import commit, machine
from grunlock.optim.parameters import group_parameters
from grunlock.parallel import Group, joined_group
from grunlock.parallel.shares import shares
from grunlock.recipe import read_recipe
from grunlock.shapes import IntArray
from grunlock.training.loop import Trainer
from grunlock.training.start import build_start, derive_for

WARM_UP_STEPS = 5
NODES = (8, 64, 512)
COUNTED_BATCHES = 3  # whose rows are counted for each number of machines
SUMMED = ("gradients", "statistics")
Record = dict[str, Any]


def trainer_of(folder: Path, recipe_name: str, settings: Sequence[str], group: Group) -> Trainer:
    recipe = read_recipe(recipe_name, list(settings))
    data = open_prepared(folder)
    derived = derive_for(recipe, data)
    return Trainer(recipe, derived, data, build_start(recipe, derived, data, None).model, group=group)


def endless_steps(trainer: Trainer) -> Iterator[list[IntArray]]:
    for epoch in count():
        yield from trainer.plan_epoch(epoch)


def measured(folder: Path, recipe_name: str, settings: Sequence[str], num_steps: int) -> Record:
    """Seconds, tokens and traffic of some steps, as this process sees them."""
    with joined_group() as group:
        trainer = trainer_of(folder, recipe_name, settings, group)
        lengths, steps = trainer.data.train.lengths, endless_steps(trainer)
        for _ in range(WARM_UP_STEPS):
            trainer.train_step(next(steps))
        before = {kind: (t.calls, t.sent_bytes, t.seconds) for kind, t in group.traffic.items()}
        tokens, started = 0, time.perf_counter()
        for _ in range(num_steps):
            batches = next(steps)
            tokens += sum(int(lengths[batch].sum()) for batch in batches)
            trainer.train_step(batches)
        seconds = time.perf_counter() - started
        traffic = {}
        for kind, now in group.traffic.items():
            calls, sent, waited = before.get(kind, (0, 0, 0.0))
            traffic[kind] = {
                "calls": (now.calls - calls) / num_steps,
                "sent_bytes": (now.sent_bytes - sent) / num_steps,
                "seconds": (now.seconds - waited) / num_steps,
            }
    return {
        "seconds_per_step": seconds / num_steps,
        "tokens_per_second": tokens / seconds,
        "traffic": traffic,
    }


def one_repeat(size: int, folder: Path, arguments: argparse.Namespace) -> Record:
    """What rank 0 of `size` processes has measured."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    common = {"WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
    command = [sys.executable, "-m", "benchmarks.scale.data_parallel", str(folder), "--worker"]
    command += ["--recipe", arguments.recipe, "--steps", str(arguments.steps)]
    command += [part for setting in arguments.set for part in ("--set", setting)]
    started = []
    for rank in range(size):
        environment = {
            **os.environ,
            **{name: str(value) for name, value in common.items()},
            "RANK": str(rank),
        }
        output = subprocess.PIPE if rank == 0 else subprocess.DEVNULL
        started.append(subprocess.Popen(command, env=environment, stdout=output, text=True))
    said, _ = started[0].communicate()
    codes = [process.wait() for process in started]
    if any(codes):
        sys.exit(f"a process of {size} failed; what it said stands above")
    record: Record = json.loads(said.splitlines()[-1])
    return record


def summary(repeats: Sequence[Record]) -> Record:
    """Medians over the repeats, and every repeat's tokens a second."""
    rates = [repeat["tokens_per_second"] for repeat in repeats]
    seconds = statistics.median(repeat["seconds_per_step"] for repeat in repeats)
    traffic = {
        kind: {name: statistics.median(r["traffic"][kind][name] for r in repeats) for name in values}
        for kind, values in repeats[0]["traffic"].items()
    }
    exchange = statistics.median(sum(t["seconds"] for t in r["traffic"].values()) for r in repeats)
    return {
        "tokens_per_second": statistics.median(rates),
        "tokens_per_second_of_repeats": rates,
        "seconds_per_step": seconds,
        "exchange_fraction": exchange / seconds,
        "traffic_per_step": traffic,
    }


def row_bytes(trainer: Trainer, size: int) -> float:
    """Bytes of ids and values that the largest of `size` shares reads of tables, mean over some batches."""
    tables = [named.parameter for named in group_parameters(trainer.model).row_tables]
    largest = []
    for batch in [step[0] for step, _ in zip(trainer.plan_epoch(0), range(COUNTED_BATCHES), strict=False)]:
        found = [0]
        for share in shares(trainer.data.train.lengths[batch], size):
            if len(share):
                trainer.optimizer.zero_grad()
                trainer.gradients.add(trainer.training_batch(batch[share], 0), 1.0, 0)
                rows = [
                    (table.grad.indices().shape[1], table.shape[1])
                    for table in tables
                    if table.grad is not None
                ]
                found.append(sum(4 * count * (1 + width) for count, width in rows))
        largest.append(max(found))
    return statistics.mean(largest)


def step_seconds(
    size: int, compute: float, sent_bytes: float, exchanges: float, bandwidth: float, latency: float
) -> float:
    """The model above. compute, latency: seconds; bandwidth: bytes a second each way."""
    return compute / size + sent_bytes / bandwidth + exchanges * latency * math.log2(size)


def projected(found: dict[int, Record], trainer: Trainer, arguments: argparse.Namespace) -> list[Record]:
    """The model's steps for NODES and every bandwidth, from what the largest group measured."""
    size = max(found)
    if size == 1 or 1 not in found:
        return []
    traffic, compute = found[size]["traffic_per_step"], found[1]["seconds_per_step"]
    summed = sum(traffic[kind]["sent_bytes"] for kind in SUMMED if kind in traffic) * size / (2 * (size - 1))
    exchanges = sum(each["calls"] for each in traffic.values())
    records = []
    for nodes in NODES:
        sent = 2 * (nodes - 1) / nodes * summed + (nodes - 1) * row_bytes(trainer, nodes)
        for gigabits in arguments.gigabits:
            latency, bandwidth = arguments.latency_us * 1e-6, gigabits * 1e9 / 8
            seconds = step_seconds(nodes, compute, sent, exchanges, bandwidth, latency)
            records.append(
                {
                    "nodes": nodes,
                    "gigabits": gigabits,
                    "sent_bytes": sent,
                    "seconds_per_step": seconds,
                    "times_one": compute / seconds,
                    "exchange_fraction": 1 - compute / nodes / seconds,
                }
            )
    return records


def show(found: dict[int, Record], model: list[Record], console: Console) -> None:
    table = Table("processes", "tokens/s", "least to most", "times one", "in exchanges", "bytes sent a step")
    for size, record in found.items():
        rates = record["tokens_per_second_of_repeats"]
        one = found[1]["tokens_per_second"] if 1 in found else math.nan
        sent = ", ".join(f"{kind} {t['sent_bytes']:,.0f}" for kind, t in record["traffic_per_step"].items())
        table.add_row(
            str(size),
            f"{record['tokens_per_second']:,.0f}",
            f"{min(rates):,.0f} to {max(rates):,.0f}",
            f"{record['tokens_per_second'] / one:.2f}",
            f"{record['exchange_fraction']:.0%}",
            sent or "none",
        )
    console.print(table)
    table = Table("machines", "Gbit/s", "bytes sent a step", "ms a step", "times one", "in exchanges")
    for record in model:
        table.add_row(
            str(record["nodes"]),
            f"{record['gigabits']:g}",
            f"{record['sent_bytes']:,.0f}",
            f"{1000 * record['seconds_per_step']:.2f}",
            f"{record['times_one']:.1f}",
            f"{record['exchange_fraction']:.0%}",
        )
    console.print(table)


def parsed(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", help="a file of labelled texts; of a worker the prepared folder")
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--set", action="append", default=[], help="an override of the recipe")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--gigabits", type=float, nargs="+", default=[1.0, 10.0, 100.0])
    parser.add_argument("--latency-us", type=float, default=50.0, help="of one message between machines")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    arguments = parsed(words)
    torch.set_num_threads(1)
    if arguments.worker:
        folder = Path(arguments.data)
        print(json.dumps(measured(folder, arguments.recipe, arguments.set, arguments.steps)))
        return
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory() as work, joined_group() as alone:
        folder = Path(work) / "data"
        prepare(arguments.data, read_recipe(arguments.recipe, arguments.set), folder)
        turns = [size for _ in range(arguments.repeats) for size in arguments.ranks]
        repeats: dict[int, list[Record]] = {size: [] for size in arguments.ranks}
        for size in track(turns, "training", console=console):
            repeats[size].append(one_repeat(size, folder, arguments))
        found = {size: summary(records) for size, records in repeats.items()}
        trainer = trainer_of(folder, arguments.recipe, arguments.set, alone)
        model = projected(found, trainer, arguments)
    show(found, model, Console())
    about = {"benchmark": "data_parallel", "grunlock": __version__, "commit": commit(), "machine": machine()}
    asked = {name: value for name, value in vars(arguments).items() if name not in ("out", "worker")}
    result = json.dumps({**about, "asked": asked, "measured": found, "model": model})
    print(result)
    if arguments.out is not None:
        arguments.out.write_text(result + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
