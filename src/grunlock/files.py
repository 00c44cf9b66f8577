"""Writing files so that a crash, a full disk or a kill leaves the old file or the new one, whole."""

import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from grunlock.errors import StorageError

LOCK_SECONDS = 0.05  # between tries


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A binary file that appears at `path` only when the block ends well, synced to the disk.

    Raises StorageError if the system refuses; whatever stood at `path` is untouched then.
    """
    temporary: Path | None = None
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        temporary = None
        sync_folder(path.parent)
    except OSError as error:
        raise storage_error(error, path) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes | str) -> None:
    """Replace the file at `path` by `content` (text as UTF-8). Raises StorageError."""
    with atomic_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def storage_guard(path: Path) -> Iterator[None]:
    """Turn the system's refusal to write at `path` into a StorageError."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, path) from error


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Wait until no other process or thread holds this file, and hold it. A killed process holds nothing.

    Raises StorageError if it cannot be made or the file system knows no locks.
    """
    with storage_guard(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("a+b")
    with file:
        while not _taken(file, lock):
            time.sleep(LOCK_SECONDS)  # not in one system call, which a stop request could not end
        yield


def _taken(file: BinaryIO, lock: Path) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise storage_error(error, lock) from error
    return True


def storage_error(error: OSError, path: Path) -> StorageError:
    """Our words for a refused write."""
    number = error.errno or 0
    reason = os.strerror(number) if number else str(error)
    if number in (errno.ENOSPC, errno.EDQUOT):
        folder = next(folder for folder in path.absolute().parents if folder.exists())
        reason += f"; {shutil.disk_usage(folder).free:,} bytes free for everybody"
    cures = {
        errno.ENOSPC: "free some space on that disk, or write elsewhere with -o",
        errno.EDQUOT: "free some of your quota on that disk, or write elsewhere with -o",
        errno.EACCES: "write to a folder you own, with -o",
        errno.ENOENT: "make the folder first",
        errno.ENOTDIR: "part of this path is a file: write elsewhere with -o",
    }
    return StorageError(
        "A file could not be written; an older version of it is untouched.",
        where=path,
        got=reason,
        cure=cures.get(number),
    )
