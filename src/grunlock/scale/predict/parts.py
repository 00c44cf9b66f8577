"""A folder of part files, one for each chunk, that a killed job can go on with.

_REQUEST.json       what was asked, written first; another request does not go on with the folder
part-CHUNK-rROWS    written whole, under a name that its chunk alone decides: who repeats a chunk writes the
                    same part again. Names sort as the rows do
_SUCCESS.json       the manifest, written last: a folder without it is not whole
"""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from grunlock.errors import StorageError
from grunlock.scale.chunks import ChunkedFiles, Piece
from grunlock.scale.storage import PROBE, Storage

REQUEST_NAME = "_REQUEST.json"
SUCCESS_NAME = "_SUCCESS.json"
PART = re.compile(r"part-(\d{6}-\d{6}-\d{6})-r(\d+)\.(\w+)")
LEFT_BY_KILLED = re.compile(rf".*\.partial|{re.escape(PROBE)}-\w+")
SHOWN = 5


def part_name(chunk: str, rows: int, suffix: str) -> str:
    return f"part-{chunk}-r{rows}.{suffix}"


@dataclass(frozen=True)
class Parts:
    """The parts there are: rows by the chunk's name."""

    rows: Mapping[str, int]
    suffix: str

    @property
    def names(self) -> list[str]:
        return [part_name(chunk, rows, self.suffix) for chunk, rows in sorted(self.rows.items())]

    def cover(self, piece: Piece) -> bool:
        """Whether each chunk of a piece is known to be there, without reading the piece."""
        names = piece.chunk_names()
        if names is not None:
            return all(name in self.rows for name in names)
        number = 0
        while (rows := self.rows.get(piece.chunk_name(number))) is not None:
            if rows < piece.chunk_rows:
                return True  # only the last chunk of a piece is shorter
            number += 1
        return False


def open_folder(storage: Storage, request: dict[str, Any]) -> Parts:
    """Claim a folder for a request, or go on with what a killed job of the same request has left.

    Raises StorageError for a folder that cannot be written to, holds anything else or is another request's.
    """
    storage.check_writable()
    names = [name for name in storage.names() if not LEFT_BY_KILLED.fullmatch(name)]
    content = json.dumps(request, indent=2, sort_keys=True, ensure_ascii=False).encode()
    before = storage.read(REQUEST_NAME)
    if before is None:
        if names:
            raise StorageError(
                "The folder holds other files.",
                where=storage.root,
                got=_shown(names),
                expected="an empty or new folder, or one where the same command was stopped",
            )
        storage.write(REQUEST_NAME, content)
        return Parts({}, request["format"])
    _check_same(storage, before, request)
    storage.remove(SUCCESS_NAME)  # until it is whole again
    found = {}
    for name in names:
        match = PART.fullmatch(name)
        if match is not None and match[3] == request["format"]:
            found[match[1]] = int(match[2])
        elif name not in (REQUEST_NAME, SUCCESS_NAME):
            raise StorageError(
                "The folder holds a file that is no part of it.",
                where=f"{storage.root}/{name}",
                cure="move it elsewhere",
            )
    return Parts(found, request["format"])


def finish(storage: Storage, parts: Parts, files: ChunkedFiles, facts: dict[str, Any]) -> None:
    """Hold the folder against the chunks that were computed, and write the manifest.

    Raises StorageError if a part is missing, or if one is there that no chunk has: rows would be lost
    or twice.
    """
    for name in storage.names():
        if LEFT_BY_KILLED.fullmatch(name):
            storage.remove(name)
    expected = {REQUEST_NAME, *parts.names}
    found = set(storage.names())
    gaps = _gaps(parts, files.pieces)
    if found != expected or gaps:
        missing, others = sorted(expected - found) + gaps, sorted(found - expected)
        raise StorageError(
            "The folder does not hold each chunk once.",
            where=storage.root,
            got=f"missing: {_shown(missing) or 'none'}; too many: {_shown(others) or 'none'}",
            expected=f"{len(parts.rows)} parts, one for each chunk",
            cure="remove what is too many and run the same command again",
        )
    manifest = {
        "rows": sum(parts.rows.values()),
        "parts": [{"name": part_name(c, n, parts.suffix), "rows": n} for c, n in sorted(parts.rows.items())],
        **facts,
    }
    storage.write(SUCCESS_NAME, json.dumps(manifest, indent=2, ensure_ascii=False).encode())


def _gaps(parts: Parts, pieces: Iterable[Piece]) -> list[str]:
    """Names of chunks that must be there and are not."""
    numbers = Counter(name.rpartition("-")[0] for name in parts.rows)
    found = []
    for piece in pieces:
        some = numbers[piece.chunk_name(0).rpartition("-")[0]]
        names = piece.chunk_names() or [piece.chunk_name(number) for number in range(some)]
        found += [name for name in names if name not in parts.rows]
    return found


def _check_same(storage: Storage, before: bytes, request: dict[str, Any]) -> None:
    try:
        there = json.loads(before)
    except json.JSONDecodeError:
        there = None
    if not isinstance(there, dict):
        raise StorageError("The folder's request is damaged.", where=f"{storage.root}/{REQUEST_NAME}")
    differing = sorted(key for key in {*there, *request} if there.get(key) != request.get(key))
    if differing:
        raise StorageError(
            "The folder holds the answers to another request.",
            where=storage.root,
            got="; ".join(f"{key}: {_brief(there.get(key))}" for key in differing),
            expected="; ".join(f"{key}: {_brief(request.get(key))}" for key in differing),
            cure="write to another folder",
        )


def _brief(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else text[:200] + " ..."


def _shown(names: Collection[str]) -> str:
    some = sorted(names)[:SHOWN]
    return ", ".join(some) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
