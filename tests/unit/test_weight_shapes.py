"""The names and shapes that a model file is held against are those of the network, for every part."""

import pytest

from grunlock.artifact.weight_shapes import expected_shapes
from grunlock.models import SequenceClassifier
from grunlock.recipe import DataFacts, Recipe, SeriesFacts, derive, read_recipe
from tests.conftest import small_facts
from tests.parity.test_runtime import OPTIONS, SERIES_OPTIONS


def check(recipe: Recipe, facts: DataFacts) -> None:
    derived = derive(recipe, facts)
    own = {
        name: tuple(value.shape) for name, value in SequenceClassifier(recipe, derived).state_dict().items()
    }
    expected = expected_shapes(recipe, derived)
    assert set(own) == set(expected)
    for name, shape in expected.items():
        assert len(shape) == len(own[name]), name
        assert all(wanted in (size, None) for wanted, size in zip(shape, own[name], strict=True)), name


@pytest.mark.parametrize("overrides", OPTIONS, ids=" ".join)
def test_of_texts(overrides: list[str]) -> None:
    hidden = any("encoder.hidden_size" in each or "kind=bag" in each for each in overrides)
    small = ["embedding.size=6", *([] if hidden else ["encoder.hidden_size=4"])]
    check(read_recipe("tiny", [*small, *overrides]), small_facts())


@pytest.mark.parametrize("overrides", SERIES_OPTIONS, ids=" ".join)
def test_of_series(overrides: list[str]) -> None:
    facts = small_facts(inputs=SeriesFacts(channels=("a", "b"), num_features=8))
    check(read_recipe("series", overrides), facts)
