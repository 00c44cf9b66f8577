"""grunlock tune on real trainings of a blink: study folder, resuming, workers, limits, what goes wrong."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import grunlock as package
from grunlock.recipe import SearchSpace, read_recipe_or_space
from grunlock.tuning import Budget, StudySettings, TrialRecord, open_study, resume_study, tune
from tests.workflows.conftest import SMALL, CommandLine

RANGES = ["optim.lr={low=1e-3, high=1e-1, log=true}", "head.dropout={low=0.0, high=0.5}"]
SPACE = [*SMALL, "training.epochs=3", *RANGES]


def small_space() -> SearchSpace:
    space = read_recipe_or_space("tiny", SPACE)
    assert isinstance(space, SearchSpace)
    return space


def arguments(*more: object) -> list[object]:
    return ["--recipe", "tiny", *(f"--set={setting}" for setting in SPACE), *more]


def test_tune_leaves_a_study_whose_folder_predicts(
    grunlock: CommandLine, colours_csv: Path, tmp_path: Path
) -> None:
    done = grunlock("tune", colours_csv, *arguments("--trials", 4, "-o", tmp_path / "study"))
    assert done.code == 0, done.err
    assert "4 trials in" in done.out
    assert "best      trial" in done.out
    result = open_study(tmp_path / "study").records()
    best = min(result, key=lambda t: t.objectives or (9.0,))
    kept = json.loads((tmp_path / "study" / "metrics.json").read_text())
    assert kept["nll"] == pytest.approx(best.objectives[0])
    assert package.load(tmp_path / "study").predict(["red red"])
    again = grunlock("predict", tmp_path / "study", "--text", "blue blue")
    assert again.code == 0
    retrained = grunlock("train", colours_csv, "--recipe", tmp_path / "study", "-o", tmp_path / "run")
    assert retrained.code == 0
    same = (tmp_path / "run" / "model.grunlock").read_bytes() == (
        tmp_path / "study" / "model.grunlock"
    ).read_bytes()
    assert same  # the best trial is an ordinary run of its recipe


KILLED_STUDY = """
import os, signal, sys
from pathlib import Path
from grunlock.recipe import read_recipe_or_space
from grunlock.training.events import StepDone
from grunlock.tuning import Budget, StudySettings, tune
from grunlock.tuning import objective

steps = 0
class KillingWatch(objective._Watch):
    def __call__(self, event):
        global steps
        super().__call__(event)
        if isinstance(event, StepDone):
            steps += 1
            if steps == int(sys.argv[3]):
                os.kill(os.getpid(), signal.SIGKILL)

