"""Pretraining as a user runs it, and trainings that start from it."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from grunlock.cli.main import app
from grunlock.data.pretrained import open_pretrained
from grunlock.data.sources import InMemory
from grunlock.errors import ArtifactError, DataError, RecipeError, RunError, RunInterruptedError
from grunlock.models.language_model import LanguageModel
from grunlock.pretraining import loop
from grunlock.pretraining.loop import Pretrainer
from grunlock.pretraining.prepare import prepare_unlabelled
from grunlock.pretraining.run import pretrain, resume_pretraining
from grunlock.recipe import read_recipe
from grunlock.training.events import Event, PretrainEpochDone, StepDone
from grunlock.training.fine_tuning import PartRates
from grunlock.training.history import read_history
from grunlock.training.loop import Trainer
from grunlock.training.run import train
from tests.conftest import colour_rows
from tests.workflows.conftest import SMALL

NETWORK = ["embedding.size=8", "encoder.hidden_size=8", "encoder.bidirectional=true"]
RECIPE = read_recipe(
    "pretrain", [*NETWORK, "training.epochs=2", "batches.size=200", "text.max_tokens=6", "optim.lr=0.01"]
)
ROWS = colour_rows(80)
DATA = InMemory([text for _, text in ROWS], [label for label, _ in ROWS])


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text a line, some longer than max_tokens, some empty."""
    path = tmp_path_factory.mktemp("texts") / "texts.txt"
    lines = [f"{text} and then {text}" for _, text in ROWS]
    path.write_text("\n".join([*lines, "", "  "]) + "\n")
    return path


