"""From a finished training to the artifact: kept weights, calibration, metrics on validation."""

import json
from typing import Any

import torch

from grunlock.artifact import Artifact, save
from grunlock.data.prepared import PreparedData
from grunlock.evaluation.splits import runtime_forward, split_logits
from grunlock.files import write_atomically
from grunlock.objectives.calibration import fit_temperature
from grunlock.objectives.metrics import evaluate
from grunlock.recipe import Derived, Recipe
from grunlock.runtime.network import Network
from grunlock.runtime.probabilities import probabilities
from grunlock.training.events import DataProgress, Listener, WideFitted
from grunlock.training.guarantees import find_guarantees
from grunlock.training.run_folder import RunFolder
from grunlock.training.wide_path import Array, as_arrays, fit_wide, with_path, with_silent_path


def finish(
    run: RunFolder,
    recipe: Recipe,
    derived: Derived,
    data: PreparedData,
    weights: dict[str, torch.Tensor],
    tell: Listener,
) -> tuple[Artifact, str]:
    """Write metrics.json and the artifact. Returns it with the sha256 of its file.

    A wide path that learns apart is fitted first.

    Numbers come from the torch-free runtime, the one that will serve the model.
    """
    arrays = _complete(recipe, data, weights, tell)
    forward = runtime_forward(Network(recipe, arrays))
    logits, targets = split_logits(forward, data.valid, len(data.labels))
    temperature = 1.0 if recipe.calibration is None else fit_temperature(logits, targets)
    guarantees = None
    if data.calibration is not None:
        unseen, unseen_targets = split_logits(forward, data.calibration, len(data.labels))
        guarantees = find_guarantees(logits, unseen, unseen_targets, temperature)
        temperature = 1.0 if recipe.calibration is None else fit_temperature(unseen, unseen_targets)
    scores = evaluate(probabilities(logits, temperature), targets, data.labels)
    metrics: dict[str, Any] = scores.to_dict()
    write_atomically(run.metrics, json.dumps(metrics, indent=2, ensure_ascii=False) + "\n")
    artifact = Artifact(
        recipe=recipe,
        derived=derived,
        front_end=data.front_end,
        labels=data.labels,
        weights=arrays,
        temperature=temperature,
        metrics=metrics,
        data_fingerprint=data.fingerprint,
        guarantees=guarantees,
    )
    return artifact, save(artifact, run.artifact)


def _complete(
    recipe: Recipe, data: PreparedData, weights: dict[str, torch.Tensor], tell: Listener
) -> dict[str, Array]:
    """The artifact's weights: the network's, and those of a path beside it that no gradient has reached."""
    arrays = as_arrays(weights)
    if recipe.wide_apart is None:
        return arrays
    tell(DataProgress("fitting the wide path on", data.train.num_examples))
    silent = with_silent_path(recipe, arrays, len(data.labels))
    logits, _ = split_logits(runtime_forward(Network(recipe, silent)), data.valid, len(data.labels))
    fit = fit_wide(data, recipe.wide_apart, logits)
    tell(WideFitted(fit.weight, fit.model.strength, fit.linear_accuracy, fit.network_accuracy))
    return with_path(arrays, fit.model, fit.weight)
