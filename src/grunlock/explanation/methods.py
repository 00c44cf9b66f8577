"""Methods that say how much each token moved an answer, beside one another.

All explain the same number: the logit of one class minus the mean of all logits, on which probabilities
depend. Torch and captum are loaded where a method needs gradients.
"""

import difflib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from grunlock.artifact import Artifact
from grunlock.artifact import read as read_artifact
from grunlock.errors import ExplanationError
from grunlock.explanation.exact import ExactExplainer
from grunlock.explanation.layers import refuse_inexact
from grunlock.explanation.masked import HOW_HIDDEN, Hiding, centred
from grunlock.explanation.results import Explanation
from grunlock.explanation.wide import wide_shares
from grunlock.runtime.classifier import TextClassifier
from grunlock.runtime.probabilities import probabilities
from grunlock.seeding import generator
from grunlock.series import SeriesFrontEnd
from grunlock.shapes import FloatArray
from grunlock.text.spans import token_spans
from grunlock.text.types import DistinctTokens

Method = Literal["exact", "integrated_gradients", "occlusion", "gradient_x_input", "random"]
METHODS: tuple[Method, ...] = get_args(Method)

HOW: dict[Method, str] = {
    "exact": "What each {unit} wrote into the final states, through pooling and head; adds up exactly.",
    "integrated_gradients": "Gradients on the way from {baseline} to the input, integrated.",
    "occlusion": "How much the logit falls when this {unit} alone is hidden. {hidden}",
    "gradient_x_input": "Gradient times vector at the input itself.",
    "random": "Random numbers: what any method has to beat.",
}


@dataclass(frozen=True)
class Attribution:
    """What one method says of one example.

    scores: of each token, positive where it speaks for the class
    completeness_error: how far the scores of integrated gradients are from adding up to what lies between
        baseline and input; None for other methods
    channels: [T][C] of each channel of a series, from gradients; None otherwise
    how: what the scores are, in a sentence
    """

    method: Method
    scores: tuple[float, ...]
    how: str
    completeness_error: float | None = None
    channels: tuple[tuple[float, ...], ...] | None = None


@dataclass(frozen=True)
class Explained:
    """An example with what the methods say of it.

    place: of the class that is explained, in labels
    spans: of each token in the text, or step and next step of a series
    exact: None for a model whose logits cannot be divided exactly, or where it was not asked for
    """

    kind: Literal["text", "series"]
    text: str
    labels: tuple[str, ...]
    place: int
    probs: tuple[float, ...]
    spans: tuple[tuple[int, int], ...]
    exact: Explanation | None
    attributions: tuple[Attribution, ...]

    @property
    def label(self) -> str:
        """The most probable label."""
        return self.labels[int(np.argmax(self.probs))]

    def to_dict(self) -> dict[str, Any]:
        """All of it, fit for JSON."""
        return {
            **asdict(self),
            "label": self.label,
            "explained_label": self.labels[self.place],
            "exact": None if self.exact is None else self.exact.to_dict(),
        }


