"""One table file, row by row: CSV, TSV, JSONL and plain text, each also as .gz, and Parquet.

Plain text has one column, a text a line. It is read where a file is named, not where a folder is searched:
there it is likelier a note about the data.

Rows come in the file's order with bounded memory. It neither chooses columns nor judges their contents.
CSV and TSV are read by Python's own reader: it keeps every byte, gives exact line numbers and refuses what it
cannot read, where faster ones drop surplus columns or refuse a line feed inside a quoted field.
"""

import csv
import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TextIO

from grunlock.data.columns import LABEL_NAMES, TEXT_NAMES, Cell, is_header
from grunlock.data.encoding import open_bytes, open_text
from grunlock.data.json_lines import json_records, lines_before
from grunlock.errors import DamagedFileError, DataError, MissingDependencyError

Format = Literal["csv", "tsv", "jsonl", "parquet", "txt"]
FORMATS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
PLAIN_TEXT_SUFFIXES = (".txt", ".txt.gz")
PLAIN_TEXT_COLUMN = "text"
EXPECTED_SUFFIX = ".csv, .tsv, .jsonl (each also as .gz) or .parquet"
SERIES_SUFFIXES = (".npz", ".ts", ".ts.gz")  # of files that hold no table; the recipe "series" reads them

SAMPLE_ROWS = 1000
FETCHED_ROWS = 2000  # of a Parquet file at a time
CHECKED_BYTES = 1 << 20
MAX_FIELD_CHARACTERS = 1 << 26  # beyond it, an unclosed quote is likelier than a text


def table_format(path: Path) -> Format | None:
    """The format that a file's name tells, None if it is no table."""
    suffixes = path.suffixes
    if suffixes and suffixes[-1].lower() == ".gz":
        found = FORMATS.get(suffixes[-2].lower()) if len(suffixes) > 1 else None
        return None if found == "parquet" else found
    return FORMATS.get(suffixes[-1].lower()) if suffixes else None


def table_stem(path: Path) -> str:
    """The name without its format: train for train.tsv.gz."""
    name = path.name
    for suffix in (".gz", *FORMATS):
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
    return name


@dataclass(frozen=True)
class Table:
    """A file with its columns. Made by `open_table` only."""

    path: Path
    format: Format
    encoding: str
    names: tuple[str, ...]
    has_header: bool
    sample: tuple[tuple[Cell, ...], ...]

    def rows(
        self, columns: tuple[str, ...], between: tuple[int, int] | None = None
    ) -> Iterator[tuple[Cell, ...]]:
        """The cells of some columns, row by row; None where a value is missing.

        between: of a Parquet file the rows, of a JSONL file the bytes that are read; no other file has parts.
        """
        assert between is None or self.format in ("jsonl", "parquet")
        if self.format == "jsonl":
            yield from _json_rows(self, columns, between)
        elif self.format == "parquet":
            yield from _parquet_rows(self.path, columns, between)
        elif self.format == "txt":
            yield from _plain_rows(self.path, self.encoding)
        else:
            places = [self.names.index(column) for column in columns]
            rows = _delimited_rows(self.path, self.format, self.encoding)
            for number, row in islice(rows, int(self.has_header), None):
                if len(row) != len(self.names):
                    raise _wrong_width(self, number, len(row))
                yield tuple(row[place] for place in places)


