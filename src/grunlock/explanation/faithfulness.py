"""Which method's ranking is faithful to the model: what its answer becomes when tokens are hidden in order.

Deletion hides the tokens that a method ranks highest, more and more of them; a faithful ranking makes the
probability of the predicted class fall soon. Insertion starts with all tokens hidden and shows the highest
first; it should rise soon (Petsiuk 2018). The score of a method on one example is the area under insertion
minus that under deletion, from -1 to 1. A difference between methods comes with an interval from resampled
examples, and random ranks are the control.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grunlock.errors import ExplanationError
from grunlock.explanation.examples import Examples
from grunlock.explanation.masked import HOW_HIDDEN, Hiding
from grunlock.explanation.methods import Explainer, Method, checked_methods
from grunlock.objectives.intervals import mean_interval
from grunlock.objectives.metrics import CONFIDENCE
from grunlock.runtime.probabilities import probabilities

FRACTIONS = tuple(round(tenth / 10, 1) for tenth in range(11))

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class MethodScore:
    """Means over the examples.

    score: area under insertion minus area under deletion, from -1 to 1; higher is more faithful
    deletion, insertion: [11] probability of the predicted class with that fraction of tokens hidden, or shown
    """

    method: Method
    score: float
    deletion_area: float
    insertion_area: float
    deletion: tuple[float, ...]
    insertion: tuple[float, ...]


@dataclass(frozen=True)
class Difference:
    """By how much the best method's score is above another's, with a paired bootstrap interval."""

    method: Method
    mean: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Faithfulness:
    """methods: the most faithful first. differences: of the first to each other. how: what hiding means."""

    source: str
    num_examples: int
    fractions: tuple[float, ...]
    methods: tuple[MethodScore, ...]
    differences: tuple[Difference, ...]
    confidence: float
    how: str

    @property
    def best(self) -> Method:
        return self.methods[0].method

    def to_dict(self) -> dict[str, Any]:
        """All of it, fit for JSON."""
        return asdict(self)


def faithfulness(
    examples: Examples,
    methods: Sequence[str] | None = None,
    *,
    seed: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> Faithfulness:
    """Score methods on examples; None: all that the model can be explained by. The control always runs.

    progress: called after each example with how many are done

    Raises ExplanationError for an unknown method, or if there is no example.
    """
    explainer = Explainer(examples.artifact, seed=seed)
    chosen = list(checked_methods(methods or explainer.methods))
    if "random" not in chosen:
        chosen.append("random")
    if not len(examples.inputs):
        raise ExplanationError("There are no examples to score methods on.", where=examples.source)
    curves = np.empty((len(examples.inputs), len(chosen), 2, len(FRACTIONS)))
    for i, example in enumerate(examples.inputs):
        hiding = Hiding(explainer.classifier, example)
        curves[i] = _curves(explainer, hiding, chosen)
        progress(i + 1)
    areas = (curves[..., 1:] + curves[..., :-1]).mean(axis=3) / 2  # trapezoids of equal width
    scores = areas[:, :, 1] - areas[:, :, 0]  # [examples, methods]
    order = np.argsort(-scores.mean(axis=0), kind="stable").tolist()
    return Faithfulness(
        source=examples.source,
        num_examples=len(curves),
        fractions=FRACTIONS,
        methods=tuple(_score(chosen[m], curves[:, m], areas[:, m]) for m in order),
        differences=tuple(
            _difference(chosen[m], scores[:, order[0]] - scores[:, m], seed) for m in order[1:]
        ),
        confidence=CONFIDENCE,
        how=HOW_HIDDEN[examples.artifact.recipe.data.kind],
    )


def _curves(explainer: Explainer, hiding: Hiding, methods: Sequence[Method]) -> Doubles:
    """[methods, 2, fractions]: probabilities of the predicted class under deletion and insertion."""
    steps, temperature = hiding.num_steps, explainer.artifact.temperature
    whole = hiding.logits(np.ones((1, steps), np.bool_))
    place = int(whole[0].argmax())
    counts = np.rint(np.array(FRACTIONS) * steps).astype(np.int64)
    variants = []
    for method in methods:
        rank = np.empty(steps, np.int64)
        rank[np.argsort(-explainer.scores(method, hiding, place), kind="stable")] = np.arange(steps)
        highest = rank[None] < counts[:, None]  # [fractions, T]
        variants += [~highest, highest]
    distinct, inverse = np.unique(np.concatenate(variants), axis=0, return_inverse=True)
    found = probabilities(hiding.logits(distinct), temperature)[inverse.reshape(-1), place]
    result: Doubles = found.astype(np.float64).reshape(len(methods), 2, len(FRACTIONS))
    return result


def _score(method: Method, curves: Doubles, areas: Doubles) -> MethodScore:
    """curves: [examples, 2, fractions]; areas: [examples, 2]"""
    deletion, insertion = curves.mean(axis=0).tolist()
    deletion_area, insertion_area = areas.mean(axis=0).tolist()
    return MethodScore(
        method,
        insertion_area - deletion_area,
        deletion_area,
        insertion_area,
        tuple(deletion),
        tuple(insertion),
    )


def _difference(method: Method, differences: Doubles, seed: int) -> Difference:
    """differences: [examples], paired"""
    interval = mean_interval(differences, seed=seed)
    return Difference(method, float(differences.mean()), interval.low, interval.high)