class Explainer:
    """Explains the answers of one model by any method. What a method needs is made ready at its first use."""

    def __init__(self, artifact: Artifact, *, seed: int = 0) -> None:
        self.artifact = artifact
        self.classifier = artifact.classifier()
        self._seed = seed

    @property
    def methods(self) -> tuple[Method, ...]:
        """Those that this model can be explained by."""
        try:
            refuse_inexact(self.classifier.network)
        except ExplanationError:
            return METHODS[1:]
        return METHODS

    @cached_property
    def exact(self) -> ExactExplainer:
        """Raises ExplanationError for a model whose logits cannot be divided exactly."""
        return ExactExplainer(self.classifier)

    @cached_property
    def _gradients(self) -> Any:
        from grunlock.explanation.gradients import GradientNetwork

        return GradientNetwork(self.artifact)

    def explain(
        self, example: str | FloatArray, methods: Sequence[str] = ("exact",), label: str | None = None
    ) -> Explained:
        """label: the class to explain; None for the most probable one.

        Raises ExplanationError for an unknown label or method, and for exact shares of a model that has none;
        DataError as predict_proba does.
        """
        chosen = [_method(name) for name in methods]
        hiding = Hiding(self.classifier, example)
        logits = hiding.logits(np.ones((1, hiding.num_steps), np.bool_))
        place = int(logits[0].argmax()) if label is None else label_place(self.artifact.labels, label)
        exact = self.exact.explain(example) if "exact" in chosen else None
        is_text = isinstance(self.classifier, TextClassifier)
        spans = (
            token_spans(self.classifier.front_end, str(example))
            if isinstance(self.classifier, TextClassifier)
            else [(step, step + 1) for step in range(hiding.num_steps)]
        )
        return Explained(
            kind="text" if is_text else "series",
            text=str(example) if is_text else "",
            labels=self.artifact.labels,
            place=place,
            probs=tuple(probabilities(logits, self.artifact.temperature)[0].tolist()),
            spans=tuple(spans),
            exact=exact,
            attributions=tuple(self._attribution(method, hiding, place, exact) for method in chosen),
        )

    def scores(self, method: Method, hiding: Hiding, place: int) -> NDArray[np.float64]:
        """[T] of each token, for class `place`."""
        if method == "exact":
            return centred(self.exact.shares(hiding.inputs, hiding.layout).shares)[:, place]  # type: ignore[arg-type]
        if method == "occlusion":
            return occlusion(hiding, place)
        if method == "random":
            drawn = generator(self._seed, "random explanation", hiding.fingerprint())
            return drawn.standard_normal(hiding.num_steps)
        of_network: NDArray[np.float64] = getattr(self._gradients, method)(hiding, place).values.sum(axis=1)
        return of_network + self._of_wide_path(hiding, place)

    def _attribution(
        self, method: Method, hiding: Hiding, place: int, exact: Explanation | None
    ) -> Attribution:
        kind: Literal["text", "series"] = "text" if isinstance(hiding.inputs, DistinctTokens) else "series"
        how = HOW[method].format(
            unit="token" if kind == "text" else "step",
            baseline="unknown tokens" if kind == "text" else "the mean of training",
            hidden=HOW_HIDDEN[kind],
        )
        if method == "exact" and exact is not None:
            return Attribution(method, exact.evidence(place), how)
        if method in ("exact", "occlusion", "random"):
            return Attribution(method, tuple(self.scores(method, hiding, place).tolist()), how)
        found = getattr(self._gradients, method)(hiding, place)
        scores = found.values.sum(axis=1) + self._of_wide_path(hiding, place)
        channels = None if kind == "text" else self._by_channel(found.values)
        return Attribution(method, tuple(scores.tolist()), how, found.completeness_error, channels)

    def _of_wide_path(self, hiding: Hiding, place: int) -> NDArray[np.float64]:
        """[T], zeros without one."""
        options = self.artifact.recipe.wide
        if options is None or not isinstance(hiding.inputs, DistinctTokens):
            return np.zeros(hiding.num_steps)
        found = wide_shares(self.artifact.weights, options, hiding.inputs)
        return centred(found.shares)[:, place]  # type: ignore[arg-type]

    def _by_channel(self, of_features: NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
        """[T][C]: a channel's value, its indicator of missing values and its change together."""
        front_end = self.artifact.front_end
        assert isinstance(front_end, SeriesFrontEnd)
        owners = front_end.channel_of_feature()
        found = np.zeros((len(of_features), len(front_end.channels)))
        np.add.at(found.T, owners, of_features.T)
        return tuple(tuple(row) for row in found.tolist())


def explain(
    model: str | Path | Artifact,
    examples: Sequence[str] | Sequence[FloatArray],
    *,
    methods: Sequence[str] = ("exact",),
    label: str | None = None,
    seed: int = 0,
) -> list[Explained]:
    """Why a model answers as it does to each of some texts or series.

    model: a run folder, a model.grunlock file or an artifact in memory
    methods: of METHODS
    label: the class to explain; None for the most probable one of each example
    seed: of the random control

    Raises ExplanationError for an unknown label or method and for exact shares of a model that has none,
    DataError as predict_proba does, MissingDependencyError without captum or torch where a method needs them.
    """
    artifact = model if isinstance(model, Artifact) else read_artifact(model)
    explainer = Explainer(artifact, seed=seed)
    return [explainer.explain(example, methods, label) for example in examples]


def occlusion(hiding: Hiding, place: int) -> NDArray[np.float64]:
    """[T]: by how much the centred logit of class `place` falls when a token is hidden (Zeiler 2014)."""
    steps = hiding.num_steps
    keep = np.concatenate([np.ones((1, steps), np.bool_), ~np.eye(steps, dtype=np.bool_)])
    found = centred(hiding.logits(keep))[:, place]
    result: NDArray[np.float64] = found[0] - found[1:]
    return result


def label_place(labels: Sequence[str], label: str) -> int:
    """Raises ExplanationError for a label that the model does not know, with the nearest one."""
    if label in labels:
        return list(labels).index(label)
    near = difflib.get_close_matches(label, labels, n=1)
    raise ExplanationError(
        "The model has no such label.",
        where="--class",
        got=repr(label),
        expected=", ".join(labels[:10]) + (", ..." if len(labels) > 10 else ""),
        cure=f"did you mean {near[0]!r}?" if near else None,
    )


def _method(name: str) -> Method:
    for method in METHODS:
        if method == name:
            return method
    near = difflib.get_close_matches(name, METHODS, n=1)
    raise ExplanationError(
        "Unknown method.",
        where="--method",
        got=name,
        expected=", ".join(METHODS),
        cure=f"did you mean {near[0]}?" if near else None,
    )