objective._Watch = KillingWatch
settings = StudySettings(name="colours", source=sys.argv[1])
tune(settings, read_recipe_or_space("tiny", sys.argv[4:]), sys.argv[2], Budget(trials=4))
"""


def test_a_killed_study_ends_with_the_same_models(colours_csv: Path, tmp_path: Path) -> None:
    settings = StudySettings(name="colours", source=str(colours_csv))
    whole = tune(settings, small_space(), tmp_path / "whole", Budget(trials=4))
    command = [sys.executable, "-c", KILLED_STUDY, str(colours_csv), str(tmp_path / "broken"), "50", *SPACE]
    killed = subprocess.run(command, check=False, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [t.state for t in open_study(tmp_path / "broken").records()][-1] == "running"
    ended = resume_study(tmp_path / "broken", Budget(trials=4))
    facts = [
        [(t.number, t.state, t.values, t.objectives, t.reported) for t in r.trials] for r in (whole, ended)
    ]
    assert facts[0] == facts[1]
    models = [(tmp_path / name / "model.grunlock").read_bytes() for name in ("whole", "broken")]
    assert models[0] == models[1]


def test_workers_share_a_study(colours_csv: Path, tmp_path: Path) -> None:
    seen: list[tuple[TrialRecord, bool]] = []
    settings = StudySettings(name="colours", source=str(colours_csv))
    result = tune(
        settings,
        small_space(),
        tmp_path / "study",
        Budget(trials=5),
        workers=2,
        listen=lambda *told: seen.append(told),
    )
    assert sorted(t.number for t, _ in seen) == [0, 1, 2, 3, 4]
    assert any(best for _, best in seen)
    assert len(result.trials) == 5
    assert len(list((tmp_path / "study" / "data").iterdir())) == 1  # both read the data of one of them


def test_limits_are_those_of_the_file_that_is_kept(
    grunlock: CommandLine, colours_csv: Path, tmp_path: Path
) -> None:
    done = grunlock(
        "tune",
        colours_csv,
        *arguments(
            "--set=embedding.size={low=4, high=4000, log=true}",
            "--max-size=100KB",
            "--max-latency=1s",
            "--trials=6",
            "-o",
            tmp_path / "study",
        ),
    )
    assert done.code == 0, done.err
    assert (tmp_path / "study" / "model.grunlock").stat().st_size <= 100_000
    assert "infeasible" in done.out
    trials = open_study(tmp_path / "study").records()
    assert all(t.folder is None for t in trials if t.state == "infeasible")  # not even trained


def test_several_seeds_are_averaged(colours_csv: Path, tmp_path: Path) -> None:
    settings = StudySettings(name="colours", source=str(colours_csv), num_seeds=3)
    result = tune(settings, small_space(), tmp_path / "study", Budget(trials=2))
    found = [
        json.loads(path.read_text())["nll"]
        for path in sorted((tmp_path / "study" / "trials" / "0000").glob("*/metrics.json"))
    ]
    assert len(found) == 3
    assert result.trials[0].objectives[0] == pytest.approx(sum(found) / 3)


def test_each_run_of_a_trial_may_cut_its_own_validation_split(colours_csv: Path, tmp_path: Path) -> None:
    settings = StudySettings(name="colours", source=str(colours_csv), num_seeds=2, new_splits=True)
    result = tune(settings, small_space(), tmp_path / "study", Budget(trials=2))
    runs = [tmp_path / "study" / "trials" / f"{trial:04d}" for trial in (0, 1)]
    splits = [[(run / str(seed) / "data").resolve().name for seed in (0, 1)] for run in runs]
    assert splits[0] == splits[1]  # the same cuts for every trial
    assert len(set(splits[0])) == 2
    found = [json.loads((runs[0] / str(seed) / "metrics.json").read_text())["nll"] for seed in (0, 1)]
    assert result.trials[0].reported == pytest.approx({1: found[0], 2: found[1]})


def test_time_is_kept(grunlock: CommandLine, colours_csv: Path, tmp_path: Path) -> None:
    done = grunlock("tune", colours_csv, *arguments("--minutes", 0.05, "-o", tmp_path / "study"))
    assert done.code == 0, done.err
    last = open_study(tmp_path / "study").records()[-1]
    assert last.state in ("out_of_time", "complete", "pruned")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], r"needs a budget"),
        (["--trials=2", "--objective=size"], r"first one of accuracy"),
        (["--trials=2", "--max-size=5 apples"], r"Not a size(.|\n)*500KB"),
        (["--trials=2", "--max-latency=5"], r"Not a duration(.|\n)*0.2ms"),
        (["--trials=2", "--max-size=1KB"], r"No model keeps the limits(.|\n)*smallest model"),
        (["--minutes=1e-9"], r"before one trial had ended(.|\n)*--resume"),
    ],
)
def test_what_cannot_be_searched(
    grunlock: CommandLine, colours_csv: Path, tmp_path: Path, more: list[str], message: str
) -> None:
    done = grunlock("tune", colours_csv, *arguments(*more, "-o", tmp_path / "study"))
    assert done.code == 1
    assert re.search(message, done.err), done.err


def test_a_recipe_without_ranges_is_no_space(
    grunlock: CommandLine, colours_csv: Path, tmp_path: Path
) -> None:
    done = grunlock("tune", colours_csv, "--recipe", "tiny", "--trials", 2, "-o", tmp_path / "study")
    assert done.code == 1
    assert "no value of the recipe is a range" in done.err
    assert not (tmp_path / "study").exists()


def test_data_or_study_but_not_both(grunlock: CommandLine, tmp_path: Path) -> None:
    assert "Give data to start a study, or --resume" in grunlock("tune", "--trials", 2).err
    assert "There is no study here" in grunlock("tune", "--resume", tmp_path, "--trials", 2).err


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        (["--resume", "study", "--sampler", "auto", "--set", "optim.lr=1"], "--set, --sampler"),
        (["--resume", "study", "-o", "other"], "--output"),
        (["--widen", "study", "-o", "other", "--max-size", "5KB"], "--max-size"),
    ],
)
def test_what_a_study_would_not_follow_is_refused(
    grunlock: CommandLine, given: list[str], refused: str
) -> None:
    message = grunlock("tune", *given, "--trials", 2).err
    assert "goes on as it was started" in message
    assert f"got:      {refused}\n" in message


def test_widening_goes_on_in_a_folder_of_its_own(
    grunlock: CommandLine, colours_csv: Path, tmp_path: Path
) -> None:
    narrow = "--set=optim.lr={low=1e-4, high=3e-4, log=true}"  # far too low: the best is the highest
    study = tmp_path / "study"
    options = (narrow, "--objective=accuracy", "--trials=6", "-o", study)
    begun = grunlock("tune", colours_csv, *arguments(*options))
    assert "optim.lr = " in begun.out
    assert f"grunlock tune --widen {study}" in begun.out.replace("\n", "")
    done = grunlock("tune", "--widen", study, "--trials", 9)
    assert done.code == 0, done.err
    trials = open_study(tmp_path / "study-wider").records()
    assert [t.origin for t in trials[:6]] == ["earlier"] * 6
    assert max(t.values["optim.lr"] for t in trials[6:]) > 3e-4
    assert package.load(tmp_path / "study-wider").predict(["red red"])
    again = grunlock("tune", "--resume", tmp_path / "study-wider", "--trials", 10)
    assert again.code == 0, again.err
    assert len(open_study(tmp_path / "study-wider").records()) == 10


def test_without_the_earlier_run_nothing_is_widened(
    grunlock: CommandLine, colours_csv: Path, tmp_path: Path
) -> None:
    narrow, study = "--set=optim.lr={low=1e-4, high=3e-4, log=true}", tmp_path / "study"
    options = (narrow, "--objective=accuracy", "--trials=6", "-o", study)
    grunlock("tune", colours_csv, *arguments(*options))
    (study / "trials").rename(tmp_path / "elsewhere")
    done = grunlock("tune", "--widen", study, "--trials", 9)
    assert done.code == 1
    assert "The best run of the earlier study is gone" in done.err
    assert not (tmp_path / "study-wider").exists()


def test_with_a_limit_small_models_are_searched(
    grunlock: CommandLine, colours_csv: Path, tmp_path: Path
) -> None:
    more = ["--set=training.epochs=1", "--trials=1", "--max-size=400KB", "-o", tmp_path / "study"]
    done = grunlock("tune", colours_csv, *more)
    assert done.code == 0, done.err
    assert open_study(tmp_path / "study").records()[0].values["text.vocab_size"] == 2000
