"""A corpus of many files, prepared on a cluster: every text once, whatever dies; a model as from memory."""

import json
import os
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install grunlock[scale]")

import pyarrow as pa
import pyarrow.parquet as pq

from grunlock.data.prepared import PreparedData
from grunlock.data.shards import ShardedStore
from grunlock.errors import DataError
from grunlock.recipe import Recipe, read_recipe
from grunlock.scale import connected
from grunlock.scale.stream import prepare as stream
from grunlock.scale.stream import slices
from grunlock.scale.stream.prepare import prepare_streamed
from grunlock.training.run import train
from tests.conftest import colour_rows
from tests.scale.ray_clusters import working_processes

ROWS = 10_000
SETTINGS = [
    "text.min_count=2",
    "embedding.size=8",
    "encoder.hidden_size=8",
    "batches.size=64",
    "training.epochs=1",
]


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return read_recipe("tiny", [*SETTINGS, "embedding.ngrams={buckets=512}"])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """10,000 different texts in 12 Parquet files, 6 of JSONL and 4 of CSV."""
    folder, rows = tmp_path_factory.mktemp("corpus"), colour_rows(ROWS)
    for i in range(12):
        labels, texts = zip(*rows[500 * i : 500 * (i + 1)], strict=True)
        pq.write_table(pa.table({"text": texts, "label": labels}), folder / f"a{i:02d}.parquet")
    for i in range(6):
        lines = [json.dumps({"text": t, "label": y}) + "\n" for y, t in rows[6000 + 500 * i :][:500]]
        (folder / f"b{i}.jsonl").write_text("".join(lines))
    for i in range(4):
        lines = [f"{t},{y}\n" for y, t in rows[9000 + 250 * i :][:250]]
        (folder / f"c{i}.csv").write_text("text,label\n" + "".join(lines))
    return folder


@pytest.fixture(scope="module")
def cluster(two_nodes: Any) -> Iterator[Any]:
    """Two nodes that this process is connected to."""
    with connected(two_nodes.address):
        yield two_nodes


@pytest.fixture(scope="module")
def streamed(
    cluster: Any, corpus: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory
) -> PreparedData:
    return prepare_streamed(corpus, recipe, tmp_path_factory.mktemp("streamed") / "data")


def words_of(data: PreparedData, store: Any, examples: np.ndarray) -> list[tuple[int, tuple[int, ...], int]]:
    """Of each example its class, its tokens in the vocabulary, and how many n-grams they have."""
    tokens, lengths = store.tokens_of(examples)
    of = store.types.distinct(tokens)
    ngrams = np.diff(of.ngram_offsets)[of.inverse]
    starts = np.cumsum(lengths) - lengths
    return [
        (int(target), tuple(of.vocab_ids[of.inverse[s : s + n]].tolist()), int(ngrams[s : s + n].sum()))
        for target, s, n in zip(
            store.targets[examples].tolist(), starts.tolist(), lengths.tolist(), strict=True
        )
    ]


def everything(data: PreparedData) -> Counter[Any]:
    """All examples of all splits."""
    assert isinstance(data.train, ShardedStore)
    stores = [*data.train.stores(), data.valid, *([data.test] if data.test is not None else [])]
    return Counter(e for store in stores for e in words_of(data, store, np.arange(store.num_examples)))


def test_every_text_is_there_once(streamed: PreparedData) -> None:
    front_end = streamed.front_end
    wanted: Counter[Any] = Counter()
    for label, text in colour_rows(ROWS):
        types = front_end.new_types()
        found = types.distinct(front_end.encode([text], types).tokens)
        counts = np.diff(found.ngram_offsets)[found.inverse].sum()
        wanted[streamed.labels.index(label), tuple(found.vocab_ids[found.inverse].tolist()), int(counts)] += 1
    assert everything(streamed) == wanted
    sizes = streamed.train.num_examples, streamed.valid.num_examples, streamed.test.num_examples
    assert sum(sizes) == ROWS
    assert all(abs(size - ROWS * share) < 150 for size, share in zip(sizes, (0.8, 0.1, 0.1), strict=True))
    assert sum(streamed.label_counts) == sizes[0]
    assert not (streamed.folder / "work").exists()


def test_the_model_is_as_good_as_from_memory(
    streamed: PreparedData, corpus: Path, recipe: Recipe, tmp_path: Path
) -> None:
    ordinary = train(corpus, recipe, tmp_path / "ordinary")
    found = train(corpus, recipe, tmp_path / "sharded", prepared=streamed.folder)
    assert ordinary.metrics["accuracy"] > 0.95
    assert found.metrics["accuracy"] > 0.95
    assert (
        tmp_path / "sharded" / "model.grunlock"
    ).is_file() or found.artifact.labels == ordinary.artifact.labels


