"""The torch-free runtime gives the torch network's numbers, for every part a recipe can choose."""

import numpy as np
import pytest
import torch

from grunlock.models import SequenceClassifier, network_inputs, token_inputs
from grunlock.recipe import DataFacts, Recipe, SeriesFacts, derive, read_recipe
from grunlock.runtime.network import Network
from grunlock.series import SeriesFrontEnd
from grunlock.shapes import pack_layout
from grunlock.text.front_end import TextFrontEnd
from tests.conftest import facts_for, small_facts

TEXTS = ["the cat sat on the mat", "a dog", "unlock what gated nets can do , please", "mat", "the the the"]
UNSEEN = ["the zebra sat", "please unlock the gate", "cat", "a mat , a dog and unseenwords"]

OPTIONS = [
    [],
    ["encoder.reset_after=false"],
    ["encoder.kind=lstm"],
    ["encoder.kind=lstm", "encoder.cell_norm=true", "encoder.zoneout=0.2", "encoder.bidirectional=false"],
    ["encoder.cell_norm=true", "encoder.reset_after=false", "encoder.zoneout=0.3"],
    ["encoder.norm=batch", "encoder.num_layers=2"],
    ["encoder.norm=layer", "encoder.num_layers=3", "encoder.bidirectional=false"],
    ['pooling.parts=["last"]'],
    ['pooling.parts=["attention", "last", "mean", "max"]'],
    ['pooling.parts=["multi_attention", "last"]', "pooling.num_hops=3"],
    ["pooling.inputs=true", 'pooling.parts=["max", "last", "attention"]'],
    ["pooling.inputs=true", "stem.widths=[3]", "encoder.hidden_size=4", "attention.num_heads=2"],
    ["encoder.kind=mingru"],
    ["encoder.kind=mingru", "encoder.norm=batch", "encoder.bidirectional=false", 'pooling.parts=["last"]'],
    ["encoder.kind=minlstm", "encoder.norm=layer", "encoder.num_layers=1"],
    ["encoder.kind=qrnn", 'pooling.parts=["last", "max"]'],
    ["encoder.kind=qrnn", "encoder.window_steps=3", "encoder.num_layers=3"],
    ["encoder.kind=conv", "encoder.widths=[1, 2, 5]"],
    ["encoder.kind=transformer", "encoder.hidden_size=8", "encoder.num_heads=2"],
    ["encoder.kind=transformer", "encoder.hidden_size=8", "encoder.positions=learned", "text.max_tokens=5"],
    ["encoder.kind=bag"],
    ["chunks.chunk_steps=3", "chunks.hidden_size=4", 'pooling.parts=["last", "attention"]'],
    ["encoder.kind=mingru", "chunks.chunk_steps=2", "chunks.over=transformer", "chunks.hidden_size=8"],
    ["chunks.chunk_steps=2", "chunks.hidden_size=4", "attention.num_heads=2"],
    ["encoder.hidden_size=4", "stem.widths=[3]", "attention.num_heads=2", "attention.num_layers=2"],
    ["stem.widths=[2, 5]", "stem.norm=batch", "encoder.kind=bag", "wide.buckets=32", "wide.max_length=3"],
    ["wide.buckets=64", "wide.characters=true"],
    ["wide.buckets=65", "wide.characters=true", "embedding.ngrams.buckets=64", "text.tokens=characters"],
    ["embedding.ngrams.buckets=64"],
    ["embedding.ngrams.buckets=64", "embedding.ngrams.min_length=2", "text.tokens=characters"],
]


