"""Single steps of the training loop."""

from pathlib import Path

import numpy as np
import pytest
import torch

from grunlock.data.batches import plan_batches
from grunlock.data.prepare import prepare
from grunlock.data.sources import InMemory
from grunlock.recipe import derive, read_recipe
from grunlock.training.loop import Trainer
from grunlock.training.start import build_start, data_facts
from tests.conftest import colour_rows

PLAIN = ["embedding.size=4", "embedding.word_dropout=0", "encoder.hidden_size=3", "encoder.input_dropout=0",
         "head.dropout=0", "optim.kind=gd", "schedule.kind=constant"]  # fmt: skip


def gd_gradients(folder: Path, batch_size: int, *settings: str) -> list[torch.Tensor]:
    """Gradients of the first gd step, its sequences taken in batches of a size."""
    recipe = read_recipe("tiny", [*PLAIN, f"batches.size={batch_size}", *settings])
    labels, texts = (list(column) for column in zip(*colour_rows(41), strict=True))
    data = prepare(
        InMemory(texts, ["red" if i < 25 else label for i, label in enumerate(labels)]), recipe, folder
    )
    batches = plan_batches(data.train.lengths, recipe.batches, recipe.seed, epoch=0)
    derived = derive(recipe, data_facts(data, len(batches)))
    trainer = Trainer(recipe, derived, data, build_start(recipe, derived, data, None).model)
    (group,) = trainer.plan_epoch(0)
    trainer.compute_gradients(group)
    return [p.grad.clone() for p in trainer.model.parameters() if p.grad is not None]


@pytest.mark.parametrize(
    "settings",
    [(), ("loss.class_weights=balanced",), ("loss.label_smoothing=0.2", "loss.class_weights=balanced")],
)
def test_gd_is_the_gradient_of_the_whole_set(settings: tuple[str, ...], tmp_path: Path) -> None:
    """However the set is cut into batches, also where a batch's classes weigh more than another's."""
    whole = gd_gradients(tmp_path / "a", 1000, *settings)
    for found, expected in zip(gd_gradients(tmp_path / "b", 7, *settings), whole, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_between_equal_epochs_the_lower_loss_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three epochs whose answers are all right, the second one the surest of them."""
    recipe = read_recipe("tiny", [*PLAIN, "training.epochs=3", "training.ema_decay=off"])
    labels, texts = (list(column) for column in zip(*colour_rows(41), strict=True))
    data = prepare(InMemory(texts, labels), recipe, tmp_path)
    derived = derive(recipe, data_facts(data, 1))
    trainer = Trainer(recipe, derived, data, build_start(recipe, derived, data, None).model)
    targets = data.valid.targets.astype(np.int64)

    def answer(sureness: float) -> object:
        logits = np.eye(len(data.labels), dtype=np.float32)[targets] * np.float32(sureness)
        return lambda forward, store, num_classes, share: (logits, targets)

    kept = []
    for sureness in (1.0, 3.0, 2.0):
        monkeypatch.setattr("grunlock.training.loop.split_logits", answer(sureness))
        kept.append(trainer.end_epoch(started=0.0).best)
    assert kept == [True, True, False]
    assert trainer.progress.best_epoch == 2
