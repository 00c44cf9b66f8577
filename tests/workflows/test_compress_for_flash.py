"""A model made small for the flash memory of a device: the export has no more bytes than asked for."""

from pathlib import Path

import pytest

from grunlock.artifact import read
from grunlock.export.c import flash_bytes
from tests.workflows.conftest import CommandLine
from tests.workflows.test_compress import trained_in

LATIN = ("--unicode", "latin")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_in(tmp_path_factory.mktemp("flash"))


def test_the_export_has_no_more_than_that(run: Path, grunlock: CommandLine, tmp_path: Path) -> None:
    budget = int(0.8 * flash_bytes(read(run), "latin"))
    small = run / "small.grunlock"
    done = grunlock("compress", run, "--max-flash", budget, *LATIN, "-o", small)
    assert done.code == 0, done.err
    assert "of constants in C" in done.out
    found = flash_bytes(read(small), "latin")
    assert 0.9 * budget < found <= budget
    options = ("--to", "c", "--int8", *LATIN, "-o", tmp_path / "c")
    done = grunlock("export", small, *options, "--max-flash", found)
    assert done.code == 0, done.err
    done = grunlock("export", small, *options, "--max-flash", found - 1)
    assert done.code != 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "got:      neither --max-size nor --max-flash"),
        (["--max-size", "1MB", "--max-flash", "1MB"], "got:      --max-size and --max-flash"),
        (["--max-size", "1MB", *LATIN], "expected: with --max-flash"),
        (["--max-flash", "2KB"], "cannot be made so small"),
    ],
)
def test_bad_options(
    options: list[str], message: str, run: Path, grunlock: CommandLine, tmp_path: Path
) -> None:
    done = grunlock("compress", run, *options, "-o", tmp_path / "small.grunlock")
    assert done.code != 0
    assert message in done.err
    assert not (tmp_path / "small.grunlock").exists()
