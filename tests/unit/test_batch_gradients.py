"""What regularisers add to the loss of a batch, against their formulas."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from grunlock.data.batches import Batch, EndlessBatches
from grunlock.data.prepare import prepare
from grunlock.data.sources import InMemory
from grunlock.errors import RecipeError
from grunlock.layers.packing import IndexedRows
from grunlock.models import SequenceClassifier, network_inputs
from grunlock.objectives.losses import distillation_losses, divergences
from grunlock.recipe import Recipe, read_recipe
from grunlock.seeding import generator
from grunlock.training.batch_gradients import BatchGradients
from grunlock.training.loop import Trainer
from grunlock.training.start import build_start, derive_for
from tests.conftest import colour_rows

PLAIN = ["embedding.size=4", "embedding.word_dropout=0", "encoder.hidden_size=3", "encoder.input_dropout=0",
         "head.dropout=0", "loss.label_smoothing=0"]  # fmt: skip
Made = tuple[Recipe, SequenceClassifier, Batch]


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Made]:
    """A recipe's network and a batch of eleven texts."""

    def build(*settings: str) -> Made:
        recipe = read_recipe("tiny", [*PLAIN, *settings])
        labels, texts = (list(column) for column in zip(*colour_rows(41), strict=True))
        data = prepare(InMemory(texts, labels), recipe, tmp_path / str(len(list(tmp_path.iterdir()))))
        model = build_start(recipe, derive_for(recipe, data), data, None).model.train()
        return recipe, model, data.train.batch(np.arange(11))

    return build


def gradients(recipe: Recipe, model: SequenceClassifier, batch: Batch, weight: float = 1.0) -> torch.Tensor:
    """All gradients of the recipe's loss, end to end."""
    model.zero_grad()
    BatchGradients(recipe, model, None).add(batch, weight, seed=3)
    return flat(model)


def flat(model: SequenceClassifier) -> torch.Tensor:
    grads = [p.grad.to_dense() if p.grad is not None else torch.zeros_like(p) for p in model.parameters()]
    return torch.cat([grad.flatten() for grad in grads])


def logits_of(model: SequenceClassifier, batch: Batch) -> torch.Tensor:
    found: torch.Tensor = model(network_inputs(batch.inputs, batch.layout))
    return found


def test_mixup_is_the_loss_of_mixed_pooled_vectors(make: Callable[..., Made]) -> None:
    recipe, model, batch = make("mixup.alpha=0.5")
    found = gradients(recipe, model, batch)
    rng = generator(3, "mixup")
    shares = torch.from_numpy(rng.beta(0.5, 0.5, 11)).float()
    partners = torch.from_numpy(rng.permutation(11))
    inputs = network_inputs(batch.inputs, batch.layout)
    pooled = model.pooling(model.encoder(model.embedding(inputs)))
    mixed = model.head(shares[:, None] * pooled + (1 - shares[:, None]) * pooled[partners])
    targets = torch.from_numpy(batch.targets)
    own = functional.cross_entropy(mixed, targets, reduction="none")
    other = functional.cross_entropy(mixed, targets[partners], reduction="none")
    model.zero_grad()
    (shares * own + (1 - shares) * other).mean().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(found, flat(model), rtol=1e-4, atol=1e-6)


def test_rdrop_without_dropout_is_the_plain_loss_and_with_it_is_more(make: Callable[..., Made]) -> None:
    recipe, model, batch = make("rdrop.weight=2.0")
    plain = recipe.model_copy(update={"rdrop": None})
    torch.testing.assert_close(gradients(recipe, model, batch), gradients(plain, model, batch))
    recipe, model, batch = make("rdrop.weight=2.0", "head.dropout=0.5")
    torch.manual_seed(3)
    first, second = logits_of(model, batch), logits_of(model, batch)
    targets = torch.from_numpy(batch.targets)
    ce = (functional.cross_entropy(first, targets) + functional.cross_entropy(second, targets)) / 2
    apart = (divergences(first, second) + divergences(second, first)).mean() / 2
    loss = BatchGradients(recipe, model, None).add(batch, 0.5, seed=3)
    assert loss == pytest.approx(0.5 * (ce + 2.0 * apart).item(), rel=1e-5)
    assert apart.item() > 0


def moved(model: SequenceClassifier, batch: Batch, epsilon: float) -> torch.Tensor:
    """Logits at vectors moved along the gradient of the loss, sequence by sequence."""
    inputs = network_inputs(batch.inputs, batch.layout)
    embedded = model.embedding(inputs)
    rows = embedded.spread().detach().requires_grad_()
    loss = functional.cross_entropy(
        model.answer(IndexedRows.of_rows(rows, inputs.batch_sizes), inputs), torch.from_numpy(batch.targets)
    )
    (grad,) = torch.autograd.grad(loss, rows)
    move = torch.zeros_like(grad)
    sequence = np.concatenate([np.arange(size) for size in inputs.batch_sizes.tolist()])
    for i in range(len(batch.targets)):
        of = torch.from_numpy(np.flatnonzero(sequence == i))
        move[of] = epsilon * rows.detach()[of].norm() * grad[of] / grad[of].norm()
    answer: torch.Tensor = model.answer(
        IndexedRows.of_rows(embedded.spread() + move, inputs.batch_sizes), inputs
    )
    return answer


