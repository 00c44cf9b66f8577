"""Files larger than memory, in chunks of a fixed number of rows that are the same whoever reads them.

A file is cut into pieces that can be read apart:

    Parquet            runs of row groups
    JSONL              ranges of bytes
    all others         the whole file: a quoted field may hold line feeds, and .gz cannot be cut

A piece is read in chunks; its last one may be shorter. A chunk's name (file, piece, chunk) depends on the
files and the two sizes below only, never on who reads what when. Which texts are fit is judged by
`data/checks.py`, not here.
"""

import logging
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
from ray.util.annotations import RayDeprecationWarning

from grunlock.data.checks import checked_bytes
from grunlock.data.columns import Cell, Columns, LabelNeed
from grunlock.data.json_lines import can_be_cut, records_before
from grunlock.data.sources import open_files
from grunlock.data.tables import Table, check_whole, parquet_row_groups
from grunlock.errors import DamagedFileError, DataError
from grunlock.recipe.text_options import TextDataOptions
from grunlock.scale.failures import told

CHUNK_ROWS = 16_384
PIECE_BYTES = 64 * 2**20
BLOCK_BYTES = 2**20  # of Ray Data: a chunk or a few are handed on while their piece is read
CHECKS_IN_FLIGHT = 256
RETRIES = 5  # of a task whose process or node ended
READER_CPUS = 0.125  # who reads leaves room for those who compute
DAMAGED_CURE = "get or write it again, or leave it out with --skip-damaged-files"
SCHEMA = pa.schema(
    {
        "piece": pa.int64(),
        "number": pa.int64(),
        "texts": pa.list_(pa.string()),
        "labels": pa.list_(pa.string()),
    }
)


