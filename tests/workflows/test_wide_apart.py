"""A wide path that learns apart: what is fitted, what it is added to, and what the user is told."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Literal, cast

import numpy as np
import pytest
from sklearn.naive_bayes import ComplementNB
from sklearn.svm import LinearSVC

from grunlock.data.prepared import KEPT, PreparedData, open_prepared
from grunlock.errors import RecipeError
from grunlock.evaluation.splits import runtime_forward, split_logits
from grunlock.models import SequenceClassifier
from grunlock.objectives.calibration import fit_weights
from grunlock.recipe import override, read_recipe
from grunlock.recipe.model_options import WideOptions
from grunlock.text.token_ngrams import token_ngrams
from grunlock.training import wide_estimators, wide_features, wide_linear, wide_path
from grunlock.training.events import Event, WideFitted
from grunlock.training.run import RunOptions, RunResult, train
from grunlock.training.wide_linear import LinearModel, wide_models
from tests.conftest import colour_rows
from tests.workflows.conftest import SMALL, CommandLine

APART = [*SMALL, 'wide={training="apart", buckets=4096}', "training.epochs=1", "optim.lr=1e-3"]


@pytest.fixture
def run(colours_csv: Path, tmp_path: Path) -> RunResult:
    return train(colours_csv, read_recipe("tiny", APART), tmp_path / "run")


def test_the_network_is_the_one_without_the_path(run: RunResult, colours_csv: Path, tmp_path: Path) -> None:
    alone = train(colours_csv, override(run.artifact.recipe, ["wide=off"]), tmp_path / "alone")
    for name, value in alone.artifact.weights.items():
        np.testing.assert_array_equal(run.artifact.weights[name], value)
    assert run.metrics["nll"] < alone.metrics["nll"]  # one epoch of a tiny net knows little

    texts = [text for _, text in colour_rows(9)]
    both, plain = (each.artifact.classifier().logits(texts) for each in (run, alone))
    shift = run.artifact.weights[wide_path.BIAS]
    assert np.abs(both - plain - shift).max() > 0.1


@pytest.mark.parametrize("features", ["tfidf", "naive_bayes"])
def test_the_path_is_a_linear_svm_on_the_same_features(
    features: Literal["tfidf", "naive_bayes"], run: RunResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against scikit-learn on dense features made here, one text at a time."""
    options = WideOptions(training="apart", buckets=4096, features=features, complement=False)
    data = open_prepared(run.folder / "data")
    monkeypatch.setattr(wide_estimators, "PASSES", 1000)
    monkeypatch.setattr(wide_estimators, "TOLERANCE", 1e-4)
    monkeypatch.setattr(wide_features, "MAX_TOKENS", 10**6)  # another model than the one kept from training
    (found,) = wide_models(data, options)

    def dense(store: object, index: int) -> np.ndarray:
        batch = store.batch(np.array([index]))  # type: ignore[attr-defined]
        tokens = batch.inputs.vocab_ids[batch.inputs.inverse]
        runs = token_ngrams(tokens, batch.layout.lengths, 2, 4096).ids
        row = np.zeros(4096)
        np.add.at(row, runs, 1)
        return row

    seen = np.stack([dense(data.train, i) for i in range(data.train.num_examples)])
    rarity = np.log((1 + len(seen)) / (1 + (seen > 0).sum(axis=0))) + 1
    targets = np.asarray(data.train.targets)
    unseen = np.stack([dense(data.valid, i) for i in range(data.valid.num_examples)])
    present = seen.any(axis=0)

    def weighed(counts: np.ndarray) -> np.ndarray:
        values = np.where((counts > 0) & present, 1 + np.log(np.maximum(counts, 1)), 0) * rarity
        return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True))

    seen, unseen = weighed(seen), weighed(unseen)
    expected = np.empty((len(unseen), 3))
    for k in range(3):
        told = np.ones(4096)
        if features == "naive_bayes":
            inside, outside = (
                1 + (seen[members] > 0).sum(axis=0) for members in (targets == k, targets != k)
            )
            inside, outside = inside / inside[present].sum(), outside / outside[present].sum()
            told = np.abs(np.log(inside / outside))
            told /= np.sqrt(np.square(told[present]).mean())
        model = LinearSVC(C=found.strength, max_iter=100_000, tol=1e-8)
        model.fit(seen * told, targets == k)
        expected[:, k] = unseen * told @ model.coef_[0] + model.intercept_[0]
    assert found.kind == features
    assert found.rows.tolist() == np.flatnonzero(present).tolist()
    answers = unseen[:, found.rows] @ found.weights + found.bias
    np.testing.assert_allclose(answers, expected, atol=0.02 * np.abs(expected).max())
    np.testing.assert_allclose(found.valid_logits, answers, atol=1e-5)


