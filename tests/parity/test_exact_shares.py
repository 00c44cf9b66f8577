"""Exact shares against a recursion that carries what every step wrote along, one step after another, in
float64, and against errors planted in their source."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from grunlock.artifact import Artifact
from grunlock.errors import ExplanationError
from grunlock.explanation import exact, gates, layers, pooled, wide
from grunlock.explanation.exact import explain_exactly
from grunlock.export.reference import torch_classifier
from grunlock.runtime.classifier import TextClassifier
from grunlock.runtime.network import embed
from tests.parity.exported_models import drawn_series, drawn_texts, series_artifact, text_artifact

ATOL = 1e-5
RTOL = 1e-5  # torch adds in float32
BOTH = "encoder.bidirectional=true"
ALL_PARTS = "pooling.parts=['last','max','mean','attention','multi_attention']"

RECIPES: list[list[str]] = [
    [],
    ["encoder.bidirectional=false", "pooling.parts=['last']"],
    ["encoder.reset_after=false", "encoder.zoneout=0.2", "pooling.parts=['last','max','mean']"],
    ["encoder.num_layers=2", "encoder.norm=layer"],
    ["encoder.cell_norm=true", "encoder.norm=batch", "encoder.num_layers=2"],
    ["encoder.cell_norm=true", "encoder.reset_after=false"],
    [ALL_PARTS],
    ["pooling.inputs=true", "pooling.parts=['last','max']"],
    ["stem.widths=[3,2]"],
    ["encoder.kind=mingru"],
    ["encoder.kind=minlstm"],
    ["encoder.kind=qrnn", "pooling.parts=['last','mean']"],
    ["encoder.kind=bag"],
    ["encoder.kind=bag", "pooling.parts=['last','max']"],
    ["wide={training='together', characters=false}"],
    ["wide={training='together', characters=true}"],
    ["wide={training='apart', characters=true, buckets=4096, max_length=3}"],
    ["text.tokens=characters", "wide={training='apart', characters=true, buckets=64}"],
    ["encoder.bidirectional=false", ALL_PARTS, "pooling.inputs=true", "encoder.norm=batch"],
]


@pytest.mark.parametrize("overrides", RECIPES, ids=lambda o: " ".join(o) or "default")
def test_shares_add_up_to_the_logits_of_torch(overrides: list[str]) -> None:
    artifact = text_artifact(overrides)
    texts = drawn_texts([1, 2, 9, 70])
    expected = torch_classifier(artifact).logits(texts)  # type: ignore[arg-type]
    for text, logits in zip(texts, expected, strict=True):
        found = explain_exactly(artifact.classifier(), text)
        added = np.array(found.bias) + np.sum([token.shares for token in found.tokens], axis=0)
        np.testing.assert_allclose(added, logits, atol=ATOL, rtol=RTOL)
        np.testing.assert_allclose(found.logits, logits, atol=ATOL, rtol=RTOL)
        assert found.difference < ATOL


@pytest.mark.parametrize("overrides", [[], ["stem={widths=[3]}"], ["encoder.kind=mingru"]])
def test_shares_of_series_add_up(overrides: list[str]) -> None:
    classifier = series_artifact(overrides).classifier()
    for series in drawn_series([40, 9, 1]):
        found = explain_exactly(classifier, series)
        assert len(found.tokens) == len(series)
        assert found.difference < ATOL


# Against brute force ------------------------------------------------------------------------------------

BRUTE = [
    ["encoder.bidirectional=false", "pooling.parts=['last']"],
    [BOTH, "pooling.parts=['last','max','mean']"],
    [BOTH, "encoder.reset_after=false", "encoder.zoneout=0.3", "pooling.parts=['max','last']"],
]


def brute_shares(artifact: Artifact, text: str) -> np.ndarray:
    """[T, K]: at each step all that earlier steps wrote is multiplied by z, and what this one writes is put
    beside it; pooling then looks at the parts of every state."""
    classifier, weights = artifact.classifier(), artifact.weights
    assert isinstance(classifier, TextClassifier)
    ((_, tokens, _),) = classifier.batches([text])
    vectors, index = embed(weights, tokens)
    x = vectors[index].astype(np.float64)
    options = artifact.recipe.encoder
    suffixes = ["", "_reverse"] if options.bidirectional else [""]  # type: ignore[union-attr]
    parts = [_carried(artifact, x, suffix) for suffix in suffixes]  # each [T, T, H]: state, writer
    joined = np.concatenate(parts, axis=2)
    states, size = joined.sum(axis=1), parts[0].shape[2]
    blocks = []
    for part in artifact.recipe.pooling.parts:
        if part == "mean":
            blocks.append(joined.mean(axis=0))
        elif part == "max":
            blocks.append(joined[states.argmax(axis=0), :, np.arange(joined.shape[2])].T)
        else:
            ends = [joined[-1, :, :size], *([joined[0, :, size:]] if len(parts) == 2 else [])]
            blocks.append(np.concatenate(ends, axis=1))
    return np.concatenate(blocks, axis=1) @ weights["head.weight"].T.astype(np.float64)


def _carried(artifact: Artifact, x: np.ndarray, suffix: str) -> np.ndarray:
    prefix, options = "encoder.layers.0.", artifact.recipe.encoder
    w_ih, w_hh, b_ih, b_hh = (
        artifact.weights[f"{prefix}{name}_l0{suffix}"].astype(np.float64)
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    steps, size = len(x), w_hh.shape[1]
    parts, found = np.zeros((steps, size)), np.zeros((steps, steps, size))
    for t in reversed(range(steps)) if suffix else range(steps):
        h = parts.sum(axis=0)
        x_r, x_z, x_n = np.split(w_ih @ x[t] + b_ih, 3)
        a_r, a_z, a_n = np.split(w_hh @ h + b_hh, 3)
        r, z = 1 / (1 + np.exp(-x_r - a_r)), 1 / (1 + np.exp(-x_z - a_z))
        past = r * a_n
        if not options.reset_after:  # type: ignore[union-attr]
            past = w_hh[2 * size :] @ (r * h) + b_hh[2 * size :]
        n, k = np.tanh(x_n + past), options.zoneout  # type: ignore[union-attr]
        parts = parts * (k + (1 - k) * z)
        parts[t] = (1 - k) * (1 - z) * n
        found[t] = parts
    return found


def check_against_brute_force(overrides: list[str]) -> None:
    artifact = text_artifact(overrides)
    for text in drawn_texts([1, 2, 12]):
        found = explain_exactly(artifact.classifier(), text)
        shares = np.array([token.shares for token in found.tokens])
        np.testing.assert_allclose(shares, brute_shares(artifact, text), atol=ATOL)


@pytest.mark.parametrize("overrides", BRUTE)
def test_shares_are_those_of_a_recursion_in_float64(overrides: list[str]) -> None:
    check_against_brute_force(overrides)


# Planted errors -----------------------------------------------------------------------------------------


def mutated(module: ModuleType, name: str, right: str, wrong: str) -> Any:
    """A function of the module, compiled from its source with one change."""
    source = Path(str(module.__file__)).read_text()
    assert source.count(right) == 1, right
    namespace: dict[str, Any] = {"__name__": module.__name__}
    exec(compile(source.replace(right, wrong), str(module.__file__), "exec"), namespace)
    return namespace[name]


PLANTED = [
    (gates, layers, "gru_written", "new * n, None", "(1.0 - new) * n, None"),  # z for 1 - z
    (gates, layers, "gru_written", "r, z = gates[:, :size]", "z, r = gates[:, :size]"),
    (gates, layers, "gru_written", "states_before(states, reverse=reverse)", "states"),
    (gates, layers, "gru_written", "before[1:] = states[:-1]", "before[:-1] = states[1:]"),
    (gates, layers, "gru_written", "(1.0 - layer.zoneout) * (1.0 - z)", "1.0 - z"),
    (exact, exact, "written_shares", "onward = written.keep[step] * total", "onward = total"),
    (
        exact,
        exact,
        "written_shares",
        "total = gained + onward",
        "total = (gained + onward) * written.keep[step]",
    ),  # the product off by one step
    (
        exact,
        exact,
        "written_shares",
        "steps if written.reverse else reversed(steps)",
        "reversed(steps)",
    ),
    (pooled, exact, "blocks", "chosen[0, backward] = 0.0, 1.0", "chosen[0, backward] = 1.0, 0.0"),
    (pooled, exact, "blocks", "states.argmax(axis=0)", "states.argmin(axis=0)"),
]


@pytest.mark.parametrize(("module", "where", "name", "right", "wrong"), PLANTED)
def test_a_planted_error_is_caught(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, where: ModuleType, name: str, right: str, wrong: str
) -> None:
    monkeypatch.setattr(exact, "MAX_DIFFERENCE", np.inf)  # so that the test itself has to see it
    monkeypatch.setattr(where, name, mutated(module, name, right, wrong))
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check_against_brute_force([BOTH, "encoder.zoneout=0.3", "pooling.parts=['last','max','mean']"])


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("of_ngrams / place.length[:, None]", "of_ngrams"),
        ("given / counted.counts[inside][:, None]", "given"),
        ("bags.ids + (kind << BAG_SHIFT)", "bags.ids"),
    ],
)
def test_an_error_in_the_wide_shares_stops_the_explanation(
    monkeypatch: pytest.MonkeyPatch, right: str, wrong: str
) -> None:
    """The explanation checks itself against the network's logits."""
    monkeypatch.setattr(exact, "wide_shares", mutated(wide, "wide_shares", right, wrong))
    artifact = text_artifact(["wide={training='apart', characters=true, buckets=4096}"])
    with pytest.raises(ExplanationError, match=r"do not add up[\s\S]*got: *a difference"):
        explain_exactly(artifact.classifier(), "the cat sat on the mat and the cat can do")


def test_unchanged_source_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, where, name in {(module, where, name) for module, where, name, _, _ in PLANTED}:
        monkeypatch.setattr(where, name, mutated(module, name, "No torch.", ""))
    check_against_brute_force([BOTH, "encoder.zoneout=0.3", "pooling.parts=['last','max','mean']"])
