"""Files in pieces and chunks: every row once and in order, wherever the cuts fall."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install grunlock[scale]")

import pyarrow as pa
import pyarrow.parquet as pq

from grunlock.errors import DamagedFileError, DataError
from grunlock.recipe.text_options import TextDataOptions
from grunlock.scale import connected
from grunlock.scale.chunks import ChunkedFiles, chunk_dataset, cut_files
from tests.conftest import THOROUGH

OPTIONS = TextDataOptions()
TEXTS = [f"text {i} ü" for i in range(600)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """300 texts in Parquet, 200 in JSONL with a byte order mark, 100 of two lines each in CSV."""
    numbers = list(range(300))
    pq.write_table(pa.table({"text": TEXTS[:300], "y": numbers}), tmp_path / "a.parquet", row_group_size=50)
    lines = [json.dumps({"text": t, "y": 1}, ensure_ascii=False) + "\n" for t in TEXTS[300:500]]
    lines[7] += "\n"
    (tmp_path / "b.jsonl").write_bytes(b"\xef\xbb\xbf" + "".join(lines).encode())
    rows = [f'"{t}\nsecond line",1\n' for t in TEXTS[500:]]
    (tmp_path / "c.csv").write_text("".join(["text,y\n", *rows]))
    return tmp_path


def cut(folder: Path, piece_bytes: int = 500, **options: Any) -> ChunkedFiles:
    return cut_files(sorted(folder.iterdir()), OPTIONS, "ignored", piece_bytes=piece_bytes, **options)


def all_texts(files: ChunkedFiles) -> list[str]:
    return [t for piece in files.pieces for chunk in files.chunks_of(piece) for t in chunk.texts if t]


@pytest.mark.parametrize("piece_bytes", [1, 13, 29, 30, 500, 10**6])
def test_each_row_once_wherever_pieces_are_cut(folder: Path, piece_bytes: int) -> None:
    files = cut(folder, piece_bytes, chunk_rows=7)
    assert [t.removesuffix("\nsecond line") for t in all_texts(files)] == TEXTS
    names = [chunk.name for piece in files.pieces for chunk in files.chunks_of(piece)]
    assert names == sorted(set(names))


def test_lengths_that_are_known(folder: Path) -> None:
    for piece in cut(folder, chunk_rows=40).pieces:
        found = [chunk.name for chunk in ChunkedFiles(cut(folder).columns, (piece,)).chunks_of(piece)]
        assert piece.chunk_names() in (None, found)
        assert (piece.chunk_names() is None) == (piece.table.format != "parquet")


def test_places_of_rows_and_lines(folder: Path) -> None:
    files = cut(folder, chunk_rows=7)
    numbers: dict[Path, int] = {}
    for piece in files.pieces:
        for chunk in files.chunks_of(piece):
            for index in range(len(chunk.texts)):
                path = piece.table.path
                numbers[path] = numbers.get(path, 0) + 1
                assert chunk.where(index) == f"{path}, row {numbers[path]}"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b'{"text": "cut off', "A line is not valid JSON"),
        (b'{"text": ["list"]}', "neither a text nor a number"),
        (b'{"text": "\xff"}', "mixes encodings"),
    ],
)
def test_bad_lines_have_their_number_in_the_file(folder: Path, bad: bytes, message: str) -> None:
    path = folder / "b.jsonl"
    lines = path.read_bytes().split(b"\n")
    lines[150] = bad
    path.write_bytes(b"\n".join(lines))
    # columns are learned from the first rows, which hold the bad line, too: so a good file goes first
    files = cut_files([folder / "a.parquet"], OPTIONS, "ignored")
    pieces = _of_jsonl(path)
    with pytest.raises(DataError, match=message) as caught:
        all_texts(ChunkedFiles(files.columns, pieces))
    assert f"{path}, line 151" in str(caught.value.where)


def _of_jsonl(path: Path) -> Any:
    """Pieces of a file as they are when it is good."""
    bad = path.read_bytes()
    path.write_text("".join(json.dumps({"text": "x" * 20, "y": 1}) + "\n" for _ in range(300)))
    pieces = cut_files([path], OPTIONS, "ignored", piece_bytes=300).pieces
    path.write_bytes(bad)
    return pieces


@THOROUGH
def test_a_dataset_holds_each_chunk_once(folder: Path, two_nodes: Any) -> None:
    files = cut(folder, 2000, chunk_rows=40)
    expected = {c.name: c.texts for piece in files.pieces for c in files.chunks_of(piece)}
    known = sorted(expected)[2:5]
    with connected(two_nodes.address):
        tables = chunk_dataset(files, known).iter_batches(batch_size=None, batch_format="pyarrow")
        found = [chunk for table in tables for chunk in files.chunks_in(table)]
    assert len(found) == len(expected) - 3
    assert {c.name: c.texts for c in found} == {k: v for k, v in expected.items() if k not in known}


def test_a_damaged_file_is_named_or_left_out_as_a_whole(folder: Path, two_nodes: Any) -> None:
    numbers = [str(i * 7919) for i in range(3000)]
    pq.write_table(pa.table({"text": numbers, "y": numbers}), folder / "aa.parquet", row_group_size=1000)
    content = bytearray((folder / "aa.parquet").read_bytes())
    content[len(content) // 2 : len(content) // 2 + 400] = bytes(400)  # its footer and first rows are sound
    (folder / "aa.parquet").write_bytes(content)
    with pytest.raises(DamagedFileError, match="cannot be read") as caught:
        all_texts(cut(folder))
    assert caught.value.where == folder / "aa.parquet"
    assert "--skip-damaged-files" in str(caught.value.cure)
    with connected(two_nodes.address):
        files = cut(folder, skip_damaged_files=True)
    assert [path.name for path, _ in files.damaged] == ["aa.parquet"]
    assert [t.removesuffix("\nsecond line") for t in all_texts(files)] == TEXTS


def test_only_damaged_files(tmp_path: Path, two_nodes: Any) -> None:
    (tmp_path / "a.parquet").write_bytes(b"no parquet at all")
    with connected(two_nodes.address), pytest.raises(DataError, match="All files are damaged"):
        cut(tmp_path, skip_damaged_files=True)
    with pytest.raises(DamagedFileError, match="cannot be read"):
        cut(tmp_path)
