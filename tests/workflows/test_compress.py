"""A model in fewer bytes: what it loses is bounded, what does not fit is refused."""

import importlib
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from grunlock.artifact import Artifact, load, read, save
from grunlock.artifact.int8_storage import (
    CENTRES,
    COARSE_LIMIT,
    CODES,
    TABLE,
    class_parts,
    packed,
    unpacked,
)
from grunlock.compression import compress
from grunlock.compression.candidates import Shape, rounded, shaped, size_of
from grunlock.compression.coarse import CUTS, coarse
from grunlock.compression.narrowing import (
    NGRAMS,
    WORDS,
    can_narrow,
    narrowed,
    row_counts,
    with_common_rows,
)
from grunlock.compression.pruning import Pruning, importance
from grunlock.compression.quantization import numbers_of_parts, quantized
from grunlock.data.prepared import open_prepared
from grunlock.data.store import TokenStore
from grunlock.errors import RunError
from grunlock.evaluation import evaluate_run
from grunlock.recipe import read_recipe
from grunlock.training import wide_path
from grunlock.training.run import train
from grunlock.training.wide_linear import wide_models
from grunlock.training.wide_path import WideTable, summed
from tests.conftest import colour_rows
from tests.workflows.conftest import CommandLine

SETTINGS = [
    "embedding.size=16",
    "encoder.hidden_size=24",
    'wide={training="apart", buckets=65536, characters=true}',
    "training.epochs=4",
    "data.valid_fraction=0.2",
]
TEXTS = [text for _, text in colour_rows(30, offset=500)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_in(tmp_path_factory.mktemp("compress"))


def trained_in(folder: Path) -> Path:
    path = folder / "colours.csv"
    path.write_text("label,text\n" + "".join(f"{label},{text}\n" for label, text in colour_rows(120)))
    return train(path, read_recipe("tiny", SETTINGS), folder / "run").folder


@pytest.mark.parametrize("refit", [False, True])
def test_it_fits_and_still_knows(refit: bool, colours_csv: Path, tmp_path: Path) -> None:
    recipe = read_recipe("tiny", [*SETTINGS, f"training.refit={str(refit).lower()}"])
    folder = train(colours_csv, recipe, tmp_path / "run").folder
    whole = size_of(read(folder))
    budget = whole // 3
    found = compress(folder, budget)
    path = tmp_path / "small.grunlock"
    save(found.artifact, path)
    assert path.stat().st_size == found.num_bytes <= budget
    assert found.after.nll <= found.before.nll + 0.1
    small = read(path)
    assert small.storage == "int8"
    assert small.derived.refit == refit
    assert small.metrics["nll"] == pytest.approx(found.after.nll)
    agreement = np.mean(np.array(load(path).predict(TEXTS)) == np.array(load(folder).predict(TEXTS)))
    assert agreement > 0.9
    if not refit:  # a file of its own is scored as it was when it was chosen
        (folder / "model.grunlock").write_bytes(path.read_bytes())
        assert evaluate_run(folder, "valid").nll == pytest.approx(found.after.nll, abs=1e-6)


def test_a_smaller_budget_costs_words_and_ngrams(run: Path) -> None:
    whole = size_of(rounded(read(run)))
    large, small = compress(run, whole), compress(run, int(0.75 * whole))
    assert large.num_ngrams is not None
    assert small.num_ngrams is not None
    assert small.num_ngrams < large.num_ngrams
    assert small.num_bytes <= 0.75 * whole
    assert large.after.nll <= small.after.nll


def test_what_cannot_be_made_so_small_is_refused(run: Path, grunlock: CommandLine, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"cannot be made so small(.|\n)*expected: at least [\d,]+ bytes"):
        compress(run, 2000)
    save(read(run), tmp_path / "model.grunlock")
    with pytest.raises(RunError, match=r"needs the data of the run"):
        compress(tmp_path, 2000)
    done = grunlock("compress", run, "--max-size", "2KB", "-o", tmp_path / "small.grunlock")
    assert done.code != 0
    assert "cannot be made so small" in done.err
    assert not (tmp_path / "small.grunlock").exists()


def test_the_command(run: Path, grunlock: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "small.grunlock"
    done = grunlock("compress", run, "--max-size", "30KB", "-o", path)
    assert done.code == 0, done.err
    assert "on validation, before" in done.out
    assert path.stat().st_size <= 30_000


def test_int8_rows_err_by_half_a_step_at_most(run: Path) -> None:
    weights = read(run).weights
    again = unpacked(packed(weights))
    assert again.keys() == weights.keys()
    for name, value in weights.items():
        if value.dtype.kind != "f" or value.ndim != 2:
            continue
        step = np.abs(value).max(axis=1, keepdims=True) / 127
        assert (np.abs(again[name] - value) <= 0.57 * step + 1e-7).all(), name  # the scale is a float16
    np.testing.assert_array_equal(again["wide.rows"], weights["wide.rows"])


def test_rows_of_four_bits_have_fifteen_values(run: Path) -> None:
    artifact = read(run)
    made = shaped(artifact, Shape(4, None), {})
    for name, value in made.weights.items():
        if name.startswith(("embedding.", "encoder.")) and value.ndim == 2:
            stored = packed({name: value})
            assert np.abs(stored[name]).max() <= COARSE_LIMIT, name
            np.testing.assert_array_equal(
                unpacked(stored)[name], value
            )  # what is scored is what a file gives
        elif name.startswith("head."):
            assert np.abs(value - artifact.weights[name]).max() < 0.01 * np.abs(value).max()


def test_rows_of_four_bits_deflate_to_half() -> None:
    rows = np.random.default_rng(0).normal(size=(500, 128)).astype(np.float32)
    sizes = [len(zlib.compress(packed({"a": each})["a"].tobytes())) for each in (rows, coarse(rows))]
    assert sizes[1] < 0.56 * sizes[0]


def test_a_row_gets_the_step_of_least_error() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 64)).astype(np.float32)
    rows[0] = 0
    found = np.square(coarse(rows) - rows).sum(axis=1)
    for cut in CUTS:
        step = cut * np.abs(rows).max(axis=1, keepdims=True) / COARSE_LIMIT + 1e-30
        other = step * np.clip(np.rint(rows / step), -COARSE_LIMIT, COARSE_LIMIT)
        assert (found <= np.square(other - rows).sum(axis=1) * 1.01 + 1e-6).all(), cut
    assert found[0] == 0


