"""What a model that can answer before the end is told about beginnings: temperatures, and when to stop.

Temperatures come from validation, thresholds from the calibration split, which no temperature has seen.
"""

import math
from collections import defaultdict

import numpy as np

from grunlock.data.batches import ArrayStore
from grunlock.data.prepared import PreparedData
from grunlock.evaluation.splits import split_paths
from grunlock.objectives.calibration import fit_temperature
from grunlock.objectives.conformal import smallest_kept
from grunlock.recipe import Recipe
from grunlock.runtime.early import Temperatures, path_of, stopping_places
from grunlock.runtime.hindrances import hindrances
from grunlock.runtime.network import Network
from grunlock.shapes import FloatArray
from grunlock.text.front_end import TextFrontEnd

FEWEST_EXAMPLES = 50  # that are so long, for a temperature of its own
MOST_EXAMPLES = 2000  # of validation: more would say no more of a few temperatures

# Thresholds to try, as chances to be wrong: from a sixteenth of the error rate to eight times as much. They
# are the same whatever the examples, for the confidences are calibrated.
DOUBLINGS_BELOW, DOUBLINGS_ABOVE, TRIES_PER_DOUBLING = 4, 3, 8


def can_answer_early(recipe: Recipe, data: PreparedData) -> bool:
    tokens = data.front_end.tokens if isinstance(data.front_end, TextFrontEnd) else None
    return not hindrances(recipe, tokens)


def fit_step_temperatures(network: Network, valid: ArrayStore) -> tuple[float, ...]:
    """T(t) at t = 1, 2, 4, ... as far as enough examples have so many steps, none if too few examples have
    any: see runtime/early.py."""
    logits: dict[int, list[FloatArray]] = defaultdict(list)
    targets: dict[int, list[int]] = defaultdict(list)
    of_all = np.asarray(valid.targets).tolist()
    for example, path in split_paths(network, valid, MOST_EXAMPLES):
        for knot in range(int(math.log2(len(path))) + 1):
            logits[knot].append(path[2**knot - 1].copy())
            targets[knot].append(of_all[example])
    many = [knot for knot, found in sorted(targets.items()) if len(found) >= FEWEST_EXAMPLES]
    return tuple(fit_temperature(np.stack(logits[knot]), np.array(targets[knot])) for knot in many)


def early_thresholds(
    network: Network,
    calibration: ArrayStore,
    temperatures: Temperatures,  # fitted on validation
    max_errors: tuple[float, ...],
    certainty: float,
) -> dict[float, float | None]:
    """For each error rate the smallest confidence at which a decision may be made; None where none keeps it.

    Each example is decided where its path first reaches the threshold, at its end at the latest, and is not
    decided where it never does. Those decided are judged by the answer they got there.
    """
    grids = {rate: _thresholds(rate) for rate in max_errors}
    joined = np.concatenate(list(grids.values()))
    answered, errors = np.zeros(len(joined), np.int64), np.zeros(len(joined), np.int64)
    targets = np.asarray(calibration.targets)
    for example, logits in split_paths(network, calibration):
        confidence, labels = path_of(logits, temperatures)
        places = stopping_places(confidence, joined)
        decided = places < len(confidence)
        wrong = labels.take(places, mode="clip") != targets[example]
        answered += decided
        errors += decided & wrong
    found, first = {}, 0
    for rate, grid in grids.items():
        own = slice(first, first + len(grid))
        found[rate] = smallest_kept(answered[own], errors[own], grid, rate, certainty)
        first = own.stop
    return found


def _thresholds(max_error: float) -> np.ndarray:
    """Falling."""
    tries = np.arange(-DOUBLINGS_BELOW * TRIES_PER_DOUBLING, DOUBLINGS_ABOVE * TRIES_PER_DOUBLING + 1)
    chances = max_error * 2.0 ** (tries / TRIES_PER_DOUBLING)
    kept: np.ndarray = 1.0 - chances[chances < 1.0]
    return kept
