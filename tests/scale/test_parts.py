"""Folders of parts: whose they are, what is in them, when they are whole."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install grunlock[scale]")

import pyarrow.parquet as pq
from pyarrow import fs

from grunlock.artifact import Artifact, save
from grunlock.errors import StorageError
from grunlock.evaluation import Promises
from grunlock.recipe.text_options import TextDataOptions
from grunlock.scale import Storage, reach
from grunlock.scale.chunks import ChunkedFiles, cut_files
from grunlock.scale.predict.parts import Parts, finish, open_folder
from grunlock.scale.predict.scoring import Job, PartScorer
from tests.conftest import colour_rows
from tests.scale.scorers import NamedByAttempt

REQUEST = {"format": "jsonl", "precision": "float32"}


@pytest.fixture
def files(tmp_path: Path) -> ChunkedFiles:
    """50 texts of one file, in chunks of 20."""
    texts = [text for _, text in colour_rows(50)]
    (tmp_path / "texts.csv").write_text("text\n" + "".join(f'"{text}"\n' for text in texts))
    return cut_files([tmp_path / "texts.csv"], TextDataOptions(), "ignored", chunk_rows=20)


@pytest.fixture
def job(tmp_path: Path, files: ChunkedFiles, artifact: Artifact) -> Job:
    save(artifact, tmp_path / "model.grunlock")
    model = (tmp_path / "model.grunlock").read_bytes()
    storage = Storage.at(tmp_path / "out")
    return Job(files, TextDataOptions(), model, "float32", Promises(), storage, "jsonl")


def write_all(scorer: PartScorer) -> dict[str, int]:
    files = scorer.job.files
    return {c.name: scorer.write(c) for piece in files.pieces for c in files.chunks_of(piece)}


def test_a_folder_is_whole_when_its_manifest_is_there(job: Job, tmp_path: Path) -> None:
    before = open_folder(job.storage, REQUEST)
    assert before.rows == {}
    rows = write_all(PartScorer(job))
    (tmp_path / "out" / "part-000000-000000-000001-r20.jsonl.1f.partial").write_text("of one that was killed")
    again = open_folder(job.storage, REQUEST)
    assert again.rows == rows == {f"000000-000000-{n:06d}": size for n, size in enumerate((20, 20, 10))}
    assert all(again.cover(piece) for piece in job.files.pieces)
    finish(job.storage, again, job.files, {"versions": {}})
    assert job.storage.names() == ["_REQUEST.json", "_SUCCESS.json", *again.names]
    assert json.loads(job.storage.read("_SUCCESS.json") or b"")["rows"] == 50
    open_folder(job.storage, REQUEST)
    assert job.storage.read("_SUCCESS.json") is None  # until it is whole again


def test_a_part_that_is_named_by_its_attempt_is_caught(job: Job) -> None:
    open_folder(job.storage, REQUEST)
    first, second = write_all(NamedByAttempt(job)), write_all(NamedByAttempt(job))
    assert first == second
    with pytest.raises(StorageError, match="does not hold each chunk once"):
        finish(job.storage, Parts(first, "jsonl"), job.files, {})
    assert job.storage.read("_SUCCESS.json") is None


@pytest.mark.parametrize("lost", [1, 0])
def test_a_lost_chunk_is_caught(job: Job, lost: int) -> None:
    open_folder(job.storage, REQUEST)
    rows = write_all(PartScorer(job))
    name = f"000000-000000-{lost:06d}"
    job.storage.remove(f"part-{name}-r20.jsonl")
    left = {chunk: count for chunk, count in rows.items() if chunk != name}
    for known in (rows, left):  # a part that is gone, and a chunk that nobody has told of
        with pytest.raises(StorageError, match="does not hold each chunk once") as caught:
            finish(job.storage, Parts(known, "jsonl"), job.files, {})
        assert name in str(caught.value.got)
    assert not Parts(left, "jsonl").cover(job.files.pieces[0])


def test_folders_that_are_not_gone_on_with(tmp_path: Path) -> None:
    storage = Storage.at(tmp_path / "out")
    storage.write("notes.txt", b"mine")
    with pytest.raises(StorageError, match="holds other files") as caught:
        open_folder(storage, REQUEST)
    assert caught.value.got == "notes.txt"
    storage.remove("notes.txt")
    open_folder(storage, REQUEST)
    with pytest.raises(StorageError, match="answers to another request") as caught:
        open_folder(storage, {**REQUEST, "precision": "int8"})
    assert caught.value.got == 'precision: "float32"'
    storage.write("notes.txt", b"mine")
    with pytest.raises(StorageError, match="no part of it"):
        open_folder(storage, REQUEST)
    storage.remove("notes.txt")
    storage.write("_REQUEST.json", b"{")
    with pytest.raises(StorageError, match="request is damaged"):
        open_folder(storage, REQUEST)
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageError, match="cannot be read or written"):
        open_folder(Storage.at(tmp_path / "file"), REQUEST)


def test_parts_in_a_store_that_is_no_folder(job: Job) -> None:
    """As s3:// and gs://: whole objects under their names, no renaming."""
    memory = Storage("memory://out", fs._MockFileSystem(), "out")
    here = replace(job, storage=memory)
    open_folder(memory, REQUEST)
    rows = write_all(PartScorer(here))
    finish(memory, Parts(rows, "jsonl"), job.files, {})
    assert memory.names() == ["_REQUEST.json", "_SUCCESS.json", *Parts(rows, "jsonl").names]


def test_formats_hold_the_same(job: Job) -> None:
    for kind in ("parquet", "csv", "jsonl"):
        write_all(PartScorer(replace(job, format=kind)))
    folder = Path(job.storage.path)
    lines = [json.loads(x) for p in sorted(folder.glob("*.jsonl")) for x in p.read_text().splitlines()]
    table = [row for p in sorted(folder.glob("*.parquet")) for row in pq.read_table(p).to_pylist()]
    assert table == lines
    assert len(lines) == 50
    cells = [x for p in sorted(folder.glob("*.csv")) for x in p.read_text().splitlines()[1:]]
    assert cells == [f"{x['text']},{x['label']},{x['probability']:.6f}" for x in lines]


def test_what_a_node_does_not_see(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("12345")
    storage = Storage.at(tmp_path / "out")
    storage.write("known", b"1")
    here = {tmp_path / "there": 5}
    assert reach._problem(here, storage, "known", b"1") is None
    assert reach._problem({tmp_path / "gone": 5}, None, None, None) == (
        str(tmp_path / "gone"),
        "no such file",
    )
    assert "5 bytes, 6 where" in str(reach._problem({tmp_path / "there": 6}, None, None, None))
    assert reach._problem(here, storage, "known", b"2") is not None
