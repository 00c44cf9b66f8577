"""A training split in shards: every example once an epoch, the same batches as in memory, damage told."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grunlock.data import prepare
from grunlock.data import shards as shards_module
from grunlock.data.prepared import open_prepared
from grunlock.data.shard_files import INDEX, Shard, write_index, write_shard
from grunlock.data.shards import ShardedStore
from grunlock.errors import DataError, RunError
from grunlock.recipe import read_recipe
from grunlock.recipe.schema import ExampleBatches, TokenBatches
from grunlock.training.events import StepDone
from grunlock.training.loop import Trainer
from grunlock.training.run import RunOptions, resume, train
from grunlock.training.run_folder import RunFolder
from grunlock.training.start import build_start, derive_for
from tests.conftest import colour_rows

ROWS = 90
SETTINGS = [
    "text.min_count=2",  # so that there are unknown words
    "embedding.size=8",
    "embedding.ngrams={buckets=256}",
    "encoder.hidden_size=8",
    "batches.size=8",
    "training.epochs=2",
]


@pytest.fixture
def recipe():
    return read_recipe("tiny", SETTINGS)


@pytest.fixture
def prepared(tmp_path, recipe):
    """Ordinary data, and its copy whose training split is in five shards of different size."""
    paths = [tmp_path / f"{name}.csv" for name in ("train", "valid")]
    for path, rows in zip(paths, (colour_rows(ROWS), colour_rows(30, offset=500)), strict=True):
        path.write_text("label,text\n" + "".join(f"{label},{text}\n" for label, text in rows))
    ordinary = prepare(paths[0], recipe, tmp_path / "ordinary", valid=paths[1])
    folder = tmp_path / "sharded"
    shutil.copytree(ordinary.folder, folder)
    shutil.rmtree(folder / "train")
    (folder / "train").mkdir()
    rows = colour_rows(ROWS)
    for number, (first, last) in enumerate([(0, 30), (30, 35), (35, 36), (36, 66), (66, 90)]):
        write_rows(folder / "train" / f"shard-{number}", rows[first:last], ordinary)
    write_index(folder / "train", [f"shard-{number}" for number in (3, 1, 0, 2, 4)])
    return ordinary, open_prepared(folder)


def write_rows(folder, rows, data):
    types = data.front_end.new_types()
    encoded = data.front_end.encode([text for _, text in rows], types)
    targets = np.array([data.labels.index(label) for label, _ in rows], np.int32)
    write_shard(folder, encoded, targets, types, fingerprint=f"of {len(rows)} rows")


def store_with(sizes, lengths=None):
    """A store without files, of shards with so many examples."""
    shards = [Shard(f"s{i}", size, 10 * size, 10) for i, size in enumerate(sizes)]
    store = ShardedStore("", shards, "", 2, 5, None, None)
    store.lengths_in = lambda window: (lengths or fixed_lengths)(store.examples_of(window))
    return store


def fixed_lengths(examples):
    return 1 + examples * 7 % 19


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=12),
    st.sampled_from([ExampleBatches, TokenBatches]),
    st.integers(1, 50),
    st.integers(1, 4),
    st.integers(1, 90),
    st.data(),
)
def test_every_example_once_an_epoch_from_any_step(sizes, kind, size, window, most, data):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(shards_module, "WINDOW_EXAMPLES", most)
        store = store_with(sizes)
        plan = store.plan(kind(size=size, window_batches=window), seed=3, epoch=1)
        batches = list(plan.batches())
        assert sorted(np.concatenate(batches).tolist()) == list(range(sum(sizes)))
        assert len(plan) == len(batches)
        first = data.draw(st.integers(0, len(batches)))
        again = list(plan.batches(first))
        assert [batch.tolist() for batch in again] == [batch.tolist() for batch in batches[first:]]


def test_epochs_and_seeds_differ_and_windows_are_bounded(monkeypatch):
    monkeypatch.setattr(shards_module, "WINDOW_EXAMPLES", 100)
    store, options = store_with([30] * 20), ExampleBatches(size=10)
    plans = [
        np.concatenate(list(store.plan(options, *which).batches())) for which in [(0, 0), (0, 1), (1, 0)]
    ]
    assert len({tuple(plan.tolist()) for plan in plans}) == 3
    windows = store.windows(np.random.default_rng(0))
    assert [len(window) for window in windows] == [3] * 6 + [2]
    assert sorted(np.concatenate(windows).tolist()) == list(range(20))
    monkeypatch.setattr(shards_module, "WINDOW_STEPS", 600)
    assert [len(window) for window in store.windows(np.random.default_rng(0))] == [2] * 10


def read_back(store, examples):
    """Of each example its target, and of each of its tokens the word and the n-grams."""
    batch = store.batch(np.array(examples))
    inputs, starts = batch.inputs, np.concatenate(([0], np.cumsum(batch.layout.batch_sizes)))
    found = {}
    for place, example in enumerate(batch.examples.tolist()):
        types = [inputs.inverse[starts[t] + place] for t in range(batch.layout.lengths[place])]
        ngrams = [
            inputs.ngram_ids[inputs.ngram_offsets[u] : inputs.ngram_offsets[u + 1]].tolist() for u in types
        ]
        found[example] = batch.targets[place], [inputs.vocab_ids[u] for u in types], ngrams
    return [found[example] for example in examples]


def test_batches_are_those_of_memory_whatever_is_open(prepared, monkeypatch):
    ordinary, sharded = prepared
    monkeypatch.setattr(shards_module, "WINDOW_EXAMPLES", 40)
    assert (sharded.train.num_examples, sharded.train.num_steps) == (ROWS, ordinary.train.num_steps)
    assert sharded.train.longest_steps == ordinary.train.longest_steps
    # The index has the shards by name, so examples are numbered as they were.
    rng = np.random.default_rng(0)
    for some in [
        rng.permutation(ROWS)[:20],
        np.arange(40, 50),
        np.array([31]),
        rng.permutation(36)[:9],
        [89, 0],
    ]:
        assert read_back(sharded.train, list(some)) == read_back(ordinary.train, list(some))
        examples = np.array(some)
        np.testing.assert_array_equal(sharded.train.targets_of(examples), ordinary.train.targets_of(examples))
        np.testing.assert_array_equal(sharded.train.lengths_of(examples), ordinary.train.lengths_of(examples))
    unknown = ordinary.front_end.token_ids["[unk]"]
    assert any(unknown in words for _, words, _ in read_back(sharded.train, list(range(ROWS))))


def trainer_of(recipe, data):
    derived = derive_for(recipe, data)
    return Trainer(recipe, derived, data, build_start(recipe, derived, data, None).model)


def test_a_training_learns_from_every_example_once_an_epoch(prepared, recipe, monkeypatch):
    monkeypatch.setattr(shards_module, "WINDOW_EXAMPLES", 40)
    trainer = trainer_of(recipe, prepared[1])
    seen, plain = [], trainer.training_batch
    trainer.training_batch = lambda examples, seed: seen.extend(examples.tolist()) or plain(examples, seed)
    trainer.fit(lambda event: None, lambda: None)
    assert trainer.progress.step == 2 * trainer.derived.steps_per_epoch
    assert sorted(seen[:ROWS]) == sorted(seen[ROWS:]) == list(range(ROWS))


def test_a_run_on_shards_resumes_to_the_same_weights(prepared, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(shards_module, "WINDOW_EXAMPLES", 40)
    # Whatever may ask for all examples: class weights, augmentation, a wide path that learns apart, refit.
    changed = ["loss.class_weights=balanced", "augmentation.deletion=0.1", "training.refit=true"]
    changed += ['wide={training="apart",buckets=256}', "training.checkpoint_every_steps=3"]
    recipe = read_recipe("tiny", [*SETTINGS, *changed])
    folder = prepared[1].folder
    whole = train("texts.csv", recipe, tmp_path / "whole", prepared=folder)

    class CutError(Exception):
        pass

    def stop(event):
        if isinstance(event, StepDone) and event.step == 17:  # in the middle of the second epoch
            raise CutError

    with pytest.raises(CutError):
        train("texts.csv", recipe, tmp_path / "cut", prepared=folder, options=RunOptions(listeners=[stop]))
    again = resume(tmp_path / "cut")
    assert set(again.artifact.weights) == set(whole.artifact.weights)
    for name, value in whole.artifact.weights.items():
        np.testing.assert_array_equal(again.artifact.weights[name], value)
    assert not RunFolder(tmp_path / "whole").refit.path.exists()


def test_one_step_of_everything_is_refused(prepared, recipe, tmp_path):
    recipe = read_recipe("tiny", [*SETTINGS, "optim={kind='gd',lr=0.1}"])
    with pytest.raises(RunError, match="takes all training examples in one step"):
        train("texts.csv", recipe, tmp_path / "run", prepared=prepared[1].folder)


def test_what_a_killed_writer_has_left_is_taken_away(prepared):
    folder = prepared[1].folder / "train"
    shutil.copytree(folder / "shard-1", folder / ".shard-1-0123.partial")
    fingerprint = write_index(folder, [f"shard-{number}" for number in range(5)])
    assert fingerprint == prepared[1].train.fingerprint
    assert sorted(path.name for path in folder.iterdir()) == [INDEX, *(f"shard-{n}" for n in range(5))]


def test_a_shard_is_left_as_it_is_by_who_writes_it_again(prepared):
    _, data = prepared
    folder = data.folder / "train" / "shard-1"
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    write_rows(folder, colour_rows(5, offset=30), data)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert len(list(folder.parent.iterdir())) == 5 + 1  # the index; nothing aside


def spoil_tokens(folder):
    tokens = np.fromfile(folder / "shard-3" / "tokens", "<i4")
    tokens[0] = 10**6
    tokens.tofile(folder / "shard-3" / "tokens")


def spoil_targets(folder):
    targets = np.fromfile(folder / "shard-3" / "targets", "<i4")
    targets[0] = 3
    targets.tofile(folder / "shard-3" / "targets")


def spoil_counts(folder):
    index = json.loads((folder / INDEX).read_text())
    index["shards"][3][1] += 1
    (folder / INDEX).write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("spoil", "got"),
    [
        (spoil_tokens, "tokens that are not from 0 to"),
        (spoil_targets, "targets that are not from 0 to 2"),
        (spoil_counts, "the index says 31 and"),
        (lambda folder: shutil.rmtree(folder / "shard-3"), "No such file"),
        (lambda folder: (folder / "shard-3" / "types.npz").write_bytes(b"PK"), "shard-3"),
    ],
)
def test_damaged_shards_are_told(prepared, spoil, got):
    folder = prepared[1].folder
    spoil(folder / "train")
    store = open_prepared(folder).train
    assert store.batch(np.array([0, 1])).targets.shape == (2,)  # of a whole shard
    with pytest.raises(DataError, match=r"prepared data is missing or damaged(.|\n)*shard-3") as told:
        store.batch(np.array([40]))
    assert got in str(told.value)


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"version": 1, "fingerprint": "", "shards": []}'])
def test_a_damaged_index_is_told(prepared, content):
    folder = prepared[1].folder
    (folder / "train" / INDEX).write_text(content)
    with pytest.raises(DataError, match="prepared data is missing or damaged"):
        open_prepared(folder)
