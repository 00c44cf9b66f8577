"""A killed run goes on to the same bytes; the same seed gives the same bytes."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from grunlock.errors import RunError, RunInterruptedError
from grunlock.recipe import Recipe, read_recipe
from grunlock.training.checkpoint import read_checkpoint, write_checkpoint
from grunlock.training.events import Event, StepDone
from grunlock.training.history import read_history
from grunlock.training.run import RunOptions, resume, train

# Everything that keeps state between steps is on: momentum, average, percentile window, plateau, dropout.
SETTINGS = [
    "embedding.size=8",
    "embedding.word_dropout=0.1",
    "embedding.ngrams.buckets=64",
    "encoder.hidden_size=6",
    "encoder.norm=batch",
    "encoder.state_dropout=0.2",
    "encoder.zoneout=0.1",
    "training.ema_decay=0.9",
    "training.epochs=4",
    "training.checkpoint_every_steps=3",
    "schedule.kind=plateau",
    "clip.kind=percentile",
    "batches.size=8",
]
KINDS = ["adamw", "muon", "schedule_free_adamw", "soap", "prodigy", "gd"]

KILLED_RUN = """
import os, signal, sys
from grunlock.recipe import read_recipe
from grunlock.training.events import StepDone
from grunlock.training.run import RunOptions, train

def kill(event):
    if isinstance(event, StepDone) and event.step == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

