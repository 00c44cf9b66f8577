"""Searches whose trials are Ray tasks: complete, the same as without Ray, and proof against accidents."""

import _thread
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install grunlock[scale]")

from benchmarks.scale.trials import Searches, cost_of_empty_trial

import grunlock as package
from grunlock.comparison.ablation import ablate
from grunlock.comparison.contenders import Contender
from grunlock.comparison.duel import duel
from grunlock.comparison.runs import Source
from grunlock.errors import ClusterError, RunInterruptedError, StorageError
from grunlock.recipe import SearchSpace, read_recipe, read_recipe_or_space
from grunlock.scale import Cluster, connected
from grunlock.scale.cluster import alive_nodes, ask_nodes
from grunlock.scale.search import crew as search
from grunlock.scale.search.crew import ClusterCrew
from grunlock.scale.search.seed_tasks import SeedTasks
from grunlock.scale.search.share import Share
from grunlock.scale.search.workspace import _check_node, listed, workspace_for
from grunlock.training.history import read_history
from grunlock.training.run import complete
from grunlock.tuning import Budget, StudySettings, TrialRecord, open_study, resume_study, tune
from tests.conftest import THOROUGH
from tests.scale import dying_trials
from tests.workflows.conftest import SMALL, CommandLine, grunlock

__all__ = ["grunlock"]  # a fixture
RANGES = ["optim.lr={low=1e-3, high=1e-1, log=true}", "head.dropout={low=0.0, high=0.5}"]
SPACE = [*SMALL, "training.epochs=3", "training.checkpoint_every_steps=2", *RANGES]


def space() -> SearchSpace:
    found = read_recipe_or_space("tiny", SPACE)
    assert isinstance(found, SearchSpace)
    return found


def settings_for(data: Path, **changes: Any) -> StudySettings:
    return StudySettings(name="colours", source=str(data), **changes)


def facts(trials: tuple[TrialRecord, ...]) -> list[tuple[object, ...]]:
    return [(t.number, t.state, t.values, t.objectives, t.reported, t.metrics) for t in trials]


@pytest.fixture(scope="module")
def cluster(two_nodes: Any) -> Iterator[Cluster]:
    with connected(two_nodes.address) as found:
        yield found


def test_tune_on_a_cluster_leaves_a_study_as_any_other(
    grunlock: CommandLine, two_nodes: Any, colours_csv: Path, tmp_path: Path
) -> None:
    study = tmp_path / "study"
    space_arguments = ["--recipe", "tiny", *(f"--set={setting}" for setting in SPACE)]
    done = grunlock(
        "tune", colours_csv, *space_arguments, "--trials=7", "-o", study, "--cluster", two_nodes.address
    )
    assert done.code == 0, done.err
    assert f"cluster   {two_nodes.address}: 3 nodes, 2 processors" in done.out
    trials = open_study(study).records()
    assert [t.number for t in trials] == list(range(7))
    assert {t.state for t in trials} == {"complete", "pruned"}
    assert package.load(study).predict(["red red"])
    assert len(list((study / "data").iterdir())) == 1  # prepared once
    refused = grunlock("tune", "--resume", study, "--trials", 8, "--trial-cpus", 1)
    assert refused.code != 0
    assert "--cluster" in refused.err


@THOROUGH
def test_one_trial_at_a_time_is_the_search_without_ray(
    cluster: Cluster, colours_csv: Path, tmp_path: Path
) -> None:
    """Through a shared storage, so that neither the copies nor the way to and fro change anything."""
    settings = settings_for(colours_csv)
    local = tune(settings, space(), tmp_path / "local", Budget(trials=5))
    crew = ClusterCrew(most=1, shared=str(tmp_path / "shared"))
    far = tune(settings, space(), tmp_path / "far", Budget(trials=5), workers=crew)
    assert facts(far.trials) == facts(local.trials)
    models = [(tmp_path / name / "model.grunlock").read_bytes() for name in ("local", "far")]
    assert models[0] == models[1]
    for trial in far.trials:
        runs = [tmp_path / name / "trials" / f"{trial.number:04d}" / "0" for name in ("local", "far")]
        files = [{path.name for path in run.iterdir()} - {"checkpoint.pt"} for run in runs]
        assert files[0] == files[1]
    assert not [path for path in (tmp_path / "shared").rglob("*") if path.is_file()]