def open_table(
    path: Path,
    encoding: str,
    wanted: tuple[str | None, ...] = (),
    usual_names: Collection[str] = TEXT_NAMES | LABEL_NAMES,
) -> Table:
    """Learn a file's columns from its first rows.

    wanted, usual_names: columns the user named, and lower-case names, by which a header is recognised.

    Raises DataError for a missing, empty or unreadable file and for an unknown suffix.
    """
    kind = table_format(path)
    if path.name.lower().endswith(PLAIN_TEXT_SUFFIXES):
        sample = tuple(islice(_plain_rows(path, encoding), SAMPLE_ROWS))
        return _with_rows(Table(path, "txt", encoding, (PLAIN_TEXT_COLUMN,), False, sample))
    if kind is None:
        raise DataError(
            "The file's kind is not supported.",
            where=path,
            got="".join(path.suffixes) or "no suffix",
            expected=EXPECTED_SUFFIX,
            cure='numeric series are read by the recipe "series"'
            if path.name.lower().endswith(SERIES_SUFFIXES)
            else None,
        )
    if kind == "parquet":
        names = _parquet_columns(path)
        sample = tuple(islice(_parquet_rows(path, names), SAMPLE_ROWS))
        return _with_rows(Table(path, kind, encoding, names, True, sample))
    if kind == "jsonl":
        records = list(islice(json_records(path, encoding), SAMPLE_ROWS))
        keys = tuple(dict.fromkeys(key for _, record in records for key in record))
        cells = tuple(tuple(_shown(record.get(k)) for k in keys) for _, record in records)
        return _with_rows(Table(path, kind, encoding, keys, True, cells))
    numbered = list(islice(_delimited_rows(path, kind, encoding), SAMPLE_ROWS + 1))
    if not numbered:
        raise DataError("The file is empty.", where=path, got="no row")
    (_, first), *rest = numbered
    header = is_header(first, [row for _, row in rest], wanted, usual_names)
    names = tuple(cell.strip() for cell in first) if header else tuple(_column_names(len(first)))
    _check_names(path, names)
    data = [row for _, row in rest] if header else [row for _, row in numbered]
    table = Table(path, kind, encoding, names, header, tuple(tuple(r) for r in data if len(r) == len(names)))
    for number, row in numbered:
        if len(row) != len(names):
            raise _wrong_width(table, number, len(row))
    return _with_rows(table)


def _column_names(count: int) -> list[str]:
    return [f"column{i + 1}" for i in range(count)]


