"""Storages: what is written is there whole, what cannot be is said, secrets are not."""

from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install grunlock[scale]")

from grunlock.errors import StorageError
from grunlock.scale.storage import Storage


@pytest.mark.parametrize("as_uri", [False, True])
def test_files_come_back(tmp_path: Path, as_uri: bool) -> None:
    storage = Storage.at((tmp_path / "a").as_uri() if as_uri else tmp_path / "a").below("runs")
    assert storage.names() == []
    storage.check_writable()
    storage.write("one/model", b"first")
    storage.write("one/model", b"second")
    source = tmp_path / "big"
    source.write_bytes(b"x" * 1000)
    storage.upload(source, "two")
    assert storage.names() == ["one/model", "two"]  # nothing half written, no probe
    assert storage.read("one/model") == b"second"
    assert storage.read("three") is None
    storage.download("two", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()
    storage.remove("two")
    storage.remove("two")
    assert storage.names() == ["one/model"]


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageError, match="cannot be read or written") as caught:
        Storage.at(tmp_path / "file" / "runs").check_writable()
    assert str(caught.value.where).startswith(f"{tmp_path}/file/runs")


@pytest.mark.parametrize("address", ["nothing://bucket/x", "s3://KEY:SECRET@BUCKET_WITH spaces/x"])
def test_no_place(address: str) -> None:
    with pytest.raises(StorageError, match="no place that can be written to") as caught:
        Storage.at(address)
    assert "SECRET" not in str(caught.value)


def test_a_password_is_in_no_message() -> None:
    storage = Storage.at("s3://KEY:SECRET@bucket/runs?region=eu-west-1").below("one")
    assert storage.root.startswith("s3://KEY:***@bucket/runs")
