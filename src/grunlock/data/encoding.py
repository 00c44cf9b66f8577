"""Opening text files in the encoding the user named, and telling what is wrong when they are in another.

Reads .gz (recognised by its first bytes) as it is, skips a byte order mark. Converts nothing on disk and
never guesses silently: a likely encoding is only proposed.
"""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO

from grunlock.errors import DamagedFileError, DataError
from grunlock.text.script import is_han

GZIP_MAGIC = b"\x1f\x8b"
CHUNK_BYTES = 1 << 20
SHOWN_BYTES = 8

HAN_SHARE = 0.5  # of all non-ASCII characters, for a text to look Chinese
STRAY_UTF8_SHARE = 0.05  # lines of GB18030 that happen to be valid UTF-8, such as the famous "联通"


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """The file's bytes, decompressed. Raises DataError if it is missing, empty, or damaged."""
    try:
        with path.open("rb") as raw:
            magic = raw.read(len(GZIP_MAGIC))
            raw.seek(0)
            if not magic:
                raise DataError("The file is empty.", where=path)
            if magic == GZIP_MAGIC:
                with gzip.open(raw) as unpacked:
                    yield unpacked  # type: ignore[misc]  # GzipFile is a BinaryIO in all but name
            else:
                yield raw
    except FileNotFoundError as error:
        raise DataError("There is no such file.", where=path) from error
    except (IsADirectoryError, PermissionError) as error:
        raise DataError("The file cannot be read.", where=path, got=error.strerror) from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DamagedFileError(
            "The compressed file is damaged.", where=path, got=error, cure="get or compress it again"
        ) from error


@contextmanager
def open_text(path: Path, encoding: str, newline: str) -> Iterator[TextIO]:
    """The file's text. Raises DataError that names the place if it is not in `encoding`.

    newline: as for `open`: "\\n" ends lines there only, "" leaves line ends alone.
    """
    codec = codec_name(encoding)
    with open_bytes(path) as stream, io.TextIOWrapper(stream, encoding=codec, newline=newline) as text:
        try:
            yield text
        except UnicodeError as error:
            check_encoding(path, encoding)
            raise DataError("The file cannot be decoded.", where=path, got=error) from error


def codec_name(encoding: str) -> str:
    """Python's name of an encoding, in the variant that skips a byte order mark."""
    try:
        name = codecs.lookup(encoding).name
        "".encode(name)  # refuses codecs that are no text encodings, such as "zlib"
    except LookupError as error:
        raise DataError(
            "Unknown encoding.",
            where="data.encoding",
            got=encoding,
            expected="for example utf-8, gb18030, big5, latin-1, utf-16",
        ) from error
    return "utf-8-sig" if name == "utf-8" else name


def check_encoding(path: Path, encoding: str) -> None:
    """Read the whole file and raise DataError at the first byte that is not `encoding`."""
    fault = _first_fault(path, codec_name(encoding))
    if fault is None:
        return
    where = f"{path}, line {fault.line}, byte {fault.offset}"
    if codec_name(encoding) != "utf-8-sig":
        raise DataError(
            f"The file is not valid {encoding}.",
            where=where,
            got=fault.shown,
            cure="name its encoding with --set data.encoding=...",
        )
    lines = _count_lines(path)
    if _looks_like_gb18030(path, lines):
        raise DataError(
            "The file is not valid UTF-8.",
            where=where,
            got=fault.shown,
            cure="looks like GB18030: --set data.encoding=gb18030",
        )
    if lines.first_utf8 is not None:
        raise DataError(
            "The file mixes encodings.",
            where=where,
            got=f"line {lines.first_utf8} is UTF-8, line {lines.first_other} is not: {fault.shown}",
            expected="one encoding in the whole file",
            cure="convert the odd lines, or write the file again from its source",
        )
    raise DataError(
        "The file is not valid UTF-8.",
        where=where,
        got=fault.shown,
        cure="name its encoding with --set data.encoding=..., for example latin-1 or big5",
    )


@dataclass(frozen=True)
class _Fault:
    line: int  # from 1
    offset: int  # of the first bad byte, decompressed, from 0
    shown: str


def _first_fault(path: Path, codec: str) -> _Fault | None:
    decoder = codecs.getincrementaldecoder(codec)()
    line, consumed = 1, 0
    with open_bytes(path) as stream:
        while True:
            chunk = stream.read(CHUNK_BYTES)
            pending = len(decoder.getstate()[0])
            try:
                line += decoder.decode(chunk, final=not chunk).count("\n")
            except UnicodeDecodeError as error:
                before, bad = error.object[: error.start], error.object[error.start :]
                return _Fault(
                    line + before.count(b"\n"),
                    consumed - pending + error.start,
                    "bytes " + bad[:SHOWN_BYTES].hex(" "),
                )
            if not chunk:
                return None
            consumed += len(chunk)


@dataclass(frozen=True)
class _LineCounts:
    utf8: int  # lines with non-ASCII text that is UTF-8
    other: int  # lines that are not UTF-8
    first_utf8: int | None
    first_other: int | None


def _count_lines(path: Path) -> _LineCounts:
    utf8 = other = 0
    first_utf8 = first_other = None
    with open_bytes(path) as stream:
        for number, line in enumerate(stream, start=1):
            if line.isascii():
                continue
            try:
                line.removeprefix(codecs.BOM_UTF8).decode()
            except UnicodeDecodeError:
                other += 1
                first_other = first_other or number
            else:
                utf8 += 1
                first_utf8 = first_utf8 or number
    return _LineCounts(utf8, other, first_utf8, first_other)


def _looks_like_gb18030(path: Path, lines: _LineCounts) -> bool:
    if lines.utf8 > STRAY_UTF8_SHARE * lines.other:
        return False
    decoder = codecs.getincrementaldecoder("gb18030")()
    han = others = 0
    with open_bytes(path) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            try:
                text = decoder.decode(chunk)
            except UnicodeDecodeError:
                return False
            for character in text:
                if not character.isascii():
                    han += is_han(character)
                    others += character.isalpha() and not is_han(character)
    return han > 0 and han >= HAN_SHARE * (han + others)