@pytest.fixture(scope="module")
def pretrained(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrain([str(texts)], RECIPE, tmp_path_factory.mktemp("lm") / "lm")


# ---- the texts ---------------------------------------------------------------------------------


def test_long_texts_become_pieces_and_no_token_is_lost(texts: Path, tmp_path: Path) -> None:
    data = prepare_unlabelled([str(texts)], RECIPE, tmp_path)
    lengths = np.concatenate([data.train.lengths, data.valid.lengths])
    assert lengths.max() == 6
    found = [data.front_end.vocab()[i] for store in (data.train, data.valid) for i in store.tokens]
    words = [word for line in texts.read_text().split("\n") for word in line.lower().split()]
    assert sorted(found) == sorted(words)
    assert data.counts.sum() == len(data.train.tokens)


def test_labelled_data_gives_the_texts_of_its_training_split(tmp_path: Path) -> None:
    for name, word in (("train", "learned"), ("test", "unseen")):
        (tmp_path / f"{name}.csv").write_text(
            "text,label\n" + f"some {word} text,a\nother {word} text,b\n" * 9
        )
    data = prepare_unlabelled([str(tmp_path)], RECIPE, tmp_path / "out")
    assert "learned" in data.front_end.vocab()
    assert "unseen" not in data.front_end.vocab()


def test_one_text_is_too_few(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a single text\n\n")
    with pytest.raises(DataError, match=r"too few texts(.|\n)*1(.|\n)*two or more"):
        prepare_unlabelled([str(tmp_path / "a.txt")], RECIPE, tmp_path / "out")


# ---- the model ---------------------------------------------------------------------------------


@pytest.fixture
def trainer(texts: Path, tmp_path: Path) -> Pretrainer:
    still = ["encoder.input_dropout=0", "encoder.weight_dropout=0"]
    recipe = RECIPE.model_copy(update={"encoder": read_recipe("pretrain", [*NETWORK, *still]).encoder})
    return Pretrainer(recipe, prepare_unlabelled([str(texts)], recipe, tmp_path / "texts"))


def test_each_direction_predicts_what_it_has_not_read(trainer: Pretrainer) -> None:
    """By hand: the forward half after step t scores token t + 1, the backward half token t - 1."""
    model, store = trainer.model.eval(), trainer.data.train
    inputs = loop._inputs(store, np.array([0]))
    losses = model.exact_losses(inputs)
    tokens = torch.from_numpy(store.tokens_of(np.array([0]))[0].astype(np.int64))
    length, size = len(tokens), model.hidden_size
    assert len(losses) == 2 * (length - 1)
    states = model.encoder(model.embedding(inputs)).rows
    expected = []
    for head, half, predicting, predicted in (
        (model.heads[0], states[:, :size], range(length - 1), range(1, length)),
        (model.heads[1], states[:, size:], range(1, length), range(length - 1)),
    ):
        for t, wanted in zip(predicting, predicted, strict=True):
            logits = model.embedding.tokens.weight @ head(half[t]) + model.bias
            expected.append(float(-torch.log_softmax(logits, dim=0)[tokens[wanted]].detach()))
    np.testing.assert_allclose(losses.numpy(), expected, rtol=1e-4)


def test_what_is_predicted_is_not_seen(trainer: Pretrainer) -> None:
    """Another token in a place changes no state that predicts this place."""
    model = trainer.model.eval()
    store = trainer.data.train
    example = int(np.argmax(store.lengths))
    tokens, lengths = store.tokens_of(np.array([example]))
    size, place = model.hidden_size, 3
    changed = tokens.copy()
    changed[place] = 2 if tokens[place] != 2 else 3
    states = []
    for each in (tokens, changed):
        batch = store.lay_out(each, lengths, np.array([example]))
        inputs = loop.network_inputs(batch.inputs, batch.layout)
        states.append(model.encoder(model.embedding(inputs)).rows)
    before, after = states
    assert torch.equal(before[place - 1, :size], after[place - 1, :size])
    assert torch.equal(before[place + 1, size:], after[place + 1, size:])
    assert not torch.equal(before[place, :size], after[place, :size])


def test_a_small_vocabulary_has_its_exact_loss(trainer: Pretrainer) -> None:
    inputs = loop._inputs(trainer.data.train, np.arange(5))
    loss = trainer.model.loss(inputs, seed=1)
    assert loss is not None
    assert loss.item() == pytest.approx(float(trainer.model.exact_losses(inputs).mean()), rel=1e-5)


def test_sampled_softmax_comes_near_the_exact_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """On average over draws, for a vocabulary of which a tenth are candidates."""
    monkeypatch.setattr("grunlock.models.language_model.SAMPLES", 200)
    torch.manual_seed(0)
    counts = torch.from_numpy(np.random.default_rng(0).zipf(1.5, 2000).clip(1, 1000))
    model = LanguageModel(RECIPE, counts, 6)
    assert not model.exact
    states, targets = torch.randn(300, 8), torch.multinomial(counts.double(), 300, replacement=True)
    head = model.heads[0]
    logits = head(states) @ model.embedding.tokens.weight.T + model.bias
    exact = torch.nn.functional.cross_entropy(logits, targets).item()
    found = [
        model._sampled_losses(states, targets, model._candidates(seed), head).mean().item()
        for seed in range(20)
    ]
    assert abs(np.mean(found) - exact) < 0.01 * exact


def test_texts_of_one_token_have_no_loss(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\nthree\n" * 5)
    trainer = Pretrainer(RECIPE, prepare_unlabelled([str(tmp_path / "a.txt")], RECIPE, tmp_path / "texts"))
    done = trainer.train_step(np.arange(3))
    assert (done.train_loss, done.skipped) == (0.0, False)


# ---- the run -----------------------------------------------------------------------------------


def test_a_language_model_learns(texts: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    recipe = RECIPE.model_copy(update={"training": RECIPE.training.model_copy(update={"epochs": 12})})
    pretrain([str(texts)], recipe, tmp_path / "lm", (events.append,))
    losses = [event.valid_loss for event in events if isinstance(event, PretrainEpochDone)]
    assert losses[-1] < 0.8 * losses[0]
    history = read_history(tmp_path / "lm" / "history.jsonl")
    assert [r["valid_loss"] for r in history if r["event"] == "pretrain_epoch"] == losses


def test_a_stopped_pretraining_goes_on_to_the_same_bytes(
    texts: Path, pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, stops = Pretrainer.train_step, []

    def stop_once(self: Pretrainer, examples: np.ndarray) -> StepDone:
        done = honest(self, examples)
        if done.step == 3 and not stops:
            stops.append(done.step)
            os.kill(os.getpid(), signal.SIGINT)
        return done

    monkeypatch.setattr(Pretrainer, "train_step", stop_once)
    with pytest.raises(RunInterruptedError, match=r"Stopped after step 3(.|\n)*grunlock pretrain --resume"):
        pretrain([str(texts)], RECIPE, tmp_path / "lm")
    resume_pretraining(tmp_path / "lm")
    for name in ("weights.safetensors", "tokenizer.json"):
        assert (tmp_path / "lm" / name).read_bytes() == (pretrained / name).read_bytes()


def test_a_training_starts_from_it(pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first: list[dict[str, torch.Tensor]] = []
    honest = Trainer.fit

    def look(self: Trainer, *arguments: object) -> None:
        first.append({name: value.clone() for name, value in self.model.state_dict().items()})
        honest(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Trainer, "fit", look)
    settings = [*NETWORK, f"pretrained.path={pretrained}", "text.max_tokens=20", "training.epochs=1"]
    result = train(DATA, read_recipe("tiny", [*SMALL, *settings]), tmp_path / "run")
    for name, value in open_pretrained(pretrained).weights().items():
        np.testing.assert_array_equal(first[0][name].numpy(), value)
    assert (
        result.artifact.front_end.vocab()
        == open_pretrained(pretrained).front_end(result.artifact.recipe).vocab()
    )  # type: ignore[union-attr]


def test_parts_learn_at_their_rates_and_join_in_turn(pretrained: Path, tmp_path: Path) -> None:
    """Two epochs in which only the new parts learn, then the encoder, then everything."""
    settings = [*NETWORK, f"pretrained.path={pretrained}", "pretrained.unfreeze_epochs=1",
                "optim.weight_decay=0.1", "training.ema_decay=off", "training.keep=last"]  # fmt: skip
    weights = open_pretrained(pretrained).weights()
    moved = {}
    for epochs in (1, 2, 3):
        recipe = read_recipe("tiny", [*SMALL, *settings, f"training.epochs={epochs}"])
        found = train(DATA, recipe, tmp_path / str(epochs)).artifact.weights
        moved[epochs] = {name for name, value in weights.items() if not np.array_equal(found[name], value)}
    assert moved[1] == set()
    assert {name.partition(".")[0] for name in moved[2]} == {"encoder"}
    assert {name.partition(".")[0] for name in moved[3]} == {"encoder", "embedding"}
    rates = PartRates(read_recipe("tiny", ["pretrained.path=x", "pretrained.lr_decay=2"]).pretrained)  # type: ignore[arg-type]
    assert rates(0) == {"encoder": 0.5, "embedding": 0.25}


# ---- what is refused ---------------------------------------------------------------------------


def test_another_network_is_refused_with_what_to_set(pretrained: Path, tmp_path: Path) -> None:
    recipe = read_recipe("tiny", [*NETWORK, f"pretrained.path={pretrained}", "encoder.hidden_size=9"])
    message = r"another one than the recipe's(.|\n)*hidden_size = 9(.|\n)*--set encoder.hidden_size=8"
    with pytest.raises(RecipeError, match=message):
        train(DATA, recipe, tmp_path / "run")


def test_a_folder_without_a_pretrained_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no pretrained network here(.|\n)*grunlock pretrain"):
        train(DATA, read_recipe("tiny", [f"pretrained.path={tmp_path}"]), tmp_path / "run")


def test_changed_weights_are_refused(pretrained: Path, tmp_path: Path) -> None:
    for path in pretrained.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    content = bytearray((tmp_path / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "weights.safetensors").write_bytes(bytes(content))
    with pytest.raises(ArtifactError, match="not those that were written"):
        train(DATA, read_recipe("tiny", [*NETWORK, f"pretrained.path={tmp_path}"]), tmp_path / "run")


REFUSED = [
    (["encoder.num_layers=2"], "num_layers = 1 with two directions"),
    (["encoder.kind=conv"], "encoder.kind = gru or lstm"),
    (["embedding.ngrams={}"], "embedding.ngrams off"),
    (["stem={}"], "stem off"),
    (["sam={}"], "sam off"),
    (["optim.kind=gd"], "optim.kind other than gd"),
    (["schedule.kind=plateau"], "schedule.kind other than plateau"),
    (["training.ema_decay=0.9"], "training.ema_decay off"),
    (["training.patience_epochs=2"], "training.patience_epochs off"),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED)
def test_networks_that_would_see_what_they_predict_are_refused(
    settings: list[str], message: str, texts: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=message):
        pretrain([str(texts)], read_recipe("pretrain", settings), tmp_path / "lm")
    assert not (tmp_path / "lm").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["optim.kind=muon", "pretrained.lr_decay=2"], "has one learning rate"),
        (["embedding.vectors=v.npz"], "embedding.vectors off with pretrained"),
        (["pretrained.lr_decay=0.5"], "pretrained.lr_decay"),
    ],
)
def test_recipes_that_contradict_themselves(settings: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        read_recipe("tiny", ["pretrained.path=x", *settings])


def test_a_full_folder_and_a_missing_one(texts: Path, tmp_path: Path) -> None:
    (tmp_path / "something").write_text("here")
    with pytest.raises(RunError, match=r"not empty(.|\n)*--resume"):
        pretrain([str(texts)], RECIPE, tmp_path)
    with pytest.raises(RunError, match="No pretraining was begun here"):
        resume_pretraining(tmp_path)


def test_the_command(texts: Path, tmp_path: Path) -> None:
    settings = [part for each in (*NETWORK, "training.epochs=1") for part in ("--set", each)]
    done = CliRunner().invoke(app, ["pretrain", str(texts), "-o", str(tmp_path / "lm"), *settings])
    assert done.exit_code == 0, done.output
    assert "perplexity" in done.output
    assert json.loads((tmp_path / "lm" / "pretrained.json").read_text())["version"] == 1
    done = CliRunner().invoke(app, ["pretrain", "--resume", str(tmp_path / "lm"), str(texts)])
    assert "Pretraining needs texts, or --resume alone." in str(done.exception)
