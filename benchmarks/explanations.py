"""Whether exact shares add up on whole test splits, which method is faithful, and which finds planted words.

    python -m benchmarks.explanations shared/data

Per set: `default`, seed 0, is trained on train.tsv.gz alone; every text of test.tsv.gz is explained and only
the distance between its logits and its shares is looked at, no label and no accuracy. Faithfulness is judged
on the run's own validation split. Planted: texts in which one known word decides the label
(tests/planted_triggers.py), learned by four models; how often each method ranks that word first. The result
is benchmarks/results/explanations.json.
"""

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tests.planted_triggers import found_triggers, planted_texts, trained_on

from grunlock.explanation import METHODS, ExactExplainer, examples_of_file, faithfulness, validation_examples
from grunlock.files import write_atomically
from grunlock.machine import machine
from grunlock.recipe import read_recipe
from grunlock.training.run import train

RESULT = Path(__file__).parent / "results" / "explanations.json"
SETS = ("sst2", "trec6", "waimai_10k")
FAITHFULNESS_EXAMPLES = 200
LAST = ["pooling.parts=['last']", "training.epochs=30"]
PLANTED: dict[str, tuple[str, list[str]]] = {
    "default": ("default", ["training.epochs=6"]),
    "tiny: one direction, maximum": ("tiny", []),
    "tiny: one direction, last state": ("tiny", LAST),
    "tiny: two layers, both directions, last states": (
        "tiny",
        [*LAST, "encoder.num_layers=2", "encoder.bidirectional=true"],
    ),
}


def of_set(data: Path, folder: Path) -> dict[str, Any]:
    """What exact shares miss on the test texts, and the methods' faithfulness on validation texts."""
    run = train(data / "train.tsv.gz", read_recipe("default", []), folder / "run").folder
    examples = examples_of_file(run, data / "test.tsv.gz")
    explainer = ExactExplainer(examples.artifact.classifier())
    distances = [explainer.explain(text).difference for text in examples.inputs]
    judged = faithfulness(validation_examples(run).some(FAITHFULNESS_EXAMPLES, 0))
    return {
        "test_texts": len(distances),
        "largest_difference": max(distances),
        "mean_difference": float(np.mean(distances)),
        "faithfulness": {each.method: each.score for each in judged.methods},
        "behind_best": [asdict(each) for each in judged.differences],
    }


def of_planted(recipe: str, settings: list[str], folder: Path) -> dict[str, Any]:
    """By method, on 300 texts that the model has not seen."""
    artifact = trained_on(planted_texts(2_000, 0), recipe, settings, folder)
    found = found_triggers(artifact, planted_texts(300, 1), METHODS)
    return {method: asdict(each) for method, each in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with a folder of splits for each set")
    parser.add_argument("--sets", nargs="*", default=SETS)
    arguments = parser.parse_args()
    result: dict[str, Any] = {"machine": machine(), "sets": {}, "planted": {}}
    for name, (recipe, settings) in PLANTED.items():
        with tempfile.TemporaryDirectory() as folder:
            result["planted"][name] = of_planted(recipe, settings, Path(folder))
        print(name, json.dumps(result["planted"][name]), flush=True)
    for name in arguments.sets:
        with tempfile.TemporaryDirectory() as folder:
            result["sets"][name] = of_set(arguments.data / name, Path(folder))
        print(name, json.dumps(result["sets"][name]), flush=True)
    write_atomically(RESULT, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
