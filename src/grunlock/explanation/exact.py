"""Exact shares: the parts that tokens have in the logits of a gated network. No torch.

A logit is linear in the states of the top layer once pooling is taken as it came, and a state is a sum of
what steps wrote, each times the gates behind it (gates.py). So each logit is a sum over tokens, plus biases:

    logit_k = bias_k + sum over t of share_(t, k),    share_(t, k) = sum over units of G_k(t) * written(t)

    G_k(t) = A_k(t) + keep(t + 1) * G_k(t + 1)

A_k(t) is what the logit gains per unit of the state after t (pooling and head); a backward direction has
t - 1 in place of t + 1. Nothing is estimated. What it is not: the effect of a token alone. What a step writes
and how much a gate keeps were computed from all tokens read before.
"""

from dataclasses import dataclass

import numpy as np

from grunlock.errors import ExplanationError
from grunlock.explanation.gates import Doubles, Written
from grunlock.explanation.layers import LayerRun, exact_layers
from grunlock.explanation.notes import exact_notes
from grunlock.explanation.pooled import Block, blocks, column_weights
from grunlock.explanation.results import Explanation, Gate, TokenShare
from grunlock.explanation.traces import gate_traces
from grunlock.explanation.wide import wide_shares
from grunlock.explanation.words import word_shares
from grunlock.runtime.classifier import TextClassifier
from grunlock.runtime.network import Network, embed
from grunlock.runtime.norms import under
from grunlock.runtime.probabilities import probabilities, sound
from grunlock.runtime.series_classifier import SeriesClassifier
from grunlock.runtime.stem import Stem
from grunlock.shapes import FloatArray, PackedLayout
from grunlock.text.spans import token_spans
from grunlock.text.types import DistinctTokens

MAX_DIFFERENCE = 1e-3  # of a logit, times its size if that is above 1; more is no rounding


@dataclass(frozen=True)
class ExactShares:
    """Of one sequence of T steps. logits are the network's own; bias + sum of shares differ by rounding only.

    shares: [T, K], wide included; wide: [T, K]; bias, logits: [K]; layers: from the lowest
    """

    shares: Doubles
    wide: Doubles
    bias: Doubles
    logits: FloatArray
    layers: tuple[LayerRun, ...]

    @property
    def difference(self) -> float:
        """The largest distance between a logit and the sum."""
        return float(np.abs(self.bias + self.shares.sum(axis=0) - self.logits).max())


class ExactExplainer:
    """Explains one classifier's answers; its weights are made ready once. Safe to call from many threads.

    Raises ExplanationError for a network whose logits are no sum over steps.
    """

    def __init__(self, classifier: TextClassifier | SeriesClassifier) -> None:
        self._classifier = classifier
        self._network = classifier.network
        self._layers = exact_layers(self._network)
        self._notes = exact_notes(self._network.recipe)

    def explain(self, example: str | FloatArray) -> Explanation:
        """A text, or a series [steps, C]. Raises DataError as predict_proba does."""
        classifier = self._classifier
        ((_, inputs, layout),) = classifier.batches([example])  # type: ignore[list-item]
        found = self.shares(inputs, layout)
        gates = _gates(found.layers, layout.num_rows)
        if isinstance(classifier, TextClassifier):
            text = str(example)
            spans = token_spans(classifier.front_end, text)
            tokens = _tokens(found, gates, [(text[start:end], start, end) for start, end in spans])
            words = word_shares(classifier.front_end, text, tokens)
        else:
            text, words = "", None
            tokens = _tokens(found, gates, [(str(t), t, t + 1) for t in range(layout.num_rows)])
        return Explanation(
            kind="text" if isinstance(classifier, TextClassifier) else "series",
            text=text,
            labels=classifier.labels,
            tokens=tokens,
            words=words,
            bias=tuple(found.bias.tolist()),
            logits=tuple(found.logits.tolist()),
            temperature=classifier.temperature,
            probs=tuple(probabilities(found.logits[None], classifier.temperature)[0].tolist()),
            difference=found.difference,
            notes=self._notes,
        )

    def shares(self, inputs: DistinctTokens | FloatArray, layout: PackedLayout) -> ExactShares:
        """inputs: of one sequence, as Network.logits takes them

        Raises ExplanationError if the shares do not add up to the logits, which would be a fault of ours.
        """
        network, is_text = self._network, isinstance(inputs, DistinctTokens)
        vectors, index = embed(network.weights, inputs)
        if network.recipe.stem is not None:
            stem = Stem(under(network.weights, "stem."), network.recipe.stem)
            vectors, index = stem.run(vectors, index, layout)
        layers = self._layers.run(vectors, index)
        shares = _state_shares(network, vectors[index], layers)
        bias = np.asarray(network.weights["head.bias"], np.float64)
        wide = np.zeros_like(shares)
        if network.recipe.wide is not None and isinstance(inputs, DistinctTokens):
            found = wide_shares(network.weights, network.recipe.wide, inputs)
            wide, bias = found.shares, bias + found.bias
        logits = sound(network.logits(inputs, layout), of_series=not is_text)[0]
        result = ExactShares(shares + wide, wide, bias, logits, tuple(layers))
        if not result.difference <= MAX_DIFFERENCE * max(1.0, float(np.abs(logits).max())):
            raise ExplanationError(
                "The shares do not add up to the model's logits. This is a fault of ours, please report it.",
                got=f"a difference of {result.difference:.2g}",
                expected=f"at most {MAX_DIFFERENCE:g}, from rounding",
            )
        return result


