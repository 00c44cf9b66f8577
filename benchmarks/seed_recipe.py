"""Train one recipe with several seeds on a data set and report validation and test accuracy.

    python benchmarks/seed_recipe.py ../shared/data/sst2 --recipe seed --seeds 0 1 2 3 4 --out seed.jsonl

One JSON line per seed and a summary line last. Every call looks at the test split: log it in
benchmarks/LOG.md. The same model in Keras: benchmarks/keras_seed_model.py.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch

from grunlock import __version__
from grunlock.evaluation import evaluate_run
from grunlock.recipe import read_recipe
from grunlock.training.history import read_history
from grunlock.training.run import train


def run_seed(arguments: argparse.Namespace, seed: int) -> dict[str, object]:
    recipe = read_recipe(arguments.recipe, [*arguments.set, f"seed={seed}"])
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        result = train(arguments.data, recipe, Path(folder) / "run")
        seconds = time.monotonic() - started
        epochs = [e for e in read_history(result.folder / "history.jsonl") if e["event"] == "epoch"]
        test = None if arguments.valid_only else evaluate_run(result.folder, "test").accuracy
    return {
        "data": Path(arguments.data).name,
        "recipe": recipe.name,
        "set": arguments.set,
        "seed": seed,
        "best_epoch": max(e["epoch"] for e in epochs if e["best"]),
        "valid_accuracy": result.metrics["accuracy"],
        "valid_nll": result.metrics["nll"],
        "test_accuracy": test,
        "parameters": sum(value.size for value in result.artifact.weights.values()),
        "seconds": round(seconds, 1),
        "threads": torch.get_num_threads(),
        "grunlock": __version__,
        "torch": torch.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--recipe", default="seed")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--valid-only", action="store_true", help="do not look at the test split")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    rows = []
    for seed in arguments.seeds:
        rows.append(run_seed(arguments, seed))
        print(json.dumps(rows[-1]), flush=True)
        if arguments.out:
            arguments.out.write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary: dict[str, object] = {"data": rows[0]["data"], "recipe": rows[0]["recipe"], "seeds": len(rows)}
    for name in ("valid_accuracy", "test_accuracy", "seconds"):
        values = [float(str(row[name])) for row in rows if row[name] is not None]
        if values:
            spread = statistics.stdev(values) if len(values) > 1 else None
            summary[name] = {"mean": statistics.mean(values), "sd": spread}
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
