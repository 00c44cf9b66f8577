"""The whole road from files to stores: what is kept, what is said, what is refused."""

import errno
import json
from pathlib import Path

import numpy as np
import pytest

from grunlock.data import InMemory, Known, open_prepared, prepare, writing_store
from grunlock.errors import DataError, StorageError
from grunlock.recipe import recipe_from_settings
from grunlock.text import EncodedTexts

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data is not beside the repository")

TEXTS = [f"a {'good' if i % 2 else 'bad'} film number {i}" for i in range(40)]
LABELS = ["pos" if i % 2 else "neg" for i in range(40)]


def memory(texts=TEXTS, labels=LABELS):
    return InMemory(texts, labels)


def recipe(**settings):
    return recipe_from_settings({"wide": "off", **settings})


def refusal(folder, source, *, valid=None, test=None, **settings):
    with pytest.raises((DataError, StorageError)) as raised:
        prepare(source, recipe(**settings), folder / "p", valid=valid, test=test)
    assert not (folder / "p" / "prepared.json").exists()
    return str(raised.value)


def texts_in(prepared, split):
    store = getattr(prepared, split)
    vocab = prepared.front_end.vocab()
    return [
        " ".join(vocab[t] for t in store.tokens[a:b])
        for a, b in zip(store.offsets[:-1], store.offsets[1:], strict=True)
    ]


def test_splits_labels_and_reopening(tmp_path):
    seen = []
    prepared = prepare(
        memory(), recipe(), tmp_path / "p", progress=lambda what, done: seen.append((what, done))
    )
    assert prepared.labels == ("neg", "pos")
    assert (prepared.train.num_examples, prepared.valid.num_examples, prepared.test.num_examples) == (
        32,
        4,
        4,
    )
    assert prepared.label_counts == (16, 16)
    assert seen == [("checking", 40), ("tokenising", 40)]
    for text, target in zip(texts_in(prepared, "train"), prepared.train.targets, strict=True):
        assert text.split()[1] == ("bad", "good")[target]
    again = open_prepared(tmp_path / "p")
    for name in ("labels", "label_counts", "notes", "fingerprint", "inputs"):
        assert getattr(again, name) == getattr(prepared, name)
    np.testing.assert_array_equal(again.train.tokens, prepared.train.tokens)
    assert again.front_end.to_json() == prepared.front_end.to_json()
    assert "examples: train 32, valid 4 (cut from train), test 4 (cut from train)" in prepared.notes
    assert not list(tmp_path.rglob("*.partial"))


def test_given_splits_may_be_paths_of_any_kind(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "".join(f"{t},{c}\n" for t, c in zip(TEXTS, LABELS, strict=True)))
    for given in (path, str(path), [path]):
        prepared = prepare(path, recipe(), tmp_path / "p", valid=given, test=given)
        assert [store.num_examples for store in (prepared.train, prepared.valid, prepared.test)] == [40] * 3


def test_same_rows_same_fingerprint(tmp_path):
    first = prepare(memory(), recipe(), tmp_path / "a")
    assert prepare(memory(), recipe(), tmp_path / "b").fingerprint == first.fingerprint
    changed = [*TEXTS[:-1], "another"]
    assert prepare(memory(changed), recipe(), tmp_path / "a").fingerprint != first.fingerprint


def test_vocabulary_is_learnt_from_train_only(tmp_path):
    prepared = prepare(memory(), recipe(), tmp_path, test=memory(["unseenword"], ["pos"]))
    assert "unseenword" not in prepared.front_end.vocab()
    assert texts_in(prepared, "test") == ["[unk]"]
    assert prepared.test.num_examples == 1
    assert prepared.valid.num_examples == 4


def test_given_files_are_respected(tmp_path):
    prepared = prepare(memory(), recipe(), tmp_path, valid=memory(TEXTS[:2], LABELS[:2]))
    assert (prepared.train.num_examples, prepared.valid.num_examples, prepared.test) == (40, 2, None)
    assert "2 of 2 valid texts also stand in train" in prepared.notes
    assert open_prepared(tmp_path).test is None