def _check_names(path: Path, names: tuple[str, ...]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError("Two columns have the same name.", where=f"{path}, line 1", got=", ".join(twice))


def _with_rows(table: Table) -> Table:
    if not table.sample:
        raise DataError(
            "The file is empty.",
            where=table.path,
            got=f"a header ({', '.join(table.names)}) and no row" if table.names else "no row",
        )
    return table


def _wrong_width(table: Table, line: int, width: int) -> DataError:
    few = width < len(table.names)
    mark = {"csv": "comma", "tsv": "tab"}[table.format]
    cure = (
        f'put texts that hold a {mark} in "quotes"' if table.format == "csv" else f"replace {mark}s in texts"
    )
    return DataError(
        f"A row has too {'few' if few else 'many'} columns.",
        where=f"{table.path}, line {line}",
        got=f"{width} column{'s' if width != 1 else ''}",
        expected=f"{len(table.names)}: {', '.join(table.names)}",
        cure=None if few else cure,
    )


def _delimited_rows(path: Path, kind: Format, encoding: str) -> Iterator[tuple[int, list[str]]]:
    """Line number where each row starts, and its cells. Blank lines are no rows in wide tables."""
    width = None
    with open_text(path, encoding, newline="" if kind == "csv" else "\n") as text:
        for number, row in _csv_rows(path, text) if kind == "csv" else _tsv_rows(text):
            width = width or max(1, len(row))
            if width > 1 and (not row or row == [""]):
                continue
            yield number, row or [""]


def _plain_rows(path: Path, encoding: str) -> Iterator[tuple[Cell, ...]]:
    with open_text(path, encoding, newline="\n") as text:
        for line in text:
            yield (line.rstrip("\r\n"),)


def _tsv_rows(text: TextIO) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(text, start=1):
        yield number, line.rstrip("\r\n").split("\t")


def _csv_rows(path: Path, text: TextIO) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(max(csv.field_size_limit(), MAX_FIELD_CHARACTERS))
    reader = csv.reader(text, strict=True)
    while True:
        start = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(
                "A row is not valid CSV.",
                where=f"{path}, the row that starts in line {start}",
                got=error,
                expected='fields in "quotes" that are closed, quotes inside them doubled: ""',
                cure="a file without quoting can be read as .tsv",
            ) from error
        yield start, row


def _json_rows(
    table: Table, columns: tuple[str, ...], between: tuple[int, int] | None
) -> Iterator[tuple[Cell, ...]]:
    for number, record in json_records(table.path, table.encoding, between):
        cells = tuple(record.get(column) for column in columns)
        for column, value in zip(columns, cells, strict=True):
            if isinstance(value, dict | list):
                before = 0 if between is None else lines_before(table.path, between[0])
                raise DataError(
                    "A value is neither a text nor a number.",
                    where=f"{table.path}, line {before + number}, {column}",
                    got=json.dumps(value, ensure_ascii=False)[:80],
                )
        yield tuple(map(_shown, cells))


def _shown(value: Any) -> Cell:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


@contextmanager
def _parquet(path: Path) -> Iterator[Any]:
    """A duckdb connection that reads one Parquet file, its errors turned into ours."""
    try:
        import duckdb
    except ImportError as error:
        raise MissingDependencyError(
            "Parquet files need duckdb.", where=path, got="duckdb is not installed", cure="pip install duckdb"
        ) from error
    with open_bytes(path):
        pass  # missing and empty files get the usual message
    connection = duckdb.connect(":memory:")
    try:
        yield connection
    except duckdb.Error as error:
        raise DamagedFileError("The Parquet file cannot be read.", where=path, got=error) from error
    finally:
        connection.close()


def _parquet_columns(path: Path) -> tuple[str, ...]:
    with _parquet(path) as connection:
        rows = connection.execute("DESCRIBE SELECT * FROM read_parquet(?)", [_literal(path)]).fetchall()
    return tuple(row[0] for row in rows)


def _parquet_rows(
    path: Path, columns: tuple[str, ...], between: tuple[int, int] | None = None
) -> Iterator[tuple[Cell, ...]]:
    casts = ", ".join(f"CAST({_quoted(column)} AS VARCHAR)" for column in columns)
    with _parquet(path) as connection:
        if between is None:
            result = connection.execute(f"SELECT {casts} FROM read_parquet(?)", [_literal(path)])
        else:
            connection.execute("SET threads = 1")  # who reads parts reads several at a time
            result = connection.execute(
                f"SELECT {casts} FROM read_parquet(?, file_row_number = true) "
                "WHERE file_row_number >= ? AND file_row_number < ?",
                [_literal(path), *between],
            )
        while rows := result.fetchmany(FETCHED_ROWS):
            yield from rows


def parquet_row_groups(path: Path) -> list[tuple[int, int]]:
    """Rows and compressed bytes of each row group of a Parquet file. Raises DataError as reading would."""
    with _parquet(path) as connection:
        found = connection.execute(
            "SELECT any_value(row_group_num_rows), sum(total_compressed_size) FROM parquet_metadata(?) "
            "GROUP BY row_group_id ORDER BY row_group_id",
            [_literal(path)],
        ).fetchall()
    return [(int(rows), int(size)) for rows, size in found]


def check_whole(path: Path) -> None:
    """Read a .gz or Parquet file to its end, to learn whether that is possible.

    Raises DamagedFileError if it is not; bits that were turned inside a value may pass, where the file has no
    checksums.
    """
    if table_format(path) != "parquet":
        with open_bytes(path) as stream:
            while stream.read(CHECKED_BYTES):
                pass
        return
    hashes = ", ".join(f"bit_xor(hash({_quoted(name)}))" for name in _parquet_columns(path))
    with _parquet(path) as connection:
        connection.execute("SET threads = 1")
        connection.execute(f"SELECT {hashes} FROM read_parquet(?)", [_literal(path)]).fetchall()


def _quoted(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _literal(path: Path) -> str:
    """The path with duckdb's glob characters made plain."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in str(path))
