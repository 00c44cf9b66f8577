"""From finished weights to the artifact: wide path, calibration, promises, metrics on validation.

And from weights that have learned the validation examples too, to the artifact with all that was chosen on
these before.
"""

import json
from dataclasses import dataclass, replace

import torch

from grunlock.artifact import Artifact
from grunlock.data.prepared import PreparedData
from grunlock.evaluation.splits import runtime_forward, split_logits
from grunlock.files import write_atomically
from grunlock.objectives.calibration import fit_temperature
from grunlock.objectives.metrics import evaluate
from grunlock.recipe import Derived, Recipe
from grunlock.runtime.early import Temperatures
from grunlock.runtime.guarantees import Guarantees
from grunlock.runtime.network import Network
from grunlock.runtime.probabilities import probabilities
from grunlock.shapes import FloatArray
from grunlock.training.early import can_answer_early, early_thresholds, fit_step_temperatures
from grunlock.training.events import DataProgress, Listener, WideFitted
from grunlock.training.guarantees import CERTAINTY, MAX_ERRORS, find_guarantees
from grunlock.training.run_folder import RunFolder
from grunlock.training.wide_linear import fitted_anew
from grunlock.training.wide_path import (
    Array,
    WideFit,
    as_arrays,
    fit_wide,
    summed,
    with_path,
    with_silent_path,
)


@dataclass(frozen=True)
class Chosen:
    """What validation has chosen and scored. valid_logits: [validation examples, K], not calibrated."""

    artifact: Artifact
    wide: WideFit | None
    valid_logits: FloatArray


def finish(
    run: RunFolder,
    recipe: Recipe,
    derived: Derived,
    data: PreparedData,
    weights: dict[str, torch.Tensor],
    tell: Listener,
) -> Chosen:
    """The artifact of the best epoch's weights; metrics.json is written. A wide path that learns apart is
    fitted first.

    Numbers come from the torch-free runtime, the one that will serve the model.
    """
    arrays, wide = _complete(recipe, data, weights, tell)
    logits, targets = split_logits(runtime_forward(Network(recipe, arrays)), data.valid, len(data.labels))
    temperature = 1.0 if recipe.calibration is None else fit_temperature(logits, targets)
    begun = step_temperatures(recipe, data, arrays)
    guarantees, temperature = promises(recipe, data, arrays, logits, Temperatures(temperature, begun))
    scores = evaluate(probabilities(logits, temperature), targets, data.labels)
    metrics = scores.to_dict()
    write_atomically(run.metrics, json.dumps(metrics, indent=2, ensure_ascii=False) + "\n")
    artifact = Artifact(
        recipe=recipe,
        derived=derived.model_copy(update={"refit": False}),  # these weights are not
        front_end=data.front_end,
        labels=data.labels,
        weights=arrays,
        temperature=temperature,
        metrics=metrics,
        data_fingerprint=data.fingerprint,
        guarantees=guarantees,
        step_temperatures=begun,
    )
    return Chosen(artifact, wide, logits)


def finish_refit(
    chosen: Chosen, derived: Derived, data: PreparedData, weights: dict[str, torch.Tensor], tell: Listener
) -> Artifact:
    """The artifact of weights that have learned `data.train`, the validation examples among them.

    The wide path learns these examples too. Its strengths and weights, the temperatures (but for the one that
    a calibration split decides) and the metrics are those of the model before.
    """
    before, arrays = chosen.artifact, as_arrays(weights)
    recipe = before.recipe
    if chosen.wide is not None:
        assert recipe.wide_apart is not None
        tell(DataProgress("fitting the wide path on", data.train.num_examples))
        models = fitted_anew(data.train, len(data.labels), recipe.wide_apart, chosen.wide.models)
        arrays = with_path(arrays, summed(models, chosen.wide.weights))
    temperatures = Temperatures(chosen_temperature(before), before.step_temperatures)
    guarantees, temperature = promises(recipe, data, arrays, chosen.valid_logits, temperatures)
    return replace(
        before,
        weights=arrays,
        derived=derived.model_copy(update={"refit": True}),
        guarantees=guarantees,
        temperature=temperature,
    )


def chosen_temperature(artifact: Artifact) -> float:
    """The one that validation chose. With a calibration split the artifact's own is another, which has seen
    that split and so must have no part in its promises."""
    return artifact.temperature if artifact.guarantees is None else artifact.guarantees.temperature


def promises(
    recipe: Recipe,
    data: PreparedData,
    arrays: dict[str, Array],
    valid_logits: FloatArray,
    temperatures: Temperatures,
) -> tuple[Guarantees | None, float]:
    """What a calibration split lets the model promise, and the temperature that it asks for: without such a
    split none, and the one that is given."""
    if data.calibration is None:
        return None, temperatures.whole
    network = Network(recipe, arrays)
    unseen, targets = split_logits(runtime_forward(network), data.calibration, len(data.labels))
    guarantees = find_guarantees(valid_logits, unseen, targets, temperatures.whole)
    if can_answer_early(recipe, data):
        early = early_thresholds(network, data.calibration, temperatures, MAX_ERRORS, CERTAINTY)
        guarantees = replace(guarantees, early=early)
    return guarantees, 1.0 if recipe.calibration is None else fit_temperature(unseen, targets)


def step_temperatures(recipe: Recipe, data: PreparedData, arrays: dict[str, Array]) -> tuple[float, ...]:
    """Those of beginnings; none for a model that needs the whole, or is not to be calibrated."""
    if recipe.calibration is None or not can_answer_early(recipe, data):
        return ()
    return fit_step_temperatures(Network(recipe, arrays), data.valid)


def _complete(
    recipe: Recipe, data: PreparedData, weights: dict[str, torch.Tensor], tell: Listener
) -> tuple[dict[str, Array], WideFit | None]:
    """The artifact's weights: the network's, and those of a path beside it that no gradient has reached."""
    arrays = as_arrays(weights)
    if recipe.wide_apart is None:
        return arrays, None
    tell(DataProgress("fitting the wide path on", data.train.num_examples))
    silent = with_silent_path(recipe, arrays, len(data.labels))
    logits, _ = split_logits(runtime_forward(Network(recipe, silent)), data.valid, len(data.labels))
    fit = fit_wide(data, recipe.wide_apart, logits)
    strengths = tuple(model.strength for model in fit.models)
    tell(WideFitted(fit.weights, strengths, fit.linear_accuracy, fit.network_accuracy))
    return with_path(arrays, fit.table), fit