def test_ngram_types_survive_reopening(tmp_path):
    settings = recipe(embedding={"ngrams": {"buckets": 50}})
    prepared = prepare(memory(), settings, tmp_path, test=memory(["unseenword bad"], ["neg"]))
    again = open_prepared(tmp_path)
    assert again.train.types.num_types == prepared.train.types.num_types > prepared.front_end.vocab_size
    distinct = again.train.types.distinct(again.test.tokens)
    assert 0 in distinct.vocab_ids
    assert len(distinct.ngram_ids) > 0


def test_continuing_with_a_front_end_and_labels(tmp_path):
    first = prepare(memory(), recipe(), tmp_path / "a")
    more = memory(["some new words"] * 12, ["zzz", "aaa", "pos"] * 4)
    second = prepare(
        more, recipe(), tmp_path / "b", known=Known(first.front_end, ("pos", "neg")), valid=memory()
    )
    assert second.labels == ("pos", "neg", "aaa", "zzz")
    assert second.label_counts == (4, 0, 4, 4)
    assert second.front_end.vocab() == first.front_end.vocab()


def test_empty_texts(tmp_path):
    texts, labels = [*TEXTS, " ", "\u3000"], [*LABELS, "pos", "neg"]
    message = refusal(tmp_path, memory(texts, labels))
    assert "2 texts are empty." in message
    assert "texts, row 41; texts, row 42" in message
    assert "--set data.empty_texts=drop, or keep" in message
    dropped = prepare(memory(texts, labels), recipe(data={"empty_texts": "drop"}), tmp_path / "d")
    assert sum(s.num_examples for s in (dropped.train, dropped.valid, dropped.test)) == 40
    assert "2 empty texts dropped in train" in dropped.notes
    kept = prepare(memory(texts, labels), recipe(data={"empty_texts": "keep"}), tmp_path / "k")
    everything = [text for split in ("train", "valid", "test") for text in texts_in(kept, split)]
    assert everything.count("[empty]") == 2
    assert "2 empty texts kept as [empty] in train" in kept.notes


def test_long_texts(tmp_path):
    message = refusal(tmp_path, memory(["é" * 600, *TEXTS[1:]]), data={"max_text_bytes": 1000})
    assert "A text is too long." in message
    assert "texts, row 1" in message
    assert "1,200 bytes" in message
    assert "--set data.max_text_bytes=1200" in message


def test_missing_and_single_labels(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "good,pos\nbad,\n" * 9)
    message = refusal(tmp_path, path)
    assert "9 rows have no label." in message
    assert "a.csv, row 2; " in message
    assert "and more" in message
    message = refusal(tmp_path, memory(TEXTS, ["pos"] * 40))
    assert "same label" in message
    assert "only 'pos'" in message
    assert "have no labels" in refusal(tmp_path, InMemory(TEXTS))


@pytest.mark.parametrize("split", ["valid", "test"])
def test_label_only_outside_train(tmp_path, split):
    message = refusal(tmp_path, memory(), **{split: memory(["x", "y"], ["odd", "pos"])})
    assert f"The {split} split has labels that the training split lacks." in message
    assert "odd (1 row)" in message


def test_class_with_one_example_is_reported(tmp_path):
    prepared = prepare(memory([*TEXTS, "lonely"], [*LABELS, "one"]), recipe(), tmp_path)
    assert "lonely" in texts_in(prepared, "train")
    assert any("1 classes have a single training example: one" in note for note in prepared.notes)


def test_half_characters_and_other_types(tmp_path):
    message = refusal(tmp_path, memory(["a\ud800", *TEXTS[1:]]))
    assert "not valid Unicode" in message
    assert "texts, row 1" in message
    assert "A text is not a string." in refusal(tmp_path, memory([3, *TEXTS[1:]]))
    assert "A label is not a string." in refusal(tmp_path, memory(TEXTS, [1, *LABELS[1:]]))