train(sys.argv[1], read_recipe("tiny", sys.argv[4:]), sys.argv[2], options=RunOptions(listeners=(kill,)))
"""


def killed_run(data: Path, folder: Path, at_step: int, settings: list[str]) -> None:
    command = [sys.executable, "-c", KILLED_RUN, str(data), str(folder), str(at_step), *settings]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


def steps(folder: Path) -> list[int]:
    return [event["step"] for event in read_history(folder / "history.jsonl") if event["event"] == "step"]


def test_killed_run_resumes_to_the_same_artifact(colours_csv: Path, tmp_path: Path) -> None:
    whole = train(colours_csv, read_recipe("tiny", SETTINGS), tmp_path / "whole")
    killed = tmp_path / "killed"
    killed_run(colours_csv, killed, 17, SETTINGS)
    assert not (killed / "model.grunlock").exists()
    result = resume(killed)
    assert result.artifact_sha256 == whole.artifact_sha256
    assert result.metrics == whole.metrics
    assert steps(killed) == steps(tmp_path / "whole")


@pytest.mark.parametrize("kind", KINDS)
def test_interrupted_run_resumes_to_the_same_artifact(kind: str, colours_csv: Path, tmp_path: Path) -> None:
    """As a kill, but quick enough to try every kind of optimiser state."""
    extra = [f"optim.kind={kind}", "schedule.kind=constant"]
    recipe = read_recipe("tiny", [*SETTINGS, *extra, *(["training.epochs=8"] if kind == "gd" else [])])
    whole = train(colours_csv, recipe, tmp_path / "whole")

    def interrupt(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 5:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(RunInterruptedError, match=r"Stopped after step 5(.|\n)*train --resume"):
        train(colours_csv, recipe, tmp_path / "stopped", options=RunOptions(listeners=(interrupt,)))
    assert resume(tmp_path / "stopped").artifact_sha256 == whole.artifact_sha256


def test_sam_resumes_to_the_same_artifact(colours_csv: Path, tmp_path: Path) -> None:
    recipe = read_recipe("tiny", [*SETTINGS, "sam.rho=0.1"])
    whole = train(colours_csv, recipe, tmp_path / "whole")
    killed_run(colours_csv, tmp_path / "killed", 10, [*SETTINGS, "sam.rho=0.1"])
    assert resume(tmp_path / "killed").artifact_sha256 == whole.artifact_sha256


def test_killed_before_the_first_checkpoint(colours_csv: Path, tmp_path: Path) -> None:
    whole = train(colours_csv, read_recipe("tiny", SETTINGS), tmp_path / "whole")
    killed_run(colours_csv, tmp_path / "killed", 1, SETTINGS)
    assert not (tmp_path / "killed" / "checkpoint.pt").exists()
    assert resume(tmp_path / "killed").artifact_sha256 == whole.artifact_sha256


def test_resuming_a_finished_run_changes_nothing(colours_csv: Path, tmp_path: Path) -> None:
    whole = train(colours_csv, read_recipe("tiny", SETTINGS), tmp_path / "run")
    assert resume(tmp_path / "run").artifact_sha256 == whole.artifact_sha256


def test_another_seed_gives_another_model(colours_csv: Path, tmp_path: Path) -> None:
    def sha256(name: str, recipe: Recipe) -> str:
        return train(colours_csv, recipe, tmp_path / name).artifact_sha256

    one = read_recipe("tiny", [*SETTINGS, "training.epochs=1"])
    two = read_recipe("tiny", [*SETTINGS, "training.epochs=1", "seed=1"])
    assert sha256("a", one) == sha256("b", one) != sha256("c", two)


def test_a_damaged_checkpoint_is_said_in_words(colours_csv: Path, tmp_path: Path) -> None:
    train(colours_csv, read_recipe("tiny", SETTINGS), tmp_path / "run")
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(RunError, match=r"checkpoint is damaged(.|\n)*checkpoint.pt(.|\n)*delete it"):
        resume(tmp_path / "run")


@pytest.mark.parametrize("progress", [{"step": None}, {"epoch": -1}, {"valid_losses": 1}, {"leap": 1}])
def test_progress_that_no_run_has_made(
    progress: dict[str, object], colours_csv: Path, tmp_path: Path
) -> None:
    train(colours_csv, read_recipe("tiny", [*SETTINGS, "training.epochs=1"]), tmp_path / "run")
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    state = read_checkpoint(checkpoint)
    assert state is not None
    write_checkpoint(checkpoint, {**state, "progress": {**state["progress"], **progress}})
    with pytest.raises(RunError, match=r"checkpoint is damaged(.|\n)*Progress(.|\n)*delete it"):
        resume(tmp_path / "run")


def test_a_run_is_not_overwritten_unasked(colours_csv: Path, tmp_path: Path) -> None:
    recipe = read_recipe("tiny", [*SETTINGS, "training.epochs=1"])
    train(colours_csv, recipe, tmp_path / "run")
    with pytest.raises(RunError, match=r"not empty(.|\n)*--resume(.|\n)*--overwrite"):
        train(colours_csv, recipe, tmp_path / "run")
    train(colours_csv, recipe, tmp_path / "run", options=RunOptions(overwrite=True))
    with pytest.raises(RunError, match=r"only replaces runs"):
        train(colours_csv, recipe, tmp_path, options=RunOptions(overwrite=True))
    with pytest.raises(RunError, match=r"no run to resume"):
        resume(tmp_path)


def test_run_folder_tells_its_story(colours_csv: Path, tmp_path: Path) -> None:
    result = train(
        colours_csv, read_recipe("tiny", SETTINGS), tmp_path / "run", options=RunOptions(tensorboard=True)
    )
    names = {path.name for path in result.folder.iterdir()}
    assert names >= {"recipe.toml", "derived.json", "run.json", "history.jsonl", "checkpoint.pt"}
    assert names >= {"metrics.json", "model.grunlock", "tensorboard", "data"}
    assert list((result.folder / "tensorboard").iterdir())
    derived = json.loads((result.folder / "derived.json").read_text())
    assert derived["total_steps"] == 4 * derived["steps_per_epoch"]
    epochs = [e for e in read_history(result.folder / "history.jsonl") if e["event"] == "epoch"]
    assert [e["epoch"] for e in epochs] == [1, 2, 3, 4]
    assert read_recipe(result.folder) == result.artifact.recipe