@dataclass(frozen=True)
class Piece:
    """A part of a file that is read in one go.

    table:   the file, without its sample
    file:    number of the file in its source, from 0
    piece:   number of the piece in its file, from 0
    between: Parquet: rows [first, last); JSONL: bytes [first, last); None: the whole file
    rows:    None if only reading tells
    chunk_rows: of each of its chunks but the last
    """

    table: Table
    file: int
    piece: int
    chunk_rows: int
    between: tuple[int, int] | None = None
    rows: int | None = None

    @cached_property
    def rows_before(self) -> int:
        """Rows of the file in front of the piece. In JSONL they are counted: for messages."""
        if self.between is None:
            return 0
        if self.table.format == "parquet":
            return self.between[0]
        return records_before(self.table.path, self.between[0])

    def chunk_name(self, number: int) -> str:
        """Names sort as the rows do."""
        return f"{self.file:06d}-{self.piece:06d}-{number:06d}"

    def chunk_names(self) -> list[str] | None:
        """Of all its chunks; None if only reading tells."""
        if self.rows is None:
            return None
        return [self.chunk_name(number) for number in range(-(-self.rows // self.chunk_rows))]


@dataclass(frozen=True)
class PieceChunk:
    """Rows [number * chunk_rows, (number + 1) * chunk_rows) of a piece, as data.sources.Rows."""

    piece: Piece
    number: int
    texts: list[Cell]
    labels: list[Cell] | None

    @property
    def name(self) -> str:
        return self.piece.chunk_name(self.number)

    def where(self, index: int) -> str:
        row = self.piece.rows_before + self.number * self.piece.chunk_rows + index + 1
        return f"{self.piece.table.path}, row {row}"


@dataclass(frozen=True)
class ChunkedFiles:
    """Files with the same columns, cut into pieces, in order. Made by `cut_files`.

    damaged: files that were left out, with the reason
    """

    columns: Columns
    pieces: tuple[Piece, ...]
    damaged: tuple[tuple[Path, str], ...] = ()

    @property
    def paths(self) -> list[Path]:
        return list(dict.fromkeys(piece.table.path for piece in self.pieces))

    def chunks_of(self, piece: Piece) -> Iterator[PieceChunk]:
        """Read a piece. Raises DataError for what cannot be read; chunks before have been given."""
        label = self.columns.label
        wanted = (self.columns.text,) if label is None else (self.columns.text, label)
        rows = piece.table.rows(wanted, piece.between)
        number = 0
        while batch := _next_rows(rows, piece.chunk_rows):
            labels = None if label is None else [row[1] for row in batch]
            yield PieceChunk(piece, number, [row[0] for row in batch], labels)
            number += 1

    def chunks_in(self, table: pa.Table) -> Iterator[PieceChunk]:
        """The chunks that rows of `chunk_dataset` are. table: a batch of it (batch_format="pyarrow")."""
        for row in table.to_pylist():
            yield PieceChunk(self.pieces[row["piece"]], row["number"], row["texts"], row["labels"])


def cut_files(
    paths: Sequence[Path],
    options: TextDataOptions,
    labels: LabelNeed,
    *,
    skip_damaged_files: bool = False,
    chunk_rows: int = CHUNK_ROWS,
    piece_bytes: int = PIECE_BYTES,
) -> ChunkedFiles:
    """Learn the files' columns and cut them into pieces.

    paths: see data.sources.find_files and files_to_read
    skip_damaged_files: read every Parquet and .gz file once beforehand, in tasks of the cluster this process
        is connected to, and leave out as a whole those that cannot be read to their end. So nothing of a
        damaged file is used. Otherwise damage is found where the file is read.

    Raises DataError for files that cannot be read, or if all are damaged.
    """
    damaged = find_damaged(paths) if skip_damaged_files else {}
    left = [path for path in paths if path not in damaged]
    if damaged and not left:
        path, reason = next(iter(damaged.items()))
        raise DataError("All files are damaged.", where=path, got=reason, cure="get or write them again")
    with _cure_told():
        source = open_files(left, options, labels)
        pieces = [
            Piece(plain, file, number, chunk_rows, between, rows)
            for file, table in enumerate(source.tables)
            for plain in [replace(table, sample=())]
            for number, (between, rows) in enumerate(_cut(plain, piece_bytes))
        ]
    return ChunkedFiles(source.columns, tuple(pieces), tuple(damaged.items()))


def chunk_dataset(
    files: ChunkedFiles,
    leave_out: Collection[str] = (),
    pieces: Sequence[int] | None = None,
    readers: int | None = None,
) -> ray.data.Dataset:
    """The chunks as a Ray dataset, each of them one row of SCHEMA, so that no cutting or joining of blocks
    can change it. A chunk is handed on before its piece is read to the end.

    leave_out: names of chunks that are not needed.
    pieces: indices of the pieces to read, all if None; not none at all.
    readers: pieces read at a time at most; None: as Ray sees fit.
    """
    left_out = frozenset(leave_out)
    wanted = range(len(files.pieces)) if pieces is None else pieces
    shared = ray.put((files, left_out))

    def read(batch: dict[str, Any]) -> Iterator[pa.Table]:
        found, known = ray.get(shared)
        for number in batch["piece"]:
            yield from _tables(found, int(number), known)

    items = [{"piece": number} for number in wanted]
    dataset = quiet(ray.data.from_items(items, override_num_blocks=len(wanted)))
    dataset.context.target_max_block_size = BLOCK_BYTES
    return map_chunks(dataset, read, num_cpus=READER_CPUS, max_retries=RETRIES, concurrency=readers)


def quiet(dataset: ray.data.Dataset) -> ray.data.Dataset:
    """The dataset, of which nothing is printed and whose tasks raise errors of ours as they are."""
    dataset.context.enable_progress_bars = False
    dataset.context.raise_original_map_exception = True  # else an error of ours is lost in one of Ray's
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what is wrong comes as an exception, too
    return dataset


def map_chunks(dataset: ray.data.Dataset, function: Any, **options: Any) -> ray.data.Dataset:
    """Dataset.map_batches of one row at a time. options: also those of tasks, such as max_retries."""
    with warnings.catch_warnings():
        # Ray 2.60 means to name these options by 2.64 and names no retries yet; its own count has no end
        warnings.simplefilter("ignore", RayDeprecationWarning)
        return dataset.map_batches(function, batch_size=1, **options)


def find_damaged(paths: Sequence[Path]) -> dict[Path, str]:
    """Parquet and .gz files that cannot be read to their end, with the reason. Read on the cluster.

    Raises DataError for a file that a node cannot see.
    """
    checked = [path for path in paths if path.suffix.lower() in (".parquet", ".gz")]
    check = ray.remote(_damage)
    found: dict[Path, str] = {}
    for start in range(0, len(checked), CHECKS_IN_FLIGHT):
        some = checked[start : start + CHECKS_IN_FLIGHT]
        for path, task in zip(some, [check.remote(path) for path in some], strict=True):
            try:
                reason = ray.get(task)
            except ray.exceptions.RayError as error:
                raise told(error, path) from error
            if reason is not None:
                found[path] = reason
    return found


def _next_rows(rows: Iterator[tuple[Cell, ...]], count: int) -> list[tuple[Cell, ...]]:
    with _cure_told():
        return list(islice(rows, count))


def _damage(path: Path) -> str | None:
    try:
        check_whole(path)
    except DamagedFileError as error:
        return f"{error.what} {error.got or ''}".strip()
    return None


def _cut(table: Table, piece_bytes: int) -> Iterator[tuple[tuple[int, int] | None, int | None]]:
    """Piece.between and Piece.rows of the pieces of a file."""
    if table.format == "parquet":
        for first, last in _runs(parquet_row_groups(table.path), piece_bytes):
            yield (first, last), last - first
    elif table.format == "jsonl" and can_be_cut(table.path, table.encoding):
        size = table.path.stat().st_size
        for first in range(0, size, piece_bytes):
            yield (first, min(first + piece_bytes, size)), None
    else:
        yield None, None


def _runs(row_groups: Sequence[tuple[int, int]], piece_bytes: int) -> Iterator[tuple[int, int]]:
    """Rows [first, last) of runs of row groups, each of at least piece_bytes but for the last."""
    first = last = size = 0
    for rows, compressed in row_groups:
        last, size = last + rows, size + compressed
        if size >= piece_bytes:
            yield first, last
            first, size = last, 0
    if last > first:
        yield first, last


def _tables(files: ChunkedFiles, piece: int, left_out: Collection[str]) -> Iterator[pa.Table]:
    """The chunks of a piece, each as a table of one row."""
    for chunk in files.chunks_of(files.pieces[piece]):
        if chunk.name in left_out:
            continue
        try:
            columns = [[piece], [chunk.number], [chunk.texts], [chunk.labels]]
            yield pa.table([pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)
        except UnicodeEncodeError:  # half a character, which JSON can spell
            for row, text in enumerate(chunk.texts):
                checked_bytes(text, chunk, row, TextDataOptions())
            raise


@contextmanager
def _cure_told() -> Iterator[None]:
    """Say of a damaged file how to go on without it."""
    try:
        yield
    except DamagedFileError as error:
        raise DamagedFileError(error.what, where=error.where, got=error.got, cure=DAMAGED_CURE) from error
