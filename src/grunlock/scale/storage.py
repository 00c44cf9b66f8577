"""Folders that every node can reach: a shared file system, or a store such as s3://, through pyarrow."""

import re
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyarrow import fs

from grunlock.errors import StorageError
from grunlock.files import atomic_file

PROBE = ".grunlock-probe"
COPIED_BYTES = 16 * 2**20  # of a file in memory at a time


@dataclass(frozen=True)
class Storage:
    """A folder of a file system. Made by `at`.

    root:  as it was given, for messages; a password in it is left out
    system, path: pyarrow's file system and the folder in it
    """

    root: str
    system: Any
    path: str

    @classmethod
    def at(cls, root: str | Path) -> "Storage":
        """A local path, or a URI that pyarrow knows: file, s3, gs, abfs, hdfs. Raises StorageError."""
        given = str(root)
        try:
            if "://" in given:
                system, path = fs.FileSystem.from_uri(given)
            else:
                system, path = fs.LocalFileSystem(), str(Path(given).absolute())
        except (OSError, ValueError, NotImplementedError) as error:
            raise StorageError(
                "This is no place that can be written to.",
                where=_without_password(given),
                got=_without_password(str(error)),
                expected="a folder, or an address such as s3://BUCKET/FOLDER or gs://BUCKET/FOLDER",
            ) from error
        return cls(_without_password(given), system, path.rstrip("/"))

    @property
    def is_local(self) -> bool:
        """A folder of the machine's own tree, shared between nodes or not."""
        return isinstance(self.system, fs.LocalFileSystem)

    def below(self, name: str) -> "Storage":
        return Storage(f"{self.root.rstrip('/')}/{name}", self.system, f"{self.path}/{name}")

    def check_writable(self) -> None:
        """Raises StorageError if a small file cannot be written and taken away again."""
        probe = f"{PROBE}-{uuid.uuid4().hex}"
        self.write(probe, b"probe")
        self.remove(probe)

    def write(self, name: str, content: bytes) -> None:
        """Put a file there, whole: under another name first where the system renames, else in one piece."""
        target = f"{self.path}/{name}"
        try:
            self.system.create_dir(target.rpartition("/")[0], recursive=True)
            if not self.is_local:
                self._put(target, content)
                return
            aside = f"{target}.{uuid.uuid4().hex}.partial"
            self._put(aside, content)
            self.system.move(aside, target)
        except OSError as error:
            raise self._refused(name, error) from error

    def read(self, name: str) -> bytes | None:
        """The content of a file; None if there is none."""
        target = f"{self.path}/{name}"
        try:
            if self.system.get_file_info(target).type is not fs.FileType.File:
                return None
            with self.system.open_input_stream(target) as file:
                return bytes(file.read())
        except OSError as error:
            raise self._refused(name, error) from error

    def upload(self, file: Path, name: str) -> None:
        """Put a local file there, whole as `write` does, in bounded memory."""
        target = f"{self.path}/{name}"
        try:
            self.system.create_dir(target.rpartition("/")[0], recursive=True)
            aside = f"{target}.{uuid.uuid4().hex}.partial" if self.is_local else target
            with file.open("rb") as source, self.system.open_output_stream(aside) as copy:
                shutil.copyfileobj(source, copy, COPIED_BYTES)
            if aside != target:
                self.system.move(aside, target)
        except OSError as error:
            raise self._refused(name, error) from error

    def download(self, name: str, file: Path) -> None:
        """Bring a file here; what is at its path appears whole. Raises StorageError if there is none."""
        try:
            with self.system.open_input_stream(f"{self.path}/{name}") as source, atomic_file(file) as copy:
                shutil.copyfileobj(source, copy, COPIED_BYTES)
        except OSError as error:
            raise self._refused(name, error) from error

    def names(self) -> list[str]:
        """Files below, at any depth, as paths from here, sorted."""
        selector = fs.FileSelector(self.path, recursive=True, allow_not_found=True)
        try:
            found = self.system.get_file_info(selector)
        except OSError as error:
            raise self._refused("", error) from error
        files = (each.path for each in found if each.type is fs.FileType.File)
        return sorted(path[len(self.path) :].lstrip("/") for path in files)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        target = f"{self.path}/{name}"
        try:
            if self.system.get_file_info(target).type is fs.FileType.File:
                self.system.delete_file(target)
        except OSError as error:
            raise self._refused(name, error) from error

    def _put(self, target: str, content: bytes) -> None:
        with self.system.open_output_stream(target) as file:
            file.write(content)

    def _refused(self, name: str, error: OSError) -> StorageError:
        return StorageError(
            "The storage cannot be read or written.",
            where=f"{self.root}/{name}".rstrip("/"),
            got=error,
            expected="a place that this process and every node may write to",
        )


def _without_password(text: str) -> str:
    """s3://KEY:SECRET@BUCKET with stars for the secret."""
    return re.sub(r"(://[^/@:]*:)[^/@]*@", r"\1***@", text)