def test_adversarial_adds_the_loss_at_moved_vectors(make: Callable[..., Made]) -> None:
    recipe, model, batch = make("adversarial.epsilon=0.2", "adversarial.weight=0.7")
    targets = torch.from_numpy(batch.targets)
    found = gradients(recipe, model, batch)
    model.zero_grad()
    at = functional.cross_entropy(moved(model, batch, 0.2), targets)
    loss = functional.cross_entropy(logits_of(model, batch), targets) + 0.7 * at
    loss.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(found, flat(model), rtol=1e-4, atol=1e-6)


def test_virtual_adversarial_finds_a_worse_direction_than_chance(make: Callable[..., Made]) -> None:
    """The added loss is a divergence: none without a move, and larger than at random moves of that length."""
    _, model, batch = make()
    losses = {}
    for epsilon in (1e-4, 0.3):
        recipe = read_recipe("tiny", [*PLAIN, f"virtual_adversarial.epsilon={epsilon}"])
        losses[epsilon] = BatchGradients(recipe, model, None).add(batch, 1.0, seed=3)
    with torch.no_grad():
        logits = logits_of(model, batch)
        plain = functional.cross_entropy(logits, torch.from_numpy(batch.targets))
        inputs = network_inputs(batch.inputs, batch.layout)
        rows = model.embedding(inputs).spread()
        chance = []
        for seed in range(20):
            torch.manual_seed(seed)
            noise = torch.randn_like(rows)
            noise *= 0.3 * rows.norm() / noise.norm()
            there = model.answer(IndexedRows.of_rows(rows + noise, inputs.batch_sizes), inputs)
            chance.append(float(divergences(logits, there).mean()))
    assert losses[1e-4] == pytest.approx(float(plain), abs=1e-5)
    assert losses[0.3] - float(plain) > 2 * max(chance)


def test_gradients_grow_with_the_weight_of_a_batch(make: Callable[..., Made]) -> None:
    """Twice the weight, twice the gradients: a batch may be one of several of a step."""
    recipe, model, batch = make("virtual_adversarial={}", "adversarial={}", "mixup={}")
    single = gradients(recipe, model, batch)
    torch.testing.assert_close(gradients(recipe, model, batch, 2.0), 2 * single, rtol=1e-4, atol=1e-6)


def test_distillation_loss_is_the_softened_divergence() -> None:
    logits, probs = torch.tensor([[1.0, 2.0, 0.5]]), torch.tensor([[0.7, 0.2, 0.1]])
    soft = probs ** (1 / 3) / (probs ** (1 / 3)).sum()
    log_student = torch.log_softmax(logits / 3, dim=1)
    expected = 9 * functional.kl_div(log_student, soft, reduction="sum")
    assert distillation_losses(logits, probs, 3.0).item() == pytest.approx(float(expected), rel=1e-5)
    sure = torch.tensor([[1.0, 0.0, 0.0]])
    assert torch.isfinite(distillation_losses(logits, sure, 1.0)).all()


def test_rdrop_and_perturbations_exclude_each_other() -> None:
    with pytest.raises(RecipeError, match="with rdrop: adversarial and virtual_adversarial off"):
        read_recipe("tiny", ["rdrop={}", "adversarial={}"])


def test_texts_without_labels_teach_to_stay(tmp_path: Path) -> None:
    """Their loss joins each step's, depends on the step alone, and their targets on nothing."""
    (tmp_path / "more.txt").write_text("a red house\n\nblue and green\n" * 9)
    labels, texts = (list(column) for column in zip(*colour_rows(41), strict=True))
    losses = {}
    for name, settings in (("with", [f"data.unlabelled={tmp_path / 'more.txt'}"]), ("without", [])):
        recipe = read_recipe("tiny", [*PLAIN, "virtual_adversarial.epsilon=0.3", "batches.size=8", *settings])
        data = prepare(InMemory(texts, labels), recipe, tmp_path / name)
        derived = derive_for(recipe, data)
        trainer = Trainer(recipe, derived, data, build_start(recipe, derived, data, None).model)
        losses[name] = trainer.compute_gradients(next(trainer.plan_epoch(0)))
        assert trainer.compute_gradients(next(trainer.plan_epoch(0))) == losses[name]
        if name == "with":
            assert data.unlabelled is not None
            assert data.unlabelled.num_examples == 18
            assert "18 texts without labels" in " ".join(data.notes)
    assert losses["with"] > losses["without"] > 0


def test_batches_without_end_are_a_function_of_the_step() -> None:
    options = read_recipe("tiny", ["batches.size=4"]).batches
    batches = EndlessBatches(np.arange(1, 12), options, seed=1)
    first = [batches[step] for step in range(7)]
    assert sorted(np.concatenate(first[:3])) == list(range(11))
    assert sorted(np.concatenate(first[3:6])) == list(range(11))
    assert not all(np.array_equal(a, b) for a, b in zip(first[:3], first[3:6], strict=True))
    again = EndlessBatches(np.arange(1, 12), options, seed=1)
    for step in (6, 2, 0):
        np.testing.assert_array_equal(again[step], first[step])


def test_unlabelled_texts_need_something_that_reads_them() -> None:
    with pytest.raises(RecipeError, match=r"virtual_adversarial on with data\.unlabelled"):
        read_recipe("tiny", ["data.unlabelled=more.txt"])