SERIES_OPTIONS = [
    [],
    ["series.size=6"],
    ["series.changes=true", "series.each_alone=true"],
    ["encoder.kind=lstm", "series.size=3", "series.changes=true"],
    ["encoder.kind=mingru", "encoder.norm=batch"],
    ["encoder.kind=qrnn", "series.size=4"],
    ["encoder.kind=conv", "encoder.widths=[1, 3, 9]"],
    ["encoder.kind=transformer", "encoder.hidden_size=8", "encoder.num_heads=2", "series.changes=true"],
    ["encoder.kind=transformer", "encoder.hidden_size=8", "encoder.num_heads=2",
     "encoder.positions=learned", "series.size=5"],
    ["encoder.kind=bag", "series.changes=true"],
    ["encoder.kind=bag", "series.size=4", "stem.widths=[3]"],
    ["stem.widths=[3]", "encoder.norm=layer", 'pooling.parts=["last", "attention"]'],
    ["encoder.hidden_size=4", "attention.num_heads=2", "series.size=6"],
    ["pooling.inputs=true", "series.size=3", "stem.widths=[3]"],
    ["chunks.chunk_steps=3", "chunks.hidden_size=4"],
    ["chunks.chunk_steps=2", "chunks.hidden_size=8", "chunks.over=transformer", "series.size=2"],
]  # fmt: skip


def built(overrides: list[str]) -> tuple[Recipe, TextFrontEnd, SequenceClassifier]:
    hidden = [] if "encoder.kind=bag" in overrides else ["encoder.hidden_size=5"]
    together = "wide={training='together', characters=false}"
    wide = together if any(each.startswith("wide.") for each in overrides) else "wide=off"
    recipe = read_recipe("default", ["embedding.size=6", wide, *hidden, *overrides])
    front_end = TextFrontEnd.train(lambda: TEXTS, recipe.text, recipe.ngrams_of(recipe.text.tokens))
    facts = facts_for(front_end)
    return recipe, front_end, away_from_its_start(recipe, facts)


def away_from_its_start(recipe: Recipe, facts: DataFacts) -> SequenceClassifier:
    """A network whose norms and biases are not trivial."""
    torch.manual_seed(0)
    model = SequenceClassifier(recipe, derive(recipe, facts))
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.dim() == 1 or name.startswith("wide"):
                value.add_(torch.rand_like(value) if "var" in name else torch.randn_like(value) * 0.3)
    return model


@pytest.mark.parametrize("overrides", OPTIONS, ids=lambda o: " ".join(o) or "default")
def test_runtime_agrees_with_torch(overrides: list[str]) -> None:
    recipe, front_end, model = built(overrides)
    types = front_end.new_types()
    encoded = front_end.encode(UNSEEN, types)
    layout = pack_layout(encoded.lengths)
    tokens = types.distinct(encoded.tokens[layout.rows])
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    found = Network(recipe, weights).logits(tokens, layout)
    expected = model.eval()(token_inputs(tokens, layout)).detach().numpy()
    np.testing.assert_allclose(found, expected, atol=2e-6, rtol=1e-5)
    assert np.abs(expected).max() > 0.1  # not trivially equal


@pytest.mark.parametrize("overrides", SERIES_OPTIONS, ids=lambda o: " ".join(o) or "series")
def test_runtime_agrees_with_torch_on_series(overrides: list[str]) -> None:
    hidden = [] if "encoder.kind=bag" in overrides else ["encoder.hidden_size=5"]
    recipe = read_recipe("series", [*hidden, *overrides])
    assert recipe.series is not None
    lengths = np.array([4, 9, 1, 7])
    values = np.random.default_rng(0).normal(3, 2, (lengths.sum(), 2)).astype(np.float32)
    values[[2, 3, 11], [0, 1, 0]] = np.nan
    front_end, _ = SeriesFrontEnd.fit(values, lengths, ("a", "b"), recipe.series)
    inputs = SeriesFacts(channels=front_end.channels, num_features=front_end.num_features)
    model = away_from_its_start(recipe, small_facts(inputs=inputs))
    layout = pack_layout(lengths)
    features = front_end.features(values, lengths)[layout.rows]
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    found = Network(recipe, weights).logits(features, layout)
    expected = model.eval()(network_inputs(features, layout)).detach().numpy()
    np.testing.assert_allclose(found, expected, atol=2e-6, rtol=1e-5)
    assert np.ptp(expected, axis=0).max() > 0.1  # series are told apart