def test_of_many_examples_a_sample_is_read(run: RunResult, monkeypatch: pytest.MonkeyPatch) -> None:
    data, options = open_prepared(run.folder / "data"), WideOptions(training="apart", buckets=4096)
    monkeypatch.setattr(wide_features, "MAX_TOKENS", 100)
    zeros = np.zeros((data.valid.num_examples, 3), np.float32)
    fit = wide_path.fit_wide(data, options, zeros)
    shutil.rmtree(data.folder / KEPT)  # else it would only be read again
    again = wide_path.fit_wide(data, options, zeros)
    np.testing.assert_array_equal(fit.table.rows, again.table.rows)
    np.testing.assert_array_equal(fit.table.weights, again.table.weights)
    assert len(fit.table.rows) < len(wide_model_of_all(data, options).rows)
    assert fit.linear_accuracy > 0.8  # an example with another's target would not teach that


def wide_model_of_all(data: PreparedData, options: WideOptions) -> LinearModel:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wide_features, "MAX_TOKENS", 10**7)
        return wide_models(data, options)[0]


def test_it_is_fitted_once_for_all_trainings_on_the_data(
    run: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("fitted again")

    kept = next((run.folder / "data" / KEPT).iterdir())
    recipe = override(run.artifact.recipe, ["seed=5"])
    with monkeypatch.context() as patch:
        patch.setattr(wide_linear, "fit_linear", never)
        again = train("unused", recipe, tmp_path / "again", prepared=run.folder / "data")
    assert again.artifact.weights[wide_path.TABLE].any()

    kept.write_bytes(kept.read_bytes()[:100])  # half a file is no model
    train("unused", recipe, tmp_path / "third", prepared=run.folder / "data")
    assert kept.stat().st_size > 100


def test_characters_see_into_words_that_training_has_not_seen(colours_csv: Path, tmp_path: Path) -> None:
    done = train(colours_csv, read_recipe("tiny", [*APART, "wide.characters=true"]), tmp_path / "run")
    said = done.artifact.classifier().logits(["greenish", "reddened", "bluer"])
    path = done.artifact.weights
    silent = wide_path.with_silent_path(done.artifact.recipe, path, 3)
    alone = replace(done.artifact, weights=silent).classifier().logits(["greenish", "reddened", "bluer"])
    heard = [done.artifact.labels[i] for i in (said - alone).argmax(axis=1)]
    assert heard == ["green", "red", "blue"]


def test_two_classes(tmp_path: Path) -> None:
    path = tmp_path / "two.csv"
    rows = [(label, text) for label, text in colour_rows(90) if label != "green"]
    path.write_text("label,text\n" + "".join(f"{label},{text}\n" for label, text in rows))
    told: list[Event] = []
    done = train(
        path, read_recipe("tiny", APART), tmp_path / "run", options=RunOptions(listeners=[told.append])
    )
    (event,) = [each for each in told if isinstance(each, WideFitted)]
    assert event.linear_accuracy == 1.0
    assert done.metrics["accuracy"] == 1.0


def test_no_part_of_it_is_trained_by_gradients(run: RunResult) -> None:
    model = SequenceClassifier(run.artifact.recipe, run.artifact.derived)
    assert not any(name.startswith("wide") for name in model.state_dict())


def test_metrics_and_file_are_of_the_whole(run: RunResult) -> None:
    data = open_prepared(run.folder / "data")
    logits, targets = split_logits(runtime_forward(run.artifact.network()), data.valid, 3)
    assert run.metrics["accuracy"] == pytest.approx((logits.argmax(axis=1) == targets).mean())


def test_it_goes_on_with_new_labels(run: RunResult, tmp_path: Path) -> None:
    new = tmp_path / "new.csv"
    rows = [*colour_rows(40), *[("house", f"house number {i}") for i in range(20)]]
    new.write_text("label,text\n" + "".join(f"{label},{text}\n" for label, text in rows))
    again = train(new, run.artifact.recipe, tmp_path / "continued", base=run.folder)
    weights = again.artifact.weights
    assert weights[wide_path.TABLE].shape == (len(weights[wide_path.ROWS]), 4)
    assert weights[wide_path.ROWS].max() < 4096
    assert again.artifact.classifier().predict(["house number 7"]) == ["house"]


def test_the_user_is_told(grunlock: CommandLine, colours_csv: Path, tmp_path: Path) -> None:
    settings = [f"--set={setting}" for setting in APART]
    done = grunlock("train", colours_csv, "--recipe", "tiny", *settings, "-o", tmp_path / "run")
    assert done.code == 0, done.err
    assert "wide path: on validation the linear model" in done.out + done.err


def test_dropout_needs_gradients() -> None:
    with pytest.raises(RecipeError, match=r'dropout = 0 with training = "apart"'):
        read_recipe("tiny", ['wide={training="apart", dropout=0.1}'])


def test_validation_decides_how_ngrams_count(run: RunResult) -> None:
    """Of the two models the one whose sum with the network has the lower loss."""
    data = open_prepared(run.folder / "data")
    options = WideOptions(training="apart", buckets=4096)
    tfidf, told, beside = wide_models(data, options)
    assert [model.kind for model in (tfidf, told, beside)] == ["tfidf", "naive_bayes", "complement"]
    targets = np.asarray(data.valid.targets, np.int64)
    right = 5 * np.eye(3, dtype=np.float32)[targets]
    chosen = []
    for logits in (right - tfidf.valid_logits, right - told.valid_logits, np.zeros_like(right)):
        pairs = [[each.valid_logits, beside.valid_logits] for each in (tfidf, told)]
        losses = [fit_weights(logits, pair, targets)[1] for pair in pairs]
        found = wide_path.fit_wide(data, options, logits)
        chosen.append(found.models[0].kind)
        assert chosen[-1] == ("naive_bayes" if losses[1] < losses[0] else "tfidf")
        assert [model.kind for model in found.models[1:]] == ["complement"]


def test_how_ngrams_count_is_for_a_path_apart() -> None:
    with pytest.raises(RecipeError, match='features = "auto" with training = "together"'):
        read_recipe("tiny", ["wide.features=tfidf"])


def test_complement_naive_bayes_is_scikit_learns(run: RunResult) -> None:
    """Up to a constant of each text, which moves no probability."""
    data = open_prepared(run.folder / "data")
    options = WideOptions(training="apart", buckets=4096)
    (*_, found) = wide_models(data, options)
    learned = wide_features.linear_data(data.train, 3, options)
    theirs = ComplementNB(alpha=found.strength).fit(learned.features, learned.targets)
    ours = learned.features @ found.weights + found.bias
    expected = learned.features @ theirs.feature_log_prob_.T
    np.testing.assert_allclose(
        ours - ours.mean(axis=1, keepdims=True), expected - expected.mean(axis=1, keepdims=True), atol=1e-4
    )
    assert found.strength in wide_linear.SMOOTHINGS


def test_the_sum_of_linear_models_is_one_table(run: RunResult) -> None:
    data = open_prepared(run.folder / "data")
    options = WideOptions(training="apart", buckets=4096)
    fit = wide_path.fit_wide(data, options, np.zeros((data.valid.num_examples, 3), np.float32))
    table = fit.table
    everything = np.arange(data.valid.num_examples)
    unseen = wide_features.ngram_features(data.valid, options, everything, table.rows, table.rarity)
    expected = sum(w * model.valid_logits for w, model in zip(fit.weights, fit.models, strict=True))
    np.testing.assert_allclose(unseen @ table.weights + table.bias, expected, rtol=1e-4, atol=1e-4)


def test_complement_is_for_a_path_apart() -> None:
    with pytest.raises(RecipeError, match='complement = true with training = "together"'):
        read_recipe("tiny", ["wide.complement=false"])


def test_with_enough_examples_weights_are_raised_while_that_brings_accuracy(
    run: RunResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A linear model that is seldom wrong, and then very sure, gets a small weight by the loss."""
    random = np.random.default_rng(0)
    targets = random.integers(0, 3, wide_path.ENOUGH_EXAMPLES)
    linear = np.eye(3)[targets] + 0.45 * random.normal(size=(len(targets), 3))
    wrong = random.random(len(targets)) < 0.08
    linear[wrong] = 3 * np.eye(3)[random.integers(0, 3, wrong.sum())]
    said = np.where(random.random(len(targets)) < 0.6, targets, random.integers(0, 3, len(targets)))
    network = (np.eye(3)[said] + 0.1 * random.normal(size=(len(targets), 3))).astype(np.float32)
    options = WideOptions(training="apart", buckets=4096)
    (model, *_) = wide_models(open_prepared(run.folder / "data"), options)
    models = (replace(model, valid_logits=linear.astype(np.float32)),)
    monkeypatch.setattr(wide_path, "wide_models", lambda *_: models)
    data = cast("PreparedData", SimpleNamespace(valid=SimpleNamespace(targets=targets)))

    (raised,) = wide_path.fit_wide(data, options, network).weights
    monkeypatch.setattr(wide_path, "ENOUGH_EXAMPLES", len(targets) + 1)
    (plain,) = wide_path.fit_wide(data, options, network).weights
    assert raised / plain in [pytest.approx(each) for each in wide_path.RAISED]
    before, after = (
        float(((network + weight * linear).argmax(axis=1) == targets).mean()) for weight in (plain, raised)
    )
    assert after > before + 0.05