@THOROUGH
def test_a_lost_worker_costs_no_trial_and_a_bad_trial_no_study(
    cluster: Cluster, colours_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "run_trial_here", dying_trials.with_accidents)
    monkeypatch.setattr(search, "ATTEMPTS", 2)
    crew = ClusterCrew(shared=str(tmp_path / "shared"))
    settings = settings_for(colours_csv, pruner="none")
    result = tune(settings, space(), tmp_path / "study", Budget(trials=6), workers=crew)
    assert [t.number for t in result.trials] == list(range(6))
    by_state = {t.number: t.state for t in result.trials if t.state != "complete"}
    assert by_state == {dying_trials.FAILS: "failed", dying_trials.ALWAYS_DIES: "failed"}
    errors = [str(result.trials[number].error) for number in by_state]
    assert "a planted fault" in errors[0]
    assert "ended without a word" in errors[1]
    assert "trial 3, attempt 2" in errors[1]

    died = result.trials[dying_trials.DIES_ONCE].folder
    assert died is not None
    starts = [record["step"] for record in read_history(died / "history.jsonl") if "total_steps" in record]
    assert starts == [0, 2]  # from the last checkpoint that had been copied
    whole = complete(colours_csv, read_recipe(died), tmp_path / "whole")
    assert (died / "model.grunlock").read_bytes() == whole.artifact.read_bytes()


@THOROUGH
def test_a_search_that_was_stopped_goes_on_without_the_cluster(
    cluster: Cluster, colours_csv: Path, tmp_path: Path
) -> None:
    heard: list[TrialRecord] = []

    def stop(trial: TrialRecord, best: bool) -> None:
        heard.append(trial)
        if len(heard) == 1:  # a second Ctrl-C would not wait for checkpoints
            _thread.interrupt_main()

    with pytest.raises(RunInterruptedError, match="Stopped"):
        tune(
            settings_for(colours_csv),
            space(),
            tmp_path / "study",
            Budget(trials=6),
            workers=ClusterCrew(),
            listen=stop,
        )
    begun = open_study(tmp_path / "study").records()
    assert 1 <= len(begun) < 6
    result = resume_study(tmp_path / "study", Budget(trials=6))
    assert [t.number for t in result.trials] == list(range(6))
    assert "running" not in {t.state for t in result.trials}


def test_two_attempts_do_not_write_at_once(tmp_path: Path) -> None:
    workspace, entered = workspace_for(tmp_path, None, (), ()), threading.Event()

    def second_attempt() -> None:
        with workspace.opened("trials/0000"):
            entered.set()

    thread = threading.Thread(target=second_attempt)
    with workspace.opened("trials/0000"):
        thread.start()
        assert not entered.wait(0.3)
    thread.join(30)
    assert entered.is_set()


def test_what_no_node_can_hold_is_refused(cluster: Cluster) -> None:
    with pytest.raises(ClusterError, match="No node of the cluster can hold a training") as caught:
        Share(cpus=2).usable(alive_nodes())
    assert "2 processors and 0 GPUs" in str(caught.value.expected)
    with pytest.raises(ClusterError, match="No node"):
        Share(gpus=0.5).usable(alive_nodes())
    with pytest.raises(ClusterError, match="needs a share of a node"):
        Share(cpus=0)