def test_cut_texts_are_counted(tmp_path):
    prepared = prepare(memory(), recipe(text={"max_tokens": 2}), tmp_path)
    assert "100.0% of training texts are cut to 2 tokens" in prepared.notes
    assert prepared.train.lengths.max() == 2


def test_changed_source_is_noticed(tmp_path):
    path = tmp_path / "a.csv"
    rows = "".join(f"{text},{label}\n" for text, label in zip(TEXTS, LABELS, strict=True))
    path.write_text("text,label\n" + rows)

    def shorten(what, done):
        path.write_text("text,label\n" + rows[: rows.index("\n") + 1])

    with pytest.raises(DataError, match="changed while it was read"):
        prepare(path, recipe(), tmp_path / "p", progress=shorten)
    assert list((tmp_path / "p").iterdir()) == [] if (tmp_path / "p").exists() else True


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("name", ["tokens", "targets"])
def test_full_disk(tmp_path, monkeypatch, name):
    folder = tmp_path / "p"
    folder.mkdir()
    (folder / "other.txt").write_text("stays")
    real_open = Path.open
    monkeypatch.setattr(
        Path,
        "open",
        lambda self, *args, **options: real_open(
            Path("/dev/full") if self.name == name and "w" in args[0] else self, *args, **options
        ),
    )
    message = refusal(tmp_path, memory())
    assert "could not be written" in message
    assert "No space left" in message
    assert "bytes free" in message
    assert "free some space" in message
    assert [child.name for child in folder.iterdir()] == ["other.txt"]


def test_full_disk_names_the_file(tmp_path):
    def fill():
        with writing_store(tmp_path / "train") as (writer, _):
            writer._rows._files["tokens"].close()
            writer._rows._files["tokens"] = FullFile(tmp_path / "train.partial" / "tokens")
            writer.append(EncodedTexts(*[np.ones(1, np.int32)] * 4), np.ones(1, np.int32))

    with pytest.raises(StorageError, match=r"could not be written(.|\n)*train\.partial/tokens"):
        fill()
    assert list(tmp_path.iterdir()) == []


class FullFile:
    def __init__(self, path):
        self.name = str(path)

    def write(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    def close(self):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_other_write_errors_are_ours_too(tmp_path):
    (tmp_path / "p").write_text("a file is in the way")
    with pytest.raises(StorageError, match=r"could not be written(.|\n)*part of this path is a file"):
        prepare(memory(), recipe(), tmp_path / "p")


def test_unfinished_or_damaged_folder(tmp_path):
    with pytest.raises(DataError, match=r"no finished prepared data(.|\n)*prepare it again"):
        open_prepared(tmp_path)
    prepare(memory(), recipe(), tmp_path)
    facts = json.loads((tmp_path / "prepared.json").read_text())
    (tmp_path / "prepared.json").write_text(json.dumps(facts | {"version": 99}))
    with pytest.raises(DataError, match="version 99, expected 5"):
        open_prepared(tmp_path)
    (tmp_path / "prepared.json").write_text(json.dumps(facts))
    (tmp_path / "train" / "tokens").write_bytes(b"1234")
    with pytest.raises(DataError, match=r"missing or damaged(.|\n)*tokens has 4 bytes"):
        open_prepared(tmp_path)


@needs_shared
def test_shared_sets(tmp_path):
    trec = prepare(SHARED / "trec6", recipe(), tmp_path / "t")
    assert (trec.train.num_examples + trec.valid.num_examples, trec.test.num_examples) == (5452, 500)
    assert len(trec.labels) == 6
    sst = prepare(SHARED / "sst2", recipe(), tmp_path / "s")
    assert (sst.train.num_examples, sst.valid.num_examples, sst.test.num_examples) == (6920, 872, 1821)
    waimai = prepare(SHARED / "waimai_10k", recipe(), tmp_path / "w")
    assert (waimai.inputs.script, waimai.front_end.tokens) == ("han", "characters")


@needs_shared
def test_shared_set_with_empty_texts(tmp_path):
    message = refusal(tmp_path, SHARED / "20ng_stripped" / "test.tsv.gz")
    assert "25 texts are empty." in message
