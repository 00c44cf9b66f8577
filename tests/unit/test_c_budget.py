"""C exports that have to fit: exact sizes, and what would make them fit."""

from pathlib import Path

import pytest

from grunlock.artifact import Artifact
from grunlock.errors import ExportError
from grunlock.export.c import Budget, CExport
from tests.parity.c_models import exported, series_artifact, text_artifact

ONE_WAY = ["encoder.bidirectional=false"]
WINDOWS = ["stem.widths=[8, 5]"]


def refused(artifact: Artifact, folder: Path, budget: Budget, **options: object) -> ExportError:
    with pytest.raises(ExportError, match="larger than the budget") as caught:
        exported(artifact, folder / "refused", budget=budget, **options)
    assert not (folder / "refused").exists()
    return caught.value


def told(export: CExport) -> str:
    return f"{export.const_bytes:,} bytes of constants and {export.state_bytes:,} of state"


def test_exactly_its_size_is_enough(tmp_path: Path) -> None:
    artifact = series_artifact(WINDOWS)
    export = exported(artifact, tmp_path)
    exported(artifact, tmp_path, budget=Budget(export.const_bytes, export.state_bytes))
    error = refused(artifact, tmp_path, Budget(max_flash=export.const_bytes - 1))
    assert error.where == "--max-flash"
    assert error.got == told(export)
    error = refused(artifact, tmp_path, Budget(max_ram=export.state_bytes - 1))
    assert error.where == "--max-ram"
    assert str(error.expected) == f"at most {export.state_bytes - 1:,} bytes of state"


def test_int8_comes_first(tmp_path: Path) -> None:
    artifact = text_artifact(["encoder.hidden_size=32"])
    whole, small = exported(artifact, tmp_path), exported(artifact, tmp_path, int8=True)
    error = refused(artifact, tmp_path, Budget(max_flash=whole.const_bytes - 1))
    assert error.cure == f"--int8 makes it {told(small)}"


def test_then_fewer_steps(tmp_path: Path) -> None:
    artifact = series_artifact(WINDOWS)
    small = exported(artifact, tmp_path, int8=True, max_steps=40)
    error = refused(artifact, tmp_path, Budget(max_ram=small.state_bytes + 3), int8=True)
    assert error.cure == f"--max-steps 40 makes it {told(small)}"


def test_then_fewer_characters(tmp_path: Path) -> None:
    artifact = text_artifact(["encoder.hidden_size=8"])
    latin = exported(artifact, tmp_path, unicode="latin", int8=True)
    error = refused(artifact, tmp_path, Budget(max_flash=latin.const_bytes), int8=True)
    assert error.cure == f"--unicode latin makes it {told(latin)}"
    ascii_alone = exported(artifact, tmp_path, unicode="ascii", int8=True)
    error = refused(artifact, tmp_path, Budget(max_flash=ascii_alone.const_bytes))
    assert error.cure == f"--int8 --unicode ascii makes it {told(ascii_alone)}"


def test_answers_before_the_end_can_be_done_without(tmp_path: Path) -> None:
    artifact = series_artifact([*WINDOWS, *ONE_WAY])
    blind = exported(artifact, tmp_path, peek=False)
    error = refused(artifact, tmp_path, Budget(max_ram=blind.state_bytes))
    assert "--no-peek makes it" in str(error.cure)
    error = refused(artifact, tmp_path, Budget(max_ram=blind.state_bytes), int8=False)
    assert str(blind.state_bytes) in str(error.cure).replace(",", "")


def test_what_no_option_can_do(tmp_path: Path) -> None:
    texts = refused(text_artifact([]), tmp_path, Budget(max_flash=100), int8=True, unicode="ascii")
    assert texts.cure is not None
    assert "grunlock compress RUN --max-size 100B" in texts.cure
    assert "as small as it gets" not in texts.cure
    both_ways = refused(series_artifact([]), tmp_path, Budget(max_ram=100))
    assert "encoder.bidirectional=false" in str(both_ways.cure)
    assert "compress" not in str(both_ways.cure)
    one_way = refused(series_artifact(ONE_WAY), tmp_path, Budget(max_flash=100, max_ram=100))
    smallest = exported(series_artifact(ONE_WAY), tmp_path, int8=True)
    assert one_way.where == "--max-flash, --max-ram"
    assert "smaller encoder.hidden_size; as small as it gets, with --int8" in str(one_way.cure)
    assert told(smallest) in str(one_way.cure)
