"""Files with one JSON object a line, whole or a range of their bytes.

A range holds the lines whose first byte lies in it, so ranges that follow one another hold each line once.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from grunlock.data.encoding import GZIP_MAGIC, check_encoding, codec_name, open_bytes, open_text
from grunlock.errors import DataError

# Where byte 10 is a line feed and nothing else, and no state reaches over it.
CUTTABLE = {"utf-8-sig", "ascii", "gb18030", "gbk", "gb2312", "big5", "iso8859-1", "cp1252"}
COUNTED_BYTES = 1 << 20


def json_records(
    path: Path, encoding: str, between: tuple[int, int] | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a file, with the number of their line in it, or in the range `between` of its bytes.

    Raises DataError, with the line's number in the file, for any other line.
    """
    if between is not None:
        yield from _records_between(path, encoding, *between)
        return
    with open_text(path, encoding, newline="\n") as text:
        for number, line in enumerate(text, start=1):
            if line.strip():
                yield number, json_object(line, f"{path}, line {number}")


def can_be_cut(path: Path, encoding: str) -> bool:
    """Whether ranges of the file's bytes can be read. Raises DataError if it is missing or empty."""
    with open_bytes(path):
        pass
    with path.open("rb") as raw:
        packed = raw.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    return not packed and codec_name(encoding) in CUTTABLE


def records_before(path: Path, offset: int) -> int:
    """Objects in the lines that start before a byte. Reads all of them."""
    count = position = 0
    with open_bytes(path) as stream:
        for line in stream:
            if position >= offset:
                break
            position += len(line)
            count += bool(line.strip())
    return count


def lines_before(path: Path, offset: int) -> int:
    """Lines that start before a byte. Reads all of them."""
    if offset == 0:
        return 0
    count, left = 1, offset - 1
    with open_bytes(path) as stream:
        while left > 0 and (block := stream.read(min(left, COUNTED_BYTES))):
            count += block.count(b"\n")
            left -= len(block)
    return count


def json_object(line: str, where: str) -> dict[str, Any]:
    """The object that a line holds. Raises DataError for anything else."""
    try:
        record = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError("A line is not valid JSON.", where=where, got=error) from error
    if not isinstance(record, dict):
        raise DataError(
            "A line is no JSON object.",
            where=where,
            got=line.strip()[:80],
            expected='for example {"text": "...", "label": "..."}',
        )
    return record


def _records_between(
    path: Path, encoding: str, start: int, stop: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    codec = codec_name(encoding)
    later = "utf-8" if codec == "utf-8-sig" else codec  # only a file's first line has a byte order mark
    with open_bytes(path) as stream:
        position = start
        if start > 0:
            stream.seek(start - 1)
            position += len(stream.readline()) - 1
        number = 0
        while position < stop and (line := stream.readline()):
            number += 1
            try:
                text = line.decode(later if position else codec)
            except UnicodeError as error:
                check_encoding(path, encoding)
                raise DataError("The file cannot be decoded.", where=path, got=error) from error
            if text.strip():
                yield number, _object_at(text, path, position)
            position += len(line)


def _object_at(line: str, path: Path, offset: int) -> dict[str, Any]:
    try:
        return json_object(line, "")
    except DataError:
        return json_object(line, f"{path}, line {lines_before(path, offset) + 1}")
