"""Training on a cluster learns what one process learns, whoever is killed, and says why where it cannot."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install grunlock[scale]")

from ray.exceptions import OutOfMemoryError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError
from typer.testing import CliRunner

import grunlock
from grunlock.cli.main import app
from grunlock.errors import ClusterError, DataError, RunError, RunInterruptedError, StorageError
from grunlock.recipe import Recipe, read_recipe
from grunlock.scale import connected, reach
from grunlock.scale.train import board as boards
from grunlock.scale.train import run as cluster_training
from grunlock.scale.train.board import News, Outcome, WorkersLost
from grunlock.scale.train.run import Team, begin_at, check_resumable, team_of, train_on_cluster
from grunlock.scale.train.watch import LOSSES_WITHOUT_CHECKPOINT, Watch, loss_of
from grunlock.scale.train.worker import work
from grunlock.training.events import CheckpointWritten, Event, StepDone
from grunlock.training.history import read_history
from grunlock.training.interruption import StopRequest
from grunlock.training.run import begin, resume, train
from tests.conftest import THOROUGH

FATAL_STEP = 7
RECIPE = [
    # masks are drawn for each process, so the same curve needs a recipe without them
    "embedding.word_dropout=0",
    "encoder.input_dropout=0",
    "head.dropout=0",
    "encoder.norm=batch",
    "embedding.ngrams.buckets=64",
    "training.epochs=5",
    "training.checkpoint_every_steps=5",
    "training.ema_decay=0.9",
    "batches.size=16",
]


def recipe() -> Recipe:
    return read_recipe("tiny", RECIPE)


def steps(history: Path) -> list[dict[str, Any]]:
    return [record for record in read_history(history) if record["event"] == "step"]


def work_that_is_killed(config: dict[str, Any]) -> None:
    """Rank 0 is killed once, after a step that no checkpoint has seen."""
    mark = Path(config["job"].started_in) / "killed"  # where the test is
    tell = boards.Reporter.__call__

    def tell_or_die(reporter: boards.Reporter, event: Event) -> None:
        if isinstance(event, StepDone) and event.step == FATAL_STEP and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        tell(reporter, event)

    boards.Reporter.__call__ = tell_or_die  # type: ignore[method-assign]
    work(config)


@pytest.mark.parametrize("killed", [False, pytest.param(True, marks=THOROUGH)])
def test_two_workers_learn_what_one_process_learns_and_a_killed_one_changes_nothing(
    killed: bool, two_nodes: Any, colours_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a storage, where each node works in a folder of its own: what goes on is what the storage holds."""
    alone, run = tmp_path / "alone", tmp_path / "bucket" / "run"
    place = f"file://{run}"
    train(colours_csv, recipe(), alone)
    monkeypatch.chdir(tmp_path)
    if killed:
        monkeypatch.setattr(cluster_training, "work", work_that_is_killed)
    said: list[str] = []
    with connected(two_nodes.address) as cluster:
        team = team_of(cluster, workers=2, threads=1)
        begin_at(cluster, place, lambda folder: begin(colours_csv, recipe(), folder), overwrite=False)
        done = train_on_cluster(cluster, place, team, say=said.append)
        with pytest.raises(RunError, match="not empty"):
            begin_at(cluster, place, lambda folder: None, overwrite=False)
    assert (tmp_path / "killed").exists() == killed
    assert any("Going on from the last checkpoint" in text for text in said) == killed
    assert said.count("training in 2 processes on 2 nodes") == 1 + killed
    expected, found = steps(alone / "history.jsonl"), steps(run / "history.jsonl")
    assert [record["step"] for record in found] == [record["step"] for record in expected]
    losses = [[record["train_loss"] for record in records] for records in (found, expected)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=2e-5)
    nll = json.loads((alone / "metrics.json").read_text())["nll"]
    assert done.place == place
    assert done.metrics["nll"] == pytest.approx(nll, rel=1e-4)
    assert grunlock.load(run / "model.grunlock").predict_proba(["red rose"]).shape == (1, 3)
    assert not [path for path in run.rglob("*") if path.name.endswith(".partial")]


