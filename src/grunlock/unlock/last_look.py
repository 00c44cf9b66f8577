"""The end of the road: the models on the test split, once, and what the kept one may promise."""

import json
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from grunlock.comparison.verdict import Comparison, verdicts
from grunlock.data.prepared import open_prepared
from grunlock.errors import KernelError
from grunlock.evaluation import evaluate_prepared, model_answers, run_answers
from grunlock.files import write_atomically
from grunlock.objectives.metrics import EvaluationResult
from grunlock.recipe import read_recipe
from grunlock.training.run_folder import RunFolder
from grunlock.tuning.data_cache import prepared_for
from grunlock.unlock.context import KEPT, USUAL, Road
from grunlock.unlock.results import StageDone
from grunlock.unlock.settings import INT8_MOST_LOST


def last_look(road: Road) -> StageDone:
    """The models on the test split, once; without one, on validation. And whether int8 may be used."""
    started = time.monotonic()
    recipe = read_recipe(road.folder)
    data = prepared_for(recipe, *road.data)
    on = "test" if open_prepared(data).test is not None else "valid"
    usual = RunFolder(road.folder / "usual")
    answers = {KEPT: model_answers(road.folder, data, on), USUAL: run_answers(usual.path, on)}
    right = {name: probs.argmax(1) == targets for name, (probs, targets) in answers.items()}
    linear = road.folder / "linear.npz"
    if linear.is_file():
        with np.load(linear) as arrays:
            right[road.linear_name] = arrays[on]
    best = right[KEPT]
    found = verdicts([Comparison(KEPT, name, best, other) for name, other in right.items() if name != KEPT])
    gate = _int8_gate(road.folder, data)
    write_atomically(
        road.folder / "verdicts.json", json.dumps([asdict(each) for each in found], indent=1) + "\n"
    )
    return StageDone(
        stage="final",
        sentence=f"{100 * best.mean():.2f} % on {on}",
        seconds=time.monotonic() - started,
        facts={
            "on": on,
            "accuracies": {name: float(each.mean()) for name, each in right.items()},
            "verdicts": [each.sentence for each in found],
            "int8": gate,
            "promises": _promises(evaluate_prepared(road.folder, data, on)),
        },
    )


def _promises(scores: EvaluationResult) -> list[str]:
    """How sets of labels and abstention came out on the examples of the last look."""
    sets = [
        f"sets of labels at {100 * each.promised_coverage:g} %: {100 * each.coverage:.1f} % hold the right "
        f"one, {each.mean_size:.2f} labels on average"
        for each in scores.sets
        if each.method == "lac"
    ]
    answers = [
        f"at most {100 * each.max_error:g} % errors: {100 * each.answered_fraction:.1f} % answered, "
        f"{100 * each.error:.2f} % of them wrong"
        for each in scores.abstention
        if each.error is not None
    ]
    return sets + answers


def _int8_gate(model: Path, data: Path) -> dict[str, object]:
    """What int8 products lose on validation when predicting, and whether that is little enough."""
    plain, targets = model_answers(model, data, "valid")
    try:
        quick, _ = model_answers(model, data, "valid", "int8")
    except KernelError as error:
        return {"recommended": False, "why": error.what}
    lost = float((plain.argmax(1) == targets).mean() - (quick.argmax(1) == targets).mean())
    return {"recommended": lost <= INT8_MOST_LOST, "lost": lost}
