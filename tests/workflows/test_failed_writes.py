"""Full disks, interrupted writes and crashes: told in our words, and nothing already written is lost."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from grunlock import artifact as artifacts
from grunlock.errors import GrunlockError, StorageError
from grunlock.recipe import read_recipe
from grunlock.training import checkpoint as checkpoints
from grunlock.training.history import History
from grunlock.training.run import RunOptions, resume, train
from tests.workflows.conftest import SMALL, CommandLine


def no_room(*arguments: object) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def interrupted(*arguments: object) -> Any:
    raise KeyboardInterrupt


class FailingSync:
    """os.fsync that fails for files whose name holds `part`, from the nth such file on."""

    def __init__(self, part: str, fail: Callable[..., Any], after: int = 0) -> None:
        self.part, self.fail, self.left, self.sync = part, fail, after, os.fsync

    def __call__(self, descriptor: int) -> None:
        if self.part in os.readlink(f"/proc/self/fd/{descriptor}"):
            if self.left == 0:
                self.fail()
            self.left -= 1
        self.sync(descriptor)


needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="names of open files are needed")
RESUMABLE = [*SMALL, "training.epochs=2", "training.checkpoint_every_steps=3"]


@needs_proc
@pytest.mark.parametrize("fail", [no_room, interrupted])
@pytest.mark.parametrize(
    ("part", "after"),
    [("checkpoint.pt", 0), ("checkpoint.pt", 2), ("metrics.json", 0), ("model.grunlock", 0), ("history", 0)],
)
def test_a_write_that_fails_costs_nothing(
    part: str,
    after: int,
    fail: Callable[..., Any],
    colours_csv: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = train(colours_csv, read_recipe("tiny", RESUMABLE), tmp_path / "whole")
    run = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", FailingSync(part, fail, after))
        with pytest.raises((StorageError, KeyboardInterrupt)) as failed:
            train(colours_csv, read_recipe("tiny", RESUMABLE), run)
    if fail is no_room:
        message = str(failed.value)
        assert "an older version of it is untouched" in message
        assert f"where:    {run}" in message
        assert part in message
        assert "No space left" in message
        assert "free some space" in message
    assert not [path.name for path in run.iterdir() if path.name.startswith(".")]  # no temporary file
    state = checkpoints.read_checkpoint(run / "checkpoint.pt")
    steps = {"checkpoint.pt": 3 * after or None, "history": None}.get(part, 18)
    assert (None if state is None else state["progress"]["step"]) == steps
    assert resume(run).artifact_sha256 == whole.artifact_sha256


@needs_proc
def test_a_finished_run_outlives_a_failed_rewrite(
    colours_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = train(colours_csv, read_recipe("tiny", RESUMABLE), tmp_path / "run")
    before = result.folder.joinpath("model.grunlock").read_bytes()
    for part in ("checkpoint.pt", "metrics.json", "model.grunlock"):
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", FailingSync(part, no_room))
            with pytest.raises(StorageError, match="No space left"):
                resume(result.folder)
        assert result.folder.joinpath("model.grunlock").read_bytes() == before
    assert resume(result.folder).artifact_sha256 == result.artifact_sha256


@pytest.mark.parametrize("room", [0, 2_000, 20_000])
def test_a_checkpoint_cut_in_the_middle(room: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's writer answers a refused write with an error of its own; ours must come out."""
    import torch

    path = tmp_path / "checkpoint.pt"
    checkpoints.write_checkpoint(path, {"old": torch.ones(3)})
    real = os.fdopen

    class Limited:
        def __init__(self, file: Any) -> None:
            self.file, self.left = file, room

        def write(self, data: Any) -> int:
            self.left -= len(memoryview(data).cast("B"))
            return no_room() if self.left < 0 else self.file.write(data)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

        def __enter__(self) -> "Limited":
            return self

        def __exit__(self, *error: object) -> None:
            self.file.close()

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdopen", lambda *arguments: Limited(real(*arguments)))
        with pytest.raises(StorageError, match=r"No space left(.|\n)*free some space"):
            checkpoints.write_checkpoint(path, {"new": torch.zeros(100_000)})
    assert [child.name for child in tmp_path.iterdir()] == ["checkpoint.pt"]
    state = checkpoints.read_checkpoint(path)
    assert state is not None
    assert set(state) == {"old"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_history_that_does_not_fit(
    colours_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grunlock: CommandLine
) -> None:
    whole = train(colours_csv, read_recipe("tiny", RESUMABLE), tmp_path / "whole")
    real = Path.open

    def full(self: Path, mode: str = "r", **options: Any) -> Any:
        return real(
            Path("/dev/full") if self.name == "history.jsonl" and mode == "a" else self, mode, **options
        )

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", full)
        settings = [f"--set={setting}" for setting in RESUMABLE]
        done = grunlock("train", colours_csv, "-r", "tiny", "-o", tmp_path / "run", *settings)
    assert done.code == 1
    assert "history.jsonl" in done.err
    assert "No space left" in done.err
    assert resume(tmp_path / "run").artifact_sha256 == whole.artifact_sha256


@needs_proc
@pytest.mark.parametrize("part", ["tokens", "prepared.json", "tokenizer.json"])
def test_data_that_does_not_fit(
    part: str, colours_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = read_recipe("tiny", SMALL)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", FailingSync(f"data/.{part}" if "." in part else part, no_room))
        with pytest.raises(StorageError) as failed:
            train(colours_csv, recipe, tmp_path / "run")
    message = str(failed.value)
    assert "could not be written" in message
    assert part in message
    assert "bytes free" in message
    assert "free some space" in message
    assert not (tmp_path / "run").exists()
    assert train(colours_csv, recipe, tmp_path / "run").metrics["num_examples"] == 9


def test_a_crash_between_metrics_and_model(
    colours_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(artifacts, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(colours_csv, read_recipe("tiny", SMALL), tmp_path / "run")
    assert resume(tmp_path / "run").artifact.metrics["num_examples"] == 9


def test_a_listener_that_fails_costs_no_checkpoint(colours_csv: Path, tmp_path: Path) -> None:
    def fail(event: object) -> None:
        if type(event).__name__ == "EpochDone":
            raise GrunlockError("somebody else's fault")

    recipe = read_recipe("tiny", RESUMABLE)
    whole = train(colours_csv, recipe, tmp_path / "whole")
    with pytest.raises(GrunlockError, match="somebody else"):
        train(colours_csv, recipe, tmp_path / "run", options=RunOptions(listeners=(fail,)))
    with History(tmp_path / "other.jsonl", 0, 0) as history:
        assert history.path.read_text() == ""
    assert resume(tmp_path / "run").artifact_sha256 == whole.artifact_sha256
