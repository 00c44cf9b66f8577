"""Recipes compared by cross-validation inside the training split: what defaults are chosen on.

    python benchmarks/cross_validate.py ../shared/data/waimai_10k --set wide=off --out cv/waimai
    python benchmarks/cross_validate.py ../shared/data/sst2 --recipe seed --folds 0 1 --out cv/sst2

The training split is cut into five parts; each is judged once by a model that learned from the other four.
What training decides on validation it decides on the set's validation file, or on a tenth of what it learns
from. One JSON line per recipe and fold in OUT/cv.jsonl, probabilities of the judged examples beside it; what
is there is not done again. Test and validation files are not judged.
"""

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedKFold

from ablations import use_one_thread
from grunlock.data.sources import InMemory, open_source
from grunlock.evaluation import run_answers
from grunlock.machine import commit
from grunlock.recipe import Recipe, read_recipe
from grunlock.recipe.text_options import TextDataOptions
from grunlock.training.run import train

NUM_FOLDS, SPLIT_SEED = 5, 0


def training_split(source: Path) -> tuple[list[str], list[str], str | None]:
    """Texts and labels of the training file; the validation file, if there is one."""
    opened = open_source(source, TextDataOptions())
    chunks = list(opened.train.chunks())
    texts = [str(text) for chunk in chunks for text in chunk.texts]
    labels = [str(label) for chunk in chunks for label in chunk.labels or ()]
    return texts, labels, None if opened.valid is None else opened.valid.name


def judge(
    texts: Sequence[str], labels: Sequence[str], valid: str | None, recipe: Recipe, fold: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Train without one fold and answer it: what to keep of it, and the arrays."""
    cut = StratifiedKFold(NUM_FOLDS, shuffle=True, random_state=SPLIT_SEED)
    learned, judged = list(cut.split(texts, labels))[fold]
    parts = [
        InMemory([texts[i] for i in rows], [labels[i] for i in rows], f"fold {fold}")
        for rows in (learned, judged)
    ]
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        result = train(parts[0], recipe, Path(folder) / "run", valid=valid, test=parts[1])
        seconds = time.monotonic() - started
        probs, targets = run_answers(result.folder, "test")
    chosen = probs[np.arange(len(targets)), targets]
    outcome = {
        "accuracy": float((probs.argmax(axis=1) == targets).mean()),
        "nll": float(-np.log(np.maximum(chosen, 1e-12)).mean()),
        "valid": result.metrics["accuracy"],
        "seconds": round(seconds, 1),
    }
    return outcome, {"probs": probs.astype(np.float32), "targets": targets, "judged": judged}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(NUM_FOLDS)))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    use_one_thread()
    options.out.mkdir(parents=True, exist_ok=True)
    records = options.out / "cv.jsonl"
    known = [json.loads(line) for line in records.read_text().splitlines()] if records.exists() else []
    texts, labels, valid = training_split(options.source)
    recipe = read_recipe(options.recipe, [*options.set, f"seed={options.seed}"])
    name = " ".join([options.recipe, *options.set, f"seed={options.seed}"])
    found = []
    for fold in options.folds:
        record = next((each for each in known if (each["name"], each["fold"]) == (name, fold)), None)
        if record is None:
            outcome, arrays = judge(texts, labels, valid, recipe, fold)
            record = {"name": name, "fold": fold, **outcome, "commit": commit()}
            key = hashlib.sha256(name.encode()).hexdigest()[:12]
            np.savez(options.out / f"{key}-{fold}.npz", **arrays)
            with records.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        found.append(record)
    means = [
        float(np.mean([each[what] for each in found])) for what in ("accuracy", "nll", "valid", "seconds")
    ]
    print(
        f"{name:70} {100 * means[0]:.2f}  nll {means[1]:.4f}  valid {100 * means[2]:.2f}  {means[3]:.0f} s",
        flush=True,
    )


if __name__ == "__main__":
    main()
