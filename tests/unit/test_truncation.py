"""Truncated back-propagation: the gradient of a network whose states are detached, in constant memory."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from grunlock.errors import RecipeError
from grunlock.layers.packing import IndexedRows
from grunlock.models import SequenceClassifier, TokenInputs, token_inputs
from grunlock.recipe import Recipe, TextFacts, derive, read_recipe
from grunlock.shapes import pack_layout
from grunlock.text import DistinctTokens
from grunlock.training.truncation import TruncatedPass, stretches
from tests.conftest import small_facts

LENGTHS = np.array([11, 4, 7, 1, 8, 7])
STEPS = 3
KINDS = ["gru", "lstm", "mingru", "minlstm"]


def recipe_of(*overrides: str) -> Recipe:
    plain = ["encoder.input_dropout=0", "embedding.word_dropout=0", "head.dropout=0"]
    plain += [] if any("encoder.kind=min" in o for o in overrides) else ["encoder.weight_dropout=0"]
    sizes = ["embedding.size=4", "encoder.hidden_size=3", "encoder.bidirectional=false"]
    return read_recipe("default", [*plain, *sizes, f"training.bptt_steps={STEPS}", *overrides])


def model_of(recipe: Recipe) -> SequenceClassifier:
    torch.manual_seed(0)
    model = SequenceClassifier(
        recipe, derive(recipe, small_facts(inputs=TextFacts(vocab_size=9, tokens="words", script="spaced")))
    ).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def batch() -> TokenInputs:
    layout = pack_layout(LENGTHS)
    tokens = np.random.default_rng(0).integers(1, 9, layout.num_rows)
    distinct, inverse = np.unique(tokens, return_inverse=True)
    return token_inputs(DistinctTokens(distinct, inverse), layout)


def loss_of(logits: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(logits, torch.arange(len(logits)) % 3)


def detached_logits(model: SequenceClassifier, inputs: TokenInputs, steps: int) -> Tensor:
    """The whole network in one graph, its states detached every `steps`: what truncation means."""
    embedded, states = model.embedding(inputs), None
    rows, finals = [], torch.zeros(len(LENGTHS), 3, dtype=torch.float64)
    for stretch in stretches(inputs.batch_sizes, steps):
        index = embedded.index[stretch.first_row : stretch.last_row]
        part = IndexedRows(embedded.vectors, index, stretch.batch_sizes)
        encoded, states = model.encoder.advance(part, states)  # type: ignore[attr-defined]
        count, going_on = len(encoded.final), stretch.num_going_on
        states = [tuple(state.detach()[:, :going_on] for state in layer) for layer in states]
        rows.append(encoded.rows)
        finals = torch.cat([finals[:going_on], encoded.final[going_on:], finals[count:]])
    whole = type(encoded)(torch.cat(rows), finals, inputs.batch_sizes)
    return model.logits_of(model.pooling(whole), inputs)


def gradients(model: SequenceClassifier) -> dict[str, Tensor]:
    found = {name: p.grad.to_dense() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("parts", ['["last"]', '["mean", "max"]', '["max", "last", "mean"]'])
@pytest.mark.parametrize("steps", [1, STEPS, 5, 50])
def test_gradients_are_those_of_detached_states(kind: str, parts: str, steps: int) -> None:
    recipe = recipe_of(
        f"encoder.kind={kind}", f"pooling.parts={parts}", "encoder.num_layers=2", "wide.buckets=8"
    )
    model, inputs = model_of(recipe), batch()
    expected_loss = loss_of(detached_logits(model, inputs, steps))
    expected_loss.backward()
    expected = gradients(model)
    loss = TruncatedPass(model, model.encoder, steps, seed=1).backward(inputs, loss_of)  # type: ignore[arg-type]
    found = gradients(model)
    assert loss == pytest.approx(expected_loss.item(), rel=1e-12)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12, msg=name)


def test_a_stretch_as_long_as_the_batch_is_plain_backpropagation_and_shorter_ones_are_not() -> None:
    model, inputs = model_of(recipe_of()), batch()
    loss_of(model(inputs)).backward()
    plain = gradients(model)
    for steps, same in ((11, True), (3, False)):
        TruncatedPass(model, model.encoder, steps, seed=1).backward(inputs, loss_of)  # type: ignore[arg-type]
        found = gradients(model)
        name = "encoder.layers.0.weight_hh_l0"
        assert torch.allclose(found[name], plain[name], rtol=1e-9) is same


def test_both_passes_see_the_same_masks() -> None:
    """With dropout the loss is repeated exactly and its gradient is that of one fixed network."""
    recipe = recipe_of("encoder.state_dropout=0.3", "encoder.zoneout=0.2", "encoder.input_dropout=0.2")
    model, inputs = model_of(recipe), batch()
    step = TruncatedPass(model, model.encoder, STEPS, seed=5)  # type: ignore[arg-type]
    first = step.backward(inputs, loss_of)
    found = gradients(model)["encoder.layers.0.bias_ih_l0"]
    epsilon, losses = 1e-6, []
    direction = torch.zeros(9, dtype=torch.float64)
    direction[8] = 1.0  # of the last unit's candidate: at the last steps it is cut off from nothing
    for sign in (1.0, -1.0):
        moved = copy.deepcopy(model)
        with torch.no_grad():
            moved.encoder.layers[0].bias_ih_l0.add_(sign * epsilon * direction)  # type: ignore
        whole = TruncatedPass(moved, moved.encoder, 50, seed=5)  # type: ignore[arg-type]
        losses.append(whole.backward(inputs, loss_of))
    assert step.backward(inputs, loss_of) == first
    assert gradients(model)["encoder.layers.0.bias_ih_l0"].equal(found)
    whole_gradient = (losses[0] - losses[1]) / (2 * epsilon)
    TruncatedPass(model, model.encoder, 50, seed=5).backward(inputs, loss_of)  # type: ignore[arg-type]
    assert gradients(model)["encoder.layers.0.bias_ih_l0"][8].item() == pytest.approx(
        whole_gradient, rel=1e-5
    )


def test_stretches_cover_every_row_once_and_know_who_ends() -> None:
    sizes = torch.from_numpy(pack_layout(LENGTHS).batch_sizes)
    found = list(stretches(sizes, STEPS))
    assert [s.first_row for s in found] == [0, *[s.last_row for s in found[:-1]]]
    assert found[-1].last_row == LENGTHS.sum()
    lengths = np.sort(LENGTHS)[::-1]
    for place, stretch in enumerate(found):
        inside = lengths[: len(stretch.ending)]
        assert stretch.ending.tolist() == (inside <= (place + 1) * STEPS).tolist()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["encoder.bidirectional=true"], "encoder.bidirectional = false"),
        (["encoder.norm=batch"], 'encoder.norm = "layer" or "off"'),
        (['pooling.parts=["attention"]'], "pooling.parts of last, max, mean"),
        (["stem={}"], "stem off"),
        (["pooling.inputs=true"], "pooling.inputs = false"),
        (["encoder.hidden_size=4", "attention.num_heads=2"], "attention off"),
        (["encoder.kind=conv"], "an encoder of kind gru, lstm, mingru or minlstm, got conv"),
    ],
)
def test_what_reads_all_steps_at_once_is_refused(overrides: list[str], words: str) -> None:
    base = [] if "encoder.kind=conv" in overrides else ["encoder.bidirectional=false"]
    with pytest.raises(RecipeError) as refused:
        read_recipe("default", [*base, "training.bptt_steps=5", *overrides])
    assert f"with training.bptt_steps: {words}" in str(refused.value)
