"""How promises are kept on a real set: coverage and size of sets, share and error of answers.

    python benchmarks/promises.py shared/data/trec6/train.tsv.gz --epochs 8

A model is trained once, on a part of one file. The part cut off as test is drawn again and again into
calibration and new examples, so that both are exchangeable and only the promises are judged. A published test
split is not read. The last line printed is JSON.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from grunlock.artifact import read
from grunlock.data import open_prepared
from grunlock.evaluation.splits import runtime_forward, split_logits
from grunlock.objectives.calibration import fit_temperature
from grunlock.objectives.conformal import abstention_scores, set_scores
from grunlock.recipe import read_recipe
from grunlock.training.guarantees import find_guarantees
from grunlock.training.run import train

SETTINGS = ("data.valid_fraction=0.1", "data.test_fraction=0.4")


def logits_of(source: Path, recipe: str, epochs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Logits of validation; logits and targets of the part to draw from; the temperature of validation."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        train(source, read_recipe(recipe, [*SETTINGS, f"training.epochs={epochs}"]), run)
        data, artifact = open_prepared(run / "data"), read(run)
        assert data.test is not None
        forward, classes = runtime_forward(artifact.network()), len(data.labels)
        valid, valid_targets = split_logits(forward, data.valid, classes)
        pool, targets = split_logits(forward, data.test, classes)
    return valid, pool, targets, fit_temperature(valid, valid_targets)


def kept(valid: np.ndarray, pool: np.ndarray, targets: np.ndarray, temperature: float, size: int,
         draws: int) -> dict[str, dict[str, float]]:  # fmt: skip
    """Means over the drawings, by promise."""
    rng = np.random.default_rng(0)
    found: dict[str, list[Sequence[float]]] = {}
    for _ in range(draws):
        order = rng.permutation(len(pool))
        seen, new = order[:size], order[size:]
        promises = find_guarantees(valid, pool[seen], targets[seen], temperature)
        for method, quantiles in promises.quantiles.items():
            for coverage, quantile in quantiles.items():
                members = promises.sets(pool[new], coverage, method)
                scores = set_scores(method, coverage, members, targets[new], quantile)
                found.setdefault(f"{method} {coverage}", []).append((scores.coverage, scores.mean_size))
        correct = pool.argmax(axis=1) == targets
        for rate, threshold in promises.thresholds.items():
            answered = None if threshold is None else promises.answered(pool[new], rate)
            scores = abstention_scores(rate, answered, correct[new])
            broken = scores.error is not None and scores.error > rate
            found.setdefault(f"error {rate}", []).append(
                (float(scores.can_promise), scores.answered_fraction, scores.error or 0.0, float(broken))
            )
    return {name: _means(name, rows) for name, rows in found.items()}


def _means(name: str, rows: list[Sequence[float]]) -> dict[str, float]:
    """Of abstention, promised and above_rate are shares of all drawings, the rest means where it promised."""
    values = np.array(rows)
    if not name.startswith("error"):
        return {"coverage": _rounded(values[:, 0]), "mean_size": _rounded(values[:, 1])}
    promised = values[values[:, 0] > 0]
    found = {"promised": _rounded(values[:, 0]), "above_rate": _rounded(values[:, 3])}
    if not len(promised):
        return found
    return {**found, "answered": _rounded(promised[:, 1]), "error": _rounded(promised[:, 2])}


def _rounded(values: np.ndarray) -> float:
    return round(float(values.mean()), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--draws", type=int, default=300)
    arguments = parser.parse_args()
    valid, pool, targets, temperature = logits_of(arguments.source, arguments.recipe, arguments.epochs)
    accuracy = float((pool.argmax(axis=1) == targets).mean())
    print(f"{len(pool)} examples to draw from, accuracy {accuracy:.4f}, temperature {temperature:.3f}")
    result = {}
    for size in arguments.sizes:
        result[size] = kept(valid, pool, targets, temperature, size, arguments.draws)
        for name, means in result[size].items():
            print(size, name, means)
    print(json.dumps({"source": str(arguments.source), "accuracy": accuracy, "kept": result}))


if __name__ == "__main__":
    main()