def test_four_bits_fit_where_eight_do_not(run: Path) -> None:
    with pytest.raises(RunError) as refused:
        compress(run, 2000)
    least = int(str(refused.value.expected).split()[2].replace(",", ""))
    said: list[str] = []
    found = compress(run, least, said.append)
    assert found.num_bytes <= least
    assert all(sentence.startswith("int4, ") for sentence in said if "loss" in sentence)


def logits(artifact: Artifact) -> np.ndarray:
    return np.asarray(artifact.classifier().logits(TEXTS))


def test_vectors_that_differ_in_few_directions_lose_nothing(run: Path) -> None:
    artifact = read(run)
    name = "embedding.tokens.weight"
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(artifact.weights[name].shape[0], 5)) @ rng.normal(size=(5, 16))
    artifact = replace(artifact, weights={**artifact.weights, name: flat.astype(np.float32)})
    counts = {name: np.ones(len(flat), np.int64)}
    assert can_narrow(artifact)
    five = narrowed(artifact, 5, counts)
    assert five.recipe.embedding is not None
    assert five.recipe.embedding.size == five.weights[name].shape[1] == 5
    np.testing.assert_allclose(logits(five), logits(artifact), atol=1e-4)
    assert np.abs(logits(narrowed(artifact, 3, counts)) - logits(artifact)).max() > 1e-3