def kill_workers_once(cluster: Any, parts: Path, killed: list[int]) -> None:
    """When the first chunk is finished, end all processes of the cluster that work on others."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if any(parts.glob("*.json")):
            for worker in working_processes(cluster):
                os.kill(worker, signal.SIGKILL)
                killed.append(worker)
            if killed:
                return
        time.sleep(0.01)


def test_killed_workers_lose_and_double_nothing(
    cluster: Any, corpus: Path, recipe: Recipe, streamed: PreparedData, tmp_path: Path
) -> None:
    killed: list[int] = []
    parts = tmp_path / "data" / "work" / "parts-train"
    killer = threading.Thread(target=kill_workers_once, args=(cluster, parts, killed))
    killer.start()
    again = prepare_streamed(corpus, recipe, tmp_path / "data")
    killer.join()
    assert killed
    assert same_files(again.folder, streamed.folder)
    assert again.fingerprint == streamed.fingerprint


def same_files(one: Path, other: Path) -> bool:
    """Whether all files that training reads are there twice, byte by byte."""
    of = {
        folder: sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
        for folder in (one, other)
    }
    skipped = ("stream.json",)
    names = [name for name in of[one] if name.name not in skipped]
    assert [str(name) for name in of[other] if name.name not in skipped] == [str(name) for name in names]
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def test_a_preparation_goes_on_with_the_chunks_that_are_whole(
    cluster: Any, recipe: Recipe, corpus: Path, tmp_path: Path
) -> None:
    class CutError(Exception):
        pass

    def cut(activity: str, rows: int) -> None:
        if activity == "tokenising train" and rows >= 500:
            raise CutError

    some = tmp_path / "some"
    some.mkdir()
    for name in ("a00.parquet", "a01.parquet", "b0.jsonl", "c0.csv"):
        shutil.copy2(corpus / name, some)
    with pytest.raises(CutError):
        prepare_streamed(some, recipe, tmp_path / "data", progress=cut)
    whole = {p: p.stat().st_mtime_ns for p in (tmp_path / "data" / "work").rglob("*.json")}
    assert len(whole) >= 5
    done: list[tuple[str, int]] = []
    data = prepare_streamed(some, recipe, tmp_path / "data", progress=lambda *what: done.append(what))
    assert max(rows for _, rows in done) <= 1750 - 250
    assert {activity for activity, _ in done} == {"tokenising train"}
    assert everything(data).total() == 1750
    again = prepare_streamed(
        some, recipe, tmp_path / "data", progress=lambda *what: pytest.fail("done again")
    )
    assert again.fingerprint == data.fingerprint


def test_splits_are_capped_and_equal_texts_stay_together(
    cluster: Any, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "MOST_HELD_OUT", 60)
    monkeypatch.setattr(stream, "SAMPLE_TEXTS", 300)
    monkeypatch.setattr(stream, "SHARD_ROWS", 100)
    rows = colour_rows(400) * 2
    lines = [json.dumps({"text": t, "label": y}) + "\n" for y, t in rows]
    (tmp_path / "all.jsonl").write_text("".join(lines))
    data = prepare_streamed(tmp_path / "all.jsonl", recipe, tmp_path / "data")
    assert 20 < data.valid.num_examples < 120
    assert isinstance(data.train, ShardedStore)
    assert len(data.train.shards) == 8
    assert all(
        count % 2 == 0
        for count in Counter(words_of(data, data.valid, np.arange(data.valid.num_examples))).values()
    )
    assert any("of 800 texts" in note for note in data.notes)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "z.jsonl",
            '{"text": "a b", "label": "red"}\n{"text": "a b"}\n',
            r"row has no label(.|\n)*z.jsonl, row 2",
        ),
        ("z.jsonl", '{"text": "a b", "label": "red"}\n{"text": \n', r"not valid JSON(.|\n)*z.jsonl, line 2"),
        ("z.csv", "text,label\na,red\nb,blue,c\n", r"too many columns(.|\n)*z.csv, line 3"),
        ("z.parquet", "PAR1 no more", r"z.parquet"),
    ],
)
def test_bad_rows_and_files_are_told_with_their_place(
    cluster: Any, corpus: Path, recipe: Recipe, tmp_path: Path, name: str, content: str, message: str
) -> None:
    shutil.copy2(corpus / "a00.parquet", tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        prepare_streamed(sorted(tmp_path.iterdir()), recipe, tmp_path / "data")


def test_damaged_files_are_left_out_when_asked_for(
    cluster: Any, corpus: Path, recipe: Recipe, tmp_path: Path
) -> None:
    shutil.copy2(corpus / "a00.parquet", tmp_path)
    (tmp_path / "z.parquet").write_bytes((corpus / "a01.parquet").read_bytes()[:2000])
    data = prepare_streamed(sorted(tmp_path.iterdir()), recipe, tmp_path / "data", skip_damaged_files=True)
    assert everything(data).total() == 500
    assert any("left out of train, damaged" in note and "z.parquet" in note for note in data.notes)


@pytest.mark.parametrize(
    ("base", "change", "got"),
    [
        ("tiny", "distillation={}", "a teacher answers texts in memory"),
        ("series", "seed=1", "numeric series"),
        ("tiny", "optim={kind='gd',lr=0.1}", "each step takes all examples"),
    ],
)
def test_what_cannot_stream_is_refused(tmp_path: Path, base: str, change: str, got: str) -> None:
    with pytest.raises(DataError, match="cannot learn from a streamed corpus") as told:
        prepare_streamed(tmp_path, read_recipe(base, [change]), tmp_path / "data")
    assert got in str(told.value)
