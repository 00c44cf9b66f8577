"""What several tests need: small trained networks and texts that can be learned in seconds."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

from grunlock.artifact import Artifact
from grunlock.models import SequenceClassifier
from grunlock.recipe import DataFacts, TextFacts, derive, read_recipe
from grunlock.text.front_end import TextFrontEnd

SHARED = Path(__file__).parents[1].parent / "shared"
COLOURS = ["red", "green", "blue"]
FILLERS = ["the", "a", "very", "house", "car", "is", "looks", "today", "quite", "and"]


THOROUGH = pytest.mark.skipif(
    "GRUNLOCK_THOROUGH" not in os.environ, reason="a few of many alike; GRUNLOCK_THOROUGH=1 runs all"
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Clusters and workflows first: they take longest, and where tests share processors the end shall be
    short ones."""
    items.sort(key=lambda item: not {"scale", "workflows"} & set(item.path.parts))


def one_in(every: int, cases: Iterable[Any]) -> list[Any]:
    """Parameters of a slow test: one of every so many always runs, the others with GRUNLOCK_THOROUGH=1."""
    return [case if i % every == 0 else pytest.param(case, marks=THOROUGH) for i, case in enumerate(cases)]


def colour_rows(count: int, offset: int = 0) -> list[tuple[str, str]]:
    """(label, text): the label is the colour word hidden among fillers. Balanced, all different."""
    rows = []
    for i in range(offset, offset + count):
        words = [FILLERS[(i * 7 + j * 3 + i // 10) % len(FILLERS)] for j in range(2 + i % 5)]
        colour = COLOURS[i % len(COLOURS)]
        words.insert(i % (len(words) + 1), colour)
        rows.append((colour, f"{' '.join(words)} n{i}"))
    return rows


def small_facts(**changes: object) -> DataFacts:
    """Facts of a very small data set in three classes, some of them changed."""
    facts = DataFacts(
        num_train_examples=12,
        num_valid_examples=3,
        num_classes=3,
        longest_steps=8,
        batches_per_epoch=1,
        inputs=TextFacts(vocab_size=5, tokens="words", script="spaced"),
    )
    return facts.model_copy(update=changes)


def facts_for(front_end: TextFrontEnd) -> DataFacts:
    """Small facts of texts that this front end tokenises."""
    inputs = TextFacts(vocab_size=front_end.vocab_size, tokens=front_end.tokens, script="spaced")
    return small_facts(inputs=inputs)


@pytest.fixture
def colours_csv(tmp_path: Path) -> Path:
    """A labelled file of 90 texts in three classes."""
    path = tmp_path / "colours.csv"
    path.write_text("label,text\n" + "".join(f"{label},{text}\n" for label, text in colour_rows(90)))
    return path


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED.is_dir():
        pytest.skip("the shared data sets are not beside this checkout")
    return SHARED / "data"


@pytest.fixture
def artifact() -> Artifact:
    """An untrained but complete model."""
    recipe = read_recipe("tiny", ["embedding.size=4", "encoder.hidden_size=3"])
    texts = [text for _, text in colour_rows(12)]
    assert recipe.text is not None
    front_end = TextFrontEnd.train(lambda: texts, recipe.text, ngrams=None)
    derived = derive(recipe, facts_for(front_end))
    torch.manual_seed(0)
    weights = {k: v.numpy() for k, v in SequenceClassifier(recipe, derived).state_dict().items()}
    metrics = {"accuracy": 1 / 3, "nll": 1.1}
    return Artifact(recipe, derived, front_end, tuple(sorted(COLOURS)), weights, 1.5, metrics, "f" * 64)