def test_words_count_as_often_as_they_occur(run: Path) -> None:
    data, artifact = open_prepared(run / "data"), read(run)
    assert isinstance(data.train, TokenStore)
    counts = row_counts(data.train, artifact)[WORDS]
    assert counts.sum() == len(data.train.tokens)
    red = artifact.front_end.vocab().index("red")  # type: ignore[union-attr]
    assert counts[red] == (np.asarray(data.train.tokens) == red).sum()


def test_the_ngrams_that_tell_classes_apart_matter_most(run: Path) -> None:
    data = open_prepared(run / "data")
    recipe = read(run).recipe
    assert recipe.wide is not None
    table = summed(wide_models(data, recipe.wide)[:1], [1.0])
    order = np.argsort(-importance(table, data.train.num_examples))
    apart = np.abs(table.weights - table.weights.mean(axis=1, keepdims=True)).max(axis=1)
    assert apart[order[:10]].mean() > 5 * apart[order[-100:]].mean()


def test_vectors_of_ngrams_are_narrowed_alike_and_count_as_often_as_they_are_read(
    colours_csv: Path, tmp_path: Path
) -> None:
    settings = [*SETTINGS, "embedding.ngrams.buckets=300", "embedding.ngrams.min_length=2", "wide=off"]
    folder = train(colours_csv, read_recipe("tiny", settings), tmp_path / "run").folder
    data, artifact = open_prepared(folder / "data"), read(folder)
    assert isinstance(data.train, TokenStore)
    counts = row_counts(data.train, artifact)
    expected = np.zeros(300, np.int64)
    for token in np.asarray(data.train.tokens):
        found = data.train.types.distinct(np.array([token]))
        np.add.at(expected, found.ngram_ids % 300, 1)  # type: ignore[operator]
    np.testing.assert_array_equal(counts[NGRAMS], expected)
    assert can_narrow(artifact)
    np.testing.assert_allclose(logits(narrowed(artifact, 16, counts)), logits(artifact), atol=1e-5)
    assert narrowed(artifact, 5, counts).weights[NGRAMS].shape == (300, 5)
    few = with_common_rows(artifact, 100, counts)
    zero = [~few.weights[name].any(axis=1) for name in (WORDS, NGRAMS)]
    assert sum((~each).sum() for each in zero) == 100
    fewest_kept = min(counts[name][~each].min() for name, each in zip((WORDS, NGRAMS), zero, strict=True))
    assert fewest_kept >= max(
        counts[name][each].max() for name, each in zip((WORDS, NGRAMS), zero, strict=True)
    )
    small = compress(folder, size_of(artifact) // 4)
    assert small.num_bytes <= size_of(artifact) // 4
    assert small.after.nll <= small.before.nll + 0.1


def table_of(num_classes: int, num_rows: int = 3000) -> WideTable:
    random = np.random.default_rng(0)
    weights = random.standard_t(3, size=(num_rows, num_classes)).astype(np.float32)
    rows, rarity = np.arange(num_rows, dtype=np.int32), np.ones(num_rows, np.float32)
    return WideTable(rows, rarity, weights, np.zeros(num_classes, np.float32))


@pytest.mark.parametrize("num_classes", [4, 5, 6, 15, 77])
def test_a_table_of_few_values_is_stored_as_their_numbers(num_classes: int) -> None:
    plain, errors = table_of(num_classes), []
    for num_parts in numbers_of_parts(num_classes):
        assert num_parts is not None
        parts = class_parts(num_classes, num_parts)
        assert [k for part in parts for k in range(num_classes)[part]] == list(range(num_classes))
        coarse = quantized(plain, num_parts, np.ones(len(plain.rows), np.float32))
        stored = packed({TABLE: coarse.weights})
        assert set(stored) == {TABLE + CODES, TABLE + CENTRES}
        assert stored[TABLE + CODES].shape[1] == num_parts
        np.testing.assert_array_equal(unpacked(stored)[TABLE], coarse.weights)
        errors.append(np.square(coarse.weights - plain.weights).mean() / np.square(plain.weights).mean())
        assert coarse.bias is plain.bias
    assert TABLE + CODES not in packed({TABLE: plain.weights})
    assert errors[0] < 0.4
    assert errors == sorted(errors)


def test_few_classes_are_not_cut_into_parts() -> None:
    plain = table_of(3)
    assert numbers_of_parts(3) == [None]
    assert quantized(plain, None, np.ones(len(plain.rows), np.float32)) is plain


def test_a_table_fills_its_budget(tmp_path: Path) -> None:
    """Of many classes a row takes far fewer bytes than classes; as many rows as fit are kept."""
    rows = [(f"class{i % 20}", " ".join(f"w{(i * 7 + j * j) % 900}" for j in range(8))) for i in range(1200)]
    path = tmp_path / "classes.csv"
    path.write_text("label,text\n" + "".join(f"{label},{text}\n" for label, text in rows))
    settings = ["embedding.size=4", "encoder.hidden_size=4", "training.epochs=1"]
    folder = train(path, read_recipe("tiny", [*settings, SETTINGS[2]]), tmp_path / "run").folder
    budget = size_of(rounded(read(folder))) // 2
    found = compress(folder, budget)
    assert 0.9 * budget < found.num_bytes <= budget


def test_what_matters_is_nearer_to_its_centre() -> None:
    plain = table_of(5)
    matters = np.where(np.arange(len(plain.rows)) < 500, 100.0, 1.0).astype(np.float32)
    coarse = quantized(plain, 1, matters)
    errors = np.square(coarse.weights - plain.weights).mean(axis=1)
    assert errors[:500].mean() < 0.7 * errors[500:].mean()


def test_a_path_keeps_the_weight_that_accuracy_gave_it(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss alone would take back what training raised."""
    monkeypatch.setattr(wide_path, "ENOUGH_EXAMPLES", 1)
    monkeypatch.setattr(wide_path, "RAISED", (2.0,))
    data, artifact, random = open_prepared(run / "data"), read(run), np.random.default_rng(0)
    assert artifact.recipe.wide is not None
    assert isinstance(data.valid, TokenStore)
    targets = np.array(data.valid.targets)
    targets[::3] = random.integers(0, 3, len(targets[::3]))  # so that no weight is unlimited
    data = replace(data, valid=replace(data.valid, targets=targets))
    network = random.normal(size=(len(targets), 3)).astype(np.float32)
    fit = wide_path.fit_wide(data, artifact.recipe.wide, network)
    whole = Pruning.of(fit.models, fit.weights, None, data.train.num_examples)
    again = whole.weighed(data, artifact.recipe, network)
    np.testing.assert_allclose(again.weights, whole.weights, rtol=0.05)


def test_a_scaled_table_still_has_few_values() -> None:
    """Its weight beside a smaller network changes, and all values with it."""
    plain = table_of(7)
    coarse = quantized(plain, 2, np.ones(len(plain.rows), np.float32))
    scaled = (np.float32(0.37) * coarse.weights).astype(np.float16).astype(np.float32)
    assert TABLE + CODES in packed({TABLE: scaled})


def test_a_final_model_that_came_out_larger_is_refused(
    colours_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = read_recipe("tiny", [*SETTINGS[:2], "wide=off", "training.epochs=2", "training.refit=true"])
    folder = train(colours_csv, recipe, tmp_path / "run").folder
    whole = size_of(rounded(read(folder)))
    module = importlib.import_module("grunlock.compression.compress")
    monkeypatch.setattr(module, "RESERVE", -1)  # the model before may have twice as many
    with pytest.raises(RunError, match=r"larger than the one that fits(.|\n)*cure:     allow [\d,]+ bytes"):
        compress(folder, int(0.8 * whole))