def explain_exactly(classifier: TextClassifier | SeriesClassifier, example: str | FloatArray) -> Explanation:
    """The exact share of each token of a text, or step of a series, in each logit of the classifier's answer.

    Who explains many examples of one classifier saves time with an ExactExplainer.

    Raises ExplanationError for a model whose logits are no such sum (self-attention, chunks, LSTM,
    convolutions, Transformer, precision other than float32), DataError as predict_proba does.
    """
    return ExactExplainer(classifier).explain(example)


def _state_shares(network: Network, vectors: FloatArray, layers: list[LayerRun]) -> Doubles:
    """[T, K] of what pooling reads. vectors: [T, D]"""
    states = layers[-1].states if layers else vectors
    both = network.recipe.pooling.inputs
    first = vectors.shape[1] if both else 0
    pooled = np.concatenate([vectors, states], axis=1) if both else states
    directions = layers[-1].written if layers else ()
    size = states.shape[1] // max(len(directions), 1)
    backward = slice(first + size, first + 2 * size) if len(directions) == 2 else None
    found = blocks(network.weights, network.recipe.pooling.parts, pooled, backward)
    shares = np.zeros((len(pooled), len(found[0].head)))
    as_they_are = slice(0, pooled.shape[1] if not layers else first)
    for step in range(len(pooled)):
        shares[step] += column_weights(found, step)[:, as_they_are] @ pooled[step, as_they_are].astype(float)
    for place, written in enumerate(directions):
        columns = slice(first + place * size, first + (place + 1) * size)
        shares += written_shares(found, columns, written)
    return shares


def written_shares(found: tuple[Block, ...], columns: slice, written: Written) -> Doubles:
    """[T, K]: G_k of each step times what it wrote, from the end of reading back to its beginning."""
    steps = range(len(written.keep))
    shares = np.empty((len(written.keep), len(found[0].head)))
    onward = np.zeros((1, written.keep.shape[1]))  # keep(t + 1) * G_k(t + 1), [K, H]
    for step in steps if written.reverse else reversed(steps):
        gained = column_weights(found, step)[:, columns]
        if written.gain is not None:
            gained = gained * written.gain[step]
        total = gained + onward
        shares[step] = total @ written.written[step]
        onward = written.keep[step] * total
    return shares


def _gates(layers: tuple[LayerRun, ...], num_steps: int) -> list[tuple[Gate, ...]]:
    """Of each step those of all layers and directions."""
    traces = [gate_traces(i, written) for i, layer in enumerate(layers) for written in layer.written]
    return list(zip(*traces, strict=True)) if traces else [()] * num_steps


def _tokens(
    found: ExactShares, gates: list[tuple[Gate, ...]], places: list[tuple[str, int, int]]
) -> tuple[TokenShare, ...]:
    rows = zip(places, found.shares.tolist(), found.wide.tolist(), gates, strict=True)
    return tuple(_token(place, shares, wide, each) for place, shares, wide, each in rows)


def _token(
    place: tuple[str, int, int], shares: list[float], wide: list[float], gates: tuple[Gate, ...]
) -> TokenShare:
    top = [gate for gate in gates if gate.layer == gates[-1].layer]
    lives = [gate.half_life_steps for gate in top]
    finite = [life for life in lives if life is not None]
    return TokenShare(
        *place,
        shares=tuple(shares),
        wide=tuple(wide),
        rewrote=_mean([gate.rewrote for gate in top]),
        survived=_mean([gate.survived for gate in top]),
        half_life_steps=_mean(finite) if len(finite) == len(lives) else None,
        gates=gates,
    )


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