def test_a_node_without_the_folder_or_the_data_is_named(
    cluster: Cluster, colours_csv: Path, tmp_path: Path
) -> None:
    nodes, source = Share().usable(alive_nodes()), str(colours_csv)
    found = workspace_for(tmp_path, None, nodes, [source, None])
    with pytest.raises(ClusterError, match="does not see the folder of the results") as caught:
        ask_nodes(nodes, _check_node, replace(found, token="of another folder"), {})
    assert str(tmp_path) in str(caught.value.where)
    assert "--shared" in str(caught.value.cure)
    with pytest.raises(ClusterError, match="does not see the same data") as caught:
        ask_nodes(nodes, _check_node, found, {source: [*listed(source), ("/more.csv", 9)]})
    assert "/more.csv differs" in str(caught.value.got)
    with pytest.raises(StorageError, match="cannot be read or written"):
        workspace_for(tmp_path, "/proc/nothing", nodes, [source])


def test_a_fault_of_ours_is_not_taken_for_a_failed_trial(
    cluster: Cluster, colours_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "run_trial_here", _zero_division)
    with pytest.raises(ZeroDivisionError):
        tune(settings_for(colours_csv), space(), tmp_path / "study", Budget(trials=2), workers=ClusterCrew())
    assert {t.state for t in open_study(tmp_path / "study").records()} == {"running"}


def test_seed_runs_side_by_side_are_those_of_one_process(
    cluster: Cluster, colours_csv: Path, tmp_path: Path
) -> None:
    small = [*SMALL, "embedding.ngrams=off"]
    recipe, other = (read_recipe("tiny", [*small, *more]) for more in ([], ["encoder.kind=lstm"]))
    broken = read_recipe("tiny", [*small, "embedding.vectors=/nowhere/vectors.txt"])
    contenders = [Contender("ours", recipe), Contender("lstm", other), Contender("broken", broken)]
    source, seeds = Source(str(colours_csv), None, None, "valid"), (0, 1)
    local = duel(source, contenders, tmp_path / "local", seeds)
    told: list[tuple[str, int]] = []
    for name, shared in (("near", None), ("far", str(tmp_path / "shared"))):
        folder = tmp_path / name
        told.clear()
        found = duel(
            source,
            contenders,
            folder,
            seeds,
            runner=SeedTasks(folder, shared=shared),
            listen=lambda contender, run: told.append((contender, run.seed)),
        )
        assert told == [("ours", 0), ("ours", 1), ("lstm", 0), ("lstm", 1)]
        assert found.verdicts == local.verdicts
        assert "/nowhere/vectors.txt" in str(found.contenders[2].error)
        for mine, theirs in zip(found.contenders[:2], local.contenders[:2], strict=True):
            assert np.array_equal(mine.right, theirs.right)  # type: ignore[arg-type]
        for model in sorted((tmp_path / "local").rglob("model.grunlock")):
            assert (folder / model.relative_to(tmp_path / "local")).read_bytes() == model.read_bytes()


def test_an_ablation_on_a_cluster_is_that_of_one_process(
    cluster: Cluster, colours_csv: Path, tmp_path: Path
) -> None:
    small = [*SMALL, "embedding.ngrams=off"]
    full, plain = (read_recipe("tiny", [*small, f"head.dropout={value}"]) for value in (0.3, 0.0))
    source = Source(str(colours_csv), None, None, "valid")
    local, far = (
        ablate(source, full, plain, tmp_path / name, (0, 1), runner=runner)
        for name, runner in (("local", None), ("far", SeedTasks(tmp_path / "far")))
    )
    assert far.full.accuracies == local.full.accuracies
    assert [(each.trick, each.difference, each.p_value) for each in far.taken_out] == [
        (each.trick, each.difference, each.p_value) for each in local.taken_out
    ]
    assert len(list((tmp_path / "far").rglob("model.grunlock"))) == 8


def test_the_cost_of_a_trial_can_be_measured(cluster: Cluster, tmp_path: Path) -> None:
    seconds = cost_of_empty_trial(Searches(tmp_path, rows=40, epochs=1), trials=3)
    assert set(seconds) == {"ray", "here"}


def _zero_division(*_: object) -> None:
    raise ZeroDivisionError
