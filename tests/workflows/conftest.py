"""The command line as a user meets it: exit code, standard output, standard error."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from grunlock.cli.main import main
from grunlock.recipe import read_recipe
from grunlock.training.run import train
from tests.conftest import colour_rows
from tests.workflows import browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SMALL = ["embedding.size=8", "encoder.hidden_size=6", "batches.size=8", "training.epochs=1"]


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


CommandLine = Callable[..., Outcome]


@pytest.fixture
def grunlock(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Run `grunlock ...` in this process. What is no error of ours comes out as the exception it is."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["grunlock", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        return Outcome(int(stopped.value.code or 0), captured.out, captured.err)

    return run


def small(*settings: str) -> list[str]:
    """Arguments of `grunlock train` for a run of a blink."""
    return ["--recipe", "tiny", *(f"--set={setting}" for setting in (*SMALL, *settings))]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder to read from: three colours, twelve epochs, so that it has learned them."""
    folder = tmp_path_factory.mktemp("model")
    data = folder / "colours.csv"
    data.write_text("label,text\n" + "".join(f"{label},{text}\n" for label, text in colour_rows(90)))
    settings = ["embedding.size=16", "encoder.hidden_size=16", "batches.size=8", "training.epochs=12"]
    return train(data, read_recipe("tiny", settings), folder / "run").folder


@pytest.fixture(scope="session")
def chromium() -> "Iterator[Browser]":
    """Chromium without a window; skips where it or Playwright is missing."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        found = browser.start(started)
        yield found
        found.close()
