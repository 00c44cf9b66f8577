"""What may be wrong with a file of numpy arrays, before numpy makes room for what it claims to hold."""

import struct
import tokenize
import zipfile
import zlib
from math import prod
from pathlib import Path
from typing import IO

import numpy as np

# All that numpy and zipfile raise for damaged files; RuntimeError where one is encrypted.
NPZ_ERRORS = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    EOFError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    tokenize.TokenError,
)
# Zeros deflate to a thousandth, which padded series are full of; more than this is no data.
MOST_INFLATION, ALWAYS_ALLOWED_BYTES = 200, 256 * 2**20


def check_npz(path: Path) -> None:
    """Raises one of NPZ_ERRORS for an archive whose arrays say that they are larger than what is there, or
    are so much larger than the file that they can hold nothing."""
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        stated = sum(entry.file_size for entry in archive.infolist())
        if stated > MOST_INFLATION * size + ALWAYS_ALLOWED_BYTES:
            raise ValueError(f"{stated:,} bytes of arrays in a file of {size:,}")
        for entry in archive.infolist():
            with archive.open(entry) as member:
                _check_header(entry, member)


def _check_header(entry: zipfile.ZipInfo, member: IO[bytes]) -> None:
    if not entry.filename.endswith(".npy"):
        return
    version = np.lib.format.read_magic(member)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(member)
    claimed = prod(shape) * dtype.itemsize + member.tell()
    if not dtype.hasobject and claimed != entry.file_size:
        raise ValueError(f"{entry.filename}: {claimed:,} bytes by its header, {entry.file_size:,} are there")
