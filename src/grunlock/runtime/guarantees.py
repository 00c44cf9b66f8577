"""What a trained model may promise about its answers, and the answers that keep it. Needs numpy only.

    set of a coverage   the labels whose score is at most a quantile of the calibration examples' scores
    abstention          a label where the largest probability reaches a threshold, else none
    early decision      the label at the first step where the largest probability reaches a threshold, none
                        if it never does; see early.py

Scores, with p the probabilities of an example and labels ranked by them:

    lac    1 - p_k                                                   (Sadinle 2019): smallest sets on average
    raps   sum of p over ranks 1..r + PENALTY * max(0, r - FREE_RANKS), r the rank of label k
           (Angelopoulos 2020, 2009.14193; with PENALTY = 0 Romano 2020, APS): larger sets where the
           model is unsure, smaller where it is sure. The version without randomisation.

How quantiles and thresholds are found, and why they hold: objectives/conformal.py.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from grunlock.errors import CalibrationError
from grunlock.runtime.probabilities import probabilities
from grunlock.shapes import FloatArray

SetMethod = Literal["lac", "raps"]
SET_METHODS: tuple[SetMethod, ...] = get_args(SetMethod)
PENALTY, FREE_RANKS = 0.1, 1
LEAST_TEMPERATURE = 1e-6  # as a fitted one never is; logits are divided by it

Key = TypeVar("Key")
Value = TypeVar("Value")
Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Guarantees:
    """What was found on the calibration split. Coverages and error rates are fixed when a model is trained.

    num_examples: calibration examples.
    temperature:  of the probabilities behind scores and confidences. It was fitted on validation and is not
                  that of predict_proba, which was fitted on the calibration split: a score that has seen the
                  calibration examples would treat them better than new ones.
    quantiles:    by method and coverage; infinite where examples were too few, then each set is all labels.
    thresholds:   by error rate; None where no threshold keeps it.
    needed:       by error rate: calibration examples, all answered rightly, that it needs at the least.
    certainty:    with which a threshold keeps its rate, over the drawing of the calibration examples.
    early:        by error rate, of early decisions; None where no threshold keeps it. None altogether for a
                  model that needs the whole, or that is older than early decisions.
    """

    num_examples: int
    temperature: float
    quantiles: Mapping[SetMethod, Mapping[float, float]]
    thresholds: Mapping[float, float | None]
    needed: Mapping[float, int]
    certainty: float
    early: Mapping[float, float | None] | None = None

    def sets(self, logits: FloatArray, coverage: float, method: SetMethod = "lac") -> Bools:
        """[B, K] which labels each set holds; the most probable one always.

        Raises CalibrationError for another coverage or method than there are.
        """
        quantile = _entry(_entry(self.quantiles, method, "method"), coverage, "coverage")
        probs = probabilities(logits, self.temperature)
        members = label_scores(probs, method) <= quantile
        members[np.arange(len(logits)), logits.argmax(axis=1)] = True
        return members

    def answered(self, logits: FloatArray, max_error: float) -> Bools:
        """[B] where the model is sure enough to answer.

        Raises CalibrationError for another error rate than there are, and for one that cannot be kept.
        """
        threshold = _entry(self.thresholds, max_error, "error rate")
        if threshold is None:
            raise self._cannot_keep(max_error, self.thresholds, "at any threshold of confidence")
        return confidences(probabilities(logits, self.temperature)) >= threshold

    def early_threshold(self, max_error: float) -> float:
        """The confidence at which a decision before the end is safe enough.

        Raises CalibrationError as `answered`, and where there are no early decisions.
        """
        if self.early is None:
            raise CalibrationError(
                "This model was not calibrated for early decisions.",
                got="a model that needed its whole input, or a file of an older version",
                cure="train again with --set data.calibration_fraction=0.3",
            )
        threshold = _entry(self.early, max_error, "error rate")
        if threshold is None:
            raise self._cannot_keep(max_error, self.early, "when it decides early")
        return threshold

    def _cannot_keep(
        self, max_error: float, thresholds: Mapping[float, float | None], how: str
    ) -> CalibrationError:
        kept = [rate for rate, found in thresholds.items() if found is not None]
        needed, too_few = self.needed[max_error], self.num_examples < self.needed[max_error]
        number = f"{self.num_examples} calibration examples"
        reason = (
            f"at least {needed} are needed" if too_few else f"too many errors: without any, {needed} would do"
        )
        return CalibrationError(
            f"This model cannot promise an error rate of {max_error} {how}.",
            got=f"{number}; {reason}",
            expected=f"one of: {_shown(kept)}" if kept else "no rate that it was calibrated for can be kept",
            cure="train with a larger data.calibration_fraction or more validation examples"
            + ("" if too_few else ", or a better model"),
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: no infinity, keys as text."""
        return {
            "num_examples": self.num_examples,
            "temperature": self.temperature,
            "quantiles": {
                method: {str(c): q if math.isfinite(q) else None for c, q in by_coverage.items()}
                for method, by_coverage in self.quantiles.items()
            },
            "thresholds": _thresholds_to_dict(self.thresholds),
            "early": None if self.early is None else _thresholds_to_dict(self.early),
            "needed": {str(rate): count for rate, count in self.needed.items()},
            "certainty": self.certainty,
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Guarantees":
        """What to_dict gave. Raises KeyError, TypeError and ValueError for anything else."""
        made = cls(
            num_examples=int(stored["num_examples"]),
            temperature=_finite(stored["temperature"]),
            quantiles={
                method: {_finite(c): math.inf if q is None else _finite(q) for c, q in found.items()}
                for method, found in ((method, dict(stored["quantiles"][method])) for method in SET_METHODS)
            },
            thresholds=_thresholds_from_dict(stored["thresholds"]),
            early=None if stored.get("early") is None else _thresholds_from_dict(stored["early"]),
            needed={_finite(rate): int(count) for rate, count in dict(stored["needed"]).items()},
            certainty=_finite(stored["certainty"]),
        )
        if made.temperature < LEAST_TEMPERATURE:
            raise ValueError(f"a temperature of {made.temperature}")
        if not made.needed.keys() >= {*made.thresholds, *(made.early or ())}:
            raise ValueError("an error rate without the examples that it needs")
        return made


def _thresholds_to_dict(thresholds: Mapping[float, float | None]) -> dict[str, float | None]:
    return {str(rate): threshold for rate, threshold in thresholds.items()}


def _thresholds_from_dict(stored: Mapping[str, Any]) -> dict[float, float | None]:
    return {
        _finite(rate): None if threshold is None else _finite(threshold)
        for rate, threshold in dict(stored).items()
    }


def _finite(stored: Any) -> float:
    found = float(stored)
    if not math.isfinite(found):
        raise ValueError(f"{found} where a number should be")
    return found


def label_scores(probs: FloatArray, method: SetMethod) -> Doubles:
    """[B, K] how ill each label fits, from probabilities [B, K]. See the module's docstring."""
    exact = probs.astype(np.float64)
    if method == "lac":
        lac: Doubles = 1.0 - exact
        return lac
    order = np.argsort(-exact, axis=1, kind="stable")
    ranks = np.arange(1, exact.shape[1] + 1)
    sums = np.cumsum(np.take_along_axis(exact, order, axis=1), axis=1)
    ranked = sums + PENALTY * np.maximum(0, ranks - FREE_RANKS)
    scores = np.empty_like(exact)
    np.put_along_axis(scores, order, ranked, axis=1)
    return scores


def confidences(probs: FloatArray) -> Doubles:
    """[B] the largest probability of each row."""
    largest: Doubles = probs.max(axis=1).astype(np.float64)
    return largest


def promised(guarantees: Guarantees | None) -> Guarantees:
    """Raises CalibrationError if the model was trained without a calibration split."""
    if guarantees is None:
        raise CalibrationError(
            "This model can promise nothing: it was trained without a calibration split.",
            cure="train again with --set data.calibration_fraction=0.3",
        )
    return guarantees


def label_sets(labels: Sequence[str], logits: FloatArray, members: Bools) -> list[tuple[str, ...]]:
    """The labels of each set, the most probable first. members: [B, K]."""
    order = np.argsort(-logits, axis=1, kind="stable")
    return [
        tuple(labels[k] for k in row.tolist() if member[k])
        for row, member in zip(order, members, strict=True)
    ]


def answers_or_none(labels: Sequence[str], logits: FloatArray, answered: Bools) -> list[str | None]:
    """The most probable label where it is answered, else None. answered: [B]."""
    best = logits.argmax(axis=1).tolist()
    return [labels[k] if sure else None for k, sure in zip(best, answered.tolist(), strict=True)]


def _entry(table: Mapping[Key, Value], key: Key, what: str) -> Value:
    if key in table:
        return table[key]
    raise CalibrationError(
        f"The model was not calibrated for this {what}.",
        got=f"{key}",
        expected=f"one of: {_shown(list(table))}",
    )


def _shown(keys: Sequence[object]) -> str:
    return ", ".join(str(key) for key in keys)