@THOROUGH
def test_a_stopped_training_goes_on_anywhere(two_nodes: Any, colours_csv: Path, tmp_path: Path) -> None:
    run = tmp_path / "new" / "run"
    longer = read_recipe("tiny", [*RECIPE, "training.epochs=150"])
    interrupted: list[Event] = []

    def stop(event: Event) -> None:
        if isinstance(event, StepDone) and not interrupted:
            interrupted.append(event)
            os.kill(os.getpid(), signal.SIGINT)

    with connected(two_nodes.address) as cluster:
        begin_at(cluster, str(run), lambda folder: begin(colours_csv, longer, folder), overwrite=False)
        with pytest.raises(RunInterruptedError) as caught:
            train_on_cluster(cluster, str(run), Team(2, 1), listeners=[stop])
        check_resumable(cluster, str(run))
    command = f"grunlock train --resume {run} --cluster {two_nodes.address}"
    assert str(caught.value.cure).endswith(command)
    reached = len(steps(run / "history.jsonl"))
    resume(run)  # by one process, without a cluster
    numbers = [record["step"] for record in steps(run / "history.jsonl")]
    assert 0 < reached < len(numbers)
    assert numbers == [*range(1, len(numbers) + 1)]


def test_bad_input(
    two_nodes: Any, colours_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connected(two_nodes.address) as cluster:
        with pytest.raises(ClusterError, match="no room for these workers") as crowded:
            team_of(cluster, workers=3, threads=1)
        assert "at most 2 workers" in str(crowded.value.expected)
        with pytest.raises(ClusterError, match="no room for these workers"):
            team_of(cluster, workers=None, threads=2)  # no node has two
        assert team_of(cluster, workers=None, threads=None) == Team(2, 1)
        with pytest.raises(RunError, match="no run to resume"):
            check_resumable(cluster, str(tmp_path / "nothing"))
        with pytest.raises(RunError, match="no run to resume"):
            check_resumable(cluster, f"file://{tmp_path}/nothing")
        with pytest.raises(StorageError):
            begin_at(cluster, "file:///proc/nowhere/run", lambda folder: None, overwrite=False)
        missing = tmp_path / "missing.csv"
        place = f"file://{tmp_path}/new"
        with pytest.raises(DataError):
            begin_at(cluster, place, lambda folder: begin(missing, recipe(), folder), overwrite=False)
        assert not [path for path in (tmp_path / "new").rglob("*") if path.is_file()]
        monkeypatch.setattr(reach, "write_atomically", lambda path, content: None)
        with pytest.raises(ClusterError, match="does not see the run folder") as apart:
            begin_at(cluster, str(tmp_path / "run"), lambda folder: None, overwrite=False)
        assert apart.value.where in {node.host for node in cluster.nodes}


def test_only_with_a_cluster(tmp_path: Path) -> None:
    for arguments in (["--workers", "2"], ["--no-stream"], ["-o", "s3://bucket/run"]):
        result = CliRunner().invoke(app, ["train", "data.csv", *arguments])
        assert isinstance(result.exception, RunError)
        assert "--cluster" in str(result.exception)


def lost(reason: str) -> WorkersLost:
    return WorkersLost(ClusterError("A worker ended without a word.", got=reason))


class Never:
    """A Ray Train that has not ended."""

    def ended(self) -> bool:
        return False


def watched(news: list[News]) -> tuple[Outcome, list[str]]:
    """The outcome of a training that tells this, and what is said about it."""
    said: list[str] = []
    pieces = iter([(news, None)])
    watch = Watch("run", Never(), lambda: next(pieces), lambda: None, [], said.append)  # type: ignore[arg-type]
    return watch.outcome(StopRequest()), said


def test_losses_without_a_checkpoint_end_it() -> None:
    often = [lost(f"loss {number}") for number in range(LOSSES_WITHOUT_CHECKPOINT)]
    outcome, said = watched([*often, CheckpointWritten(3), *often, lost("the last")])
    assert isinstance(outcome, ClusterError)
    assert "6 times with no checkpoint" in str(outcome)
    assert "the last" in str(outcome.got)
    assert len(said) == 2 * LOSSES_WITHOUT_CHECKPOINT


def test_the_loss_that_others_follow_from() -> None:
    missed = ClusterError("Another process of this training was lost, or it is stuck.")
    killed = WorkerHealthCheckFailedError("unhealthy", OutOfMemoryError("node killed it"))
    assert "ran out of memory" in str(loss_of({0: missed, 1: killed}))
    assert loss_of({0: missed}) is missed
