"""`grunlock ablate` in pieces: which trick bought what, from records that can be added to at any time.

    python benchmarks/ablations.py run ../shared/data/sst2 --seeds 0 1 2
    python benchmarks/ablations.py run ../shared/data/sst2 --seeds 4 3      # beside it, from the other end
    python benchmarks/ablations.py table sst2

The recipe is `default` without its wide path, against `seed`; then what the wide path adds to either. One
thread, judged on the validation split. Every training is a line of benchmarks/results/ablations/SET.jsonl,
with which examples it gets right; what is there is not done again, and the table has the seeds that all
recipes have.
"""

import argparse
import base64
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from grunlock.cli.ablate import show_ablation
from grunlock.comparison.ablation import FULL, PLAIN, AblationResult, Bought, bought, measure_tricks
from grunlock.comparison.runs import SeedPlan, SeedRun, Source
from grunlock.errors import GrunlockError
from grunlock.kernels.library import native_library
from grunlock.machine import commit, machine
from grunlock.recipe import Recipe, read_recipe

RESULTS = Path(__file__).parent / "results" / "ablations"
WIDE = ("wide.training=apart", "wide.characters=true", "training.refit=false")
NETWORK_ALONE = ("wide=off", "training.refit=false")
ON = "valid"


class Records:
    """The lines of a set's file."""

    def __init__(self, name: str) -> None:
        self.path = RESULTS / f"{name}.jsonl"

    def read(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]

    def seeds_of(self, recipe: str) -> dict[int, dict[str, Any]]:
        return {record["seed"]: record for record in self.read() if record["recipe"] == recipe}

    def add(self, record: dict[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def train_missing(source: Path, seeds: Iterable[int]) -> None:
    """Seed after seed, so that whatever is there is about all recipes."""
    records = Records(source.name)
    about = {"commit": commit(), "processor": machine()["processor"]}
    for seed in seeds:

        def run(name: str, recipe: Recipe, seed: int = seed) -> list[SeedRun]:
            known = records.seeds_of(name).get(seed)
            if known is not None:
                return [_outcome(known)]
            with tempfile.TemporaryDirectory() as folder:
                plan = SeedPlan(recipe, Source(str(source), None, None, ON), Path(folder), (seed,))
                outcome = plan.train(seed)
            record = _record(name, outcome)
            records.add({**record, **about})
            print(f"{name:32} {seed}  {record['accuracy']:.4f}  {outcome.seconds:.0f} s", flush=True)
            return [outcome]

        _measure(run)


def show_table(name: str) -> None:
    records = Records(name)
    recipes = {record["recipe"] for record in records.read()}
    common: set[int] = set.intersection(*(set(records.seeds_of(recipe)) for recipe in recipes))
    if not common:
        raise SystemExit(f"{name}: no seed has all recipes yet; python benchmarks/ablations.py run ...")

    def run(recipe_name: str, recipe: Recipe) -> list[SeedRun]:
        found = records.seeds_of(recipe_name)
        if not found:
            raise GrunlockError("There is no record of it.", where=str(records.path), got=recipe_name)
        return [_outcome(found[seed]) for seed in sorted(common)]

    print(name)
    result, beyond = _measure(run)
    show_ablation(result)
    for each in beyond:
        print(
            f"{each.trick}: {100 * each.difference:+.2f} ({100 * each.low:+.2f} to {100 * each.high:+.2f}), "
            f"p = {each.p_value:.3f}, {each.size / 1000:+,.0f} KB"
        )


def _measure(run: Callable[[str, Recipe], list[SeedRun]]) -> tuple[AblationResult, list[Bought]]:
    """The ablation, and what the wide path adds to both recipes."""
    names = {FULL: "default", PLAIN: "seed"}
    recipes = {name: read_recipe(built_in, NETWORK_ALONE) for name, built_in in names.items()}
    beyond = [
        bought(
            f"wide path beside {names[name]}",
            run(f"{name}-and-wide", read_recipe(names[name], WIDE)),
            run(name, recipe),
        )
        for name, recipe in recipes.items()
    ]
    return measure_tricks(recipes[FULL], recipes[PLAIN], run, ON), beyond


def _record(name: str, outcome: SeedRun) -> dict[str, Any]:
    return {
        "recipe": name,
        "seed": outcome.seed,
        "accuracy": outcome.accuracy,
        "seconds": round(outcome.seconds, 2),
        "bytes": outcome.size,
        "parameters": outcome.parameters,
        "examples": len(outcome.right),
        "right": base64.b64encode(np.packbits(outcome.right).tobytes()).decode("ascii"),
    }


def _outcome(record: dict[str, Any]) -> SeedRun:
    packed = np.frombuffer(base64.b64decode(record["right"]), np.uint8)
    right: NDArray[np.bool_] = np.unpackbits(packed)[: record["examples"]].astype(np.bool_)
    return SeedRun(
        seed=record["seed"],
        folder=Path(),
        right=right,
        seconds=record["seconds"],
        size=record["bytes"],
        parameters=record["parameters"],
    )


def use_one_thread() -> None:
    """So that two of these beside each other do not share processors."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(1)
    library = native_library()
    if library is not None:
        library.set_num_threads(1)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run")
    running.add_argument("sources", type=Path, nargs="+")
    running.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    showing = commands.add_parser("table")
    showing.add_argument("names", nargs="+")
    options = parser.parse_args(arguments)
    if options.command == "table":
        for name in options.names:
            show_table(name)
        return
    use_one_thread()
    for source in options.sources:
        train_missing(source, options.seeds)


if __name__ == "__main__":
    main()
