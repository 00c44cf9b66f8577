"""Texts in which one known word decides the label, and how often methods of explanation find it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from grunlock.artifact import Artifact, read
from grunlock.evaluation import predict_texts
from grunlock.explanation.masked import Hiding
from grunlock.explanation.methods import Explainer, Method
from grunlock.recipe import read_recipe
from grunlock.training.run import train

TRIGGERS = {"warm": ("amber", "crimson"), "cold": ("azure", "teal"), "none": ("ivory", "slate")}
FILLERS = [
    f"{first}{second}"
    for first in ("ba", "do", "ki", "mu", "re", "so")
    for second in ("lan", "rit", "vex", "pon")
]
SHORTEST, LONGEST = 5, 18  # tokens


@dataclass(frozen=True)
class Planted:
    """place: of the trigger among the tokens"""

    label: str
    text: str
    place: int


@dataclass(frozen=True)
class Found:
    """hit_rate: share of texts whose trigger has the highest score. reciprocal_rank: mean of 1 / its rank."""

    hit_rate: float
    reciprocal_rank: float


def planted_texts(count: int, seed: int) -> list[Planted]:
    """Fillers with one trigger anywhere among them."""
    rng, labels, found = np.random.default_rng(seed), list(TRIGGERS), []
    for i in range(count):
        label = labels[i % len(labels)]
        words = rng.choice(FILLERS, rng.integers(SHORTEST, LONGEST)).tolist()
        place = int(rng.integers(len(words) + 1))
        words.insert(place, str(rng.choice(TRIGGERS[label])))
        found.append(Planted(label, " ".join(words), place))
    return found


def trained_on(texts: Sequence[Planted], recipe: str, settings: Sequence[str], folder: Path) -> Artifact:
    """A model that has learned the triggers."""
    data = folder / "planted.csv"
    data.write_text("label,text\n" + "".join(f"{each.label},{each.text}\n" for each in texts))
    return read(train(data, read_recipe(recipe, settings), folder / "run").folder)


def found_triggers(
    artifact: Artifact, texts: Sequence[Planted], methods: Sequence[Method]
) -> dict[Method, Found]:
    """Of texts that the model answers rightly, by method; for their own label."""
    explainer = Explainer(artifact)
    answers = [answer.label for answer in predict_texts(explainer.classifier, [t.text for t in texts])]
    right = [each for each, label in zip(texts, answers, strict=True) if each.label == label]
    assert len(right) > 0.9 * len(texts)  # or there is nothing to explain
    ranks: dict[Method, list[int]] = {method: [] for method in methods}
    for each in right:
        hiding = Hiding(explainer.classifier, each.text)
        for method in methods:
            scores = explainer.scores(method, hiding, artifact.labels.index(each.label))
            ranks[method].append(1 + int((scores > scores[each.place]).sum()))
    return {
        method: Found(float(np.mean(np.array(of) == 1)), float(np.mean(1 / np.array(of))))
        for method, of in ranks.items()
    }
