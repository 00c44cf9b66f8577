"""Whole epochs of the recipe `seed`, from tokens to optimiser steps, beside the same model in Keras.

    python benchmarks/epoch_vs_keras.py ../shared/data/sst2 --keras-python KERAS/bin/python --out sst2.json

Both train on the same texts in batches of 64 in random order, already tokenised; making batches is part of
the time, validation is not. They take turns epoch by epoch, with the same number of threads. The first
epoch of each is not counted: Keras traces in it. The ratio is Keras's seconds over ours in each round. The
Keras model is that of keras_seed_model.py.

Last, more epochs of ours are taken apart: seconds by phase, then the dearest nodes of the backward pass as
torch's profiler sees them. They are slower than the timed ones. Without --keras-python only ours runs. One
JSON document goes to --out and is the last line printed.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from grunlock import __version__
from grunlock.benchmark.processes import Worker, worker_environment
from grunlock.benchmark.ratios import ratio
from grunlock.benchmark.timing import wait_until_quiet
from grunlock.data.batches import plan_batches
from grunlock.data.prepare import prepare
from grunlock.machine import allowed_cpus, commit, machine
from grunlock.recipe import derive, read_recipe
from grunlock.training.loop import Trainer
from grunlock.training.start import build_start, data_facts

KERAS_WORKER = Path(__file__).parent / "keras_epoch_worker.py"
PROFILED_STEPS = 20
SHOWN_NODES = 12
NODE = "autograd::engine::evaluate_function: "


class PhaseClock:
    """Seconds by phase, from functions that are wrapped where they are called."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def wrap(self, owner: Any, name: str, phase: str) -> Callable[[], None]:
        """Time every call of owner.name. Returns what undoes it."""
        original = getattr(owner, name)

        def timed(*args: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return original(*args, **options)
            finally:
                self.seconds[phase] += time.perf_counter() - started

        setattr(owner, name, timed)
        return lambda: setattr(owner, name, original)


def build_trainer(data_folder: Path, work_folder: Path) -> Trainer:
    recipe = read_recipe("seed", [])
    data = prepare(data_folder, recipe, work_folder)
    batches = plan_batches(data.train.lengths, recipe.batches, recipe.seed, epoch=0)
    derived = derive(recipe, data_facts(data, len(batches)))
    return Trainer(recipe, derived, data, build_start(recipe, derived, data, None).model)


def epoch_seconds(trainer: Trainer, epoch: int) -> float:
    """One pass over train, without validation."""
    started = time.perf_counter()
    for batches in trainer.plan_epoch(epoch):
        trainer.train_step(batches)
    return time.perf_counter() - started


def phases(trainer: Trainer, epoch: int) -> dict[str, float]:
    """Seconds of one epoch by phase. A phase's time is its own: what others inside it took is taken off."""
    clock, model = PhaseClock(), trainer.model
    wrapped = [
        (type(trainer.data.train), "training_batch", "batches"),
        (model.embedding, "forward", "embedding forward"),
        (model, "forward", "model forward"),
        (torch.Tensor, "backward", "backward"),
        (trainer.optimizer, "step", "optimiser"),
        (trainer.optimizer, "zero_grad", "optimiser"),
        (trainer.clipper, "clip", "clipping"),
    ]
    wrapped += [(norm, "forward", "norms forward") for norm in model.encoder.norms]
    wrapped += [(layer, "forward", "GRU forward") for layer in model.encoder.layers]
    with ExitStack() as stack:
        for owner, name, phase in wrapped:
            stack.callback(clock.wrap(owner, name, phase))
        total = epoch_seconds(trainer, epoch)
    seconds = dict(clock.seconds)
    parts = ("embedding forward", "norms forward", "GRU forward")
    seconds["pooling and head forward"] = seconds.pop("model forward") - sum(seconds[p] for p in parts)
    seconds["everything else"] = total - sum(seconds.values())
    return {name: round(value, 4) for name, value in seconds.items()}


def backward_nodes(trainer: Trainer, epoch: int) -> dict[str, float]:
    """The dearest nodes of the backward pass, milliseconds per step."""
    steps = list(trainer.plan_epoch(epoch))[:PROFILED_STEPS]
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for batches in steps:
            trainer.train_step(batches)
    nodes = {
        event.key.removeprefix(NODE): event.cpu_time_total / 1e3 / len(steps)
        for event in profiler.key_averages()
        if event.key.startswith(NODE)
    }
    dearest = sorted(nodes.items(), key=lambda item: -item[1])[:SHOWN_NODES]
    return {name: round(milliseconds, 4) for name, milliseconds in dearest}


def take_turns(trainer: Trainer, keras: Worker | None, epochs: int) -> dict[str, Any]:
    """Epochs in turn; each side's first is kept apart."""
    ours: list[float] = []
    theirs: list[float] = []
    for epoch in range(epochs + 1):
        ours.append(epoch_seconds(trainer, epoch))
        wait_until_quiet()
        if keras is not None:
            theirs.append(keras.request(do="epoch", seed=epoch)["seconds"])
            time.sleep(1.0)  # until its threads sleep
        shown = f"   Keras {theirs[-1]:7.2f} s" if theirs else ""
        print(f"epoch {epoch}{'' if epoch else ' (not counted)'}: ours {ours[-1]:7.2f} s{shown}", flush=True)
    summary = ratio([[s] for s in theirs[1:]], [[s] for s in ours[1:]])
    return {
        "seconds": ours[1:],
        "first_seconds": ours[0],
        "median_seconds": statistics.median(ours[1:]),
        "keras_seconds": theirs[1:],
        "keras_first_seconds": theirs[0] if theirs else None,
        "keras_over_ours": None if summary is None else asdict(summary),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--keras-python", help="a Python that has keras and tensorflow")
    parser.add_argument("--epochs", type=int, default=5, help="counted ones, of each")
    parser.add_argument("--threads", type=int, default=allowed_cpus())
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        trainer = build_trainer(arguments.data, Path(folder) / "data")
        keras, about = None, None
        if arguments.keras_python:
            command = [arguments.keras_python, str(KERAS_WORKER), str(arguments.data)]
            command += ["--threads", str(arguments.threads)]
            keras = Worker(command, worker_environment(arguments.threads))
            stack.callback(keras.close)
            about = {**keras.request(do="about"), **keras.versions}
        train = trainer.data.train
        result = {
            "benchmark": "epoch_vs_keras",
            "data": arguments.data.name,
            "examples": train.num_examples,
            "tokens": int(train.lengths.sum()),
            "keras": about,
            **take_turns(trainer, keras, arguments.epochs),
            "phases_seconds": phases(trainer, arguments.epochs + 1),
            "backward_nodes_ms_per_step": backward_nodes(trainer, arguments.epochs + 2),
            "threads": arguments.threads,
            "versions": {"grunlock": __version__, "torch": torch.__version__},
            "commit": commit(),
            "machine": machine(),
        }
    for name in ("phases_seconds", "backward_nodes_ms_per_step"):
        print(name)
        for key, value in sorted(result[name].items(), key=lambda item: -item[1]):
            print(f"  {value:9.3f}  {key}")
    line = json.dumps(result)
    if arguments.out:
        arguments.out.write_text(line + "\n")
    print(line)


if __name__ == "__main__":
    main()
