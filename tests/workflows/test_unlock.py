"""grunlock unlock on three colours: the whole road, stopped and gone on with, and what goes wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import grunlock as package
from grunlock.cli.tune import space_for
from grunlock.errors import RunInterruptedError, StudyError
from grunlock.recipe import SearchSpace, read_recipe
from grunlock.training.run_folder import RunFolder
from grunlock.tuning import Budget, StudySettings
from grunlock.unlock import UnlockSettings, go_on, road, stages, unlock
from grunlock.unlock.results import STAGES, StageDone
from tests.conftest import colour_rows, one_in
from tests.workflows.conftest import CommandLine
from tests.workflows.series_data import slopes, write_npz

MINUTES = 3  # never used up: the trials end the search
TRIALS = 3


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """A folder with a test split."""
    folder = tmp_path / "colours"
    folder.mkdir()
    rows = colour_rows(150)
    for name, part in (("train", rows[:120]), ("test", rows[120:])):
        text = "".join(f"{label}\t{text}\n" for label, text in part)
        (folder / f"{name}.tsv").write_text("label\ttext\n" + text)
    return folder


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "space.toml"
    path.write_text(
        'base = "tiny"\n'
        '[embedding]\nsize = { choices = [8, 16], role = "scientific" }\n'
        "[encoder]\nhidden_size = 8\n[batches]\nsize = 8\n"
        "[optim]\nlr = { low = 3e-3, high = 3e-2, log = true }\n"
        '[[first]]\n"embedding.size" = 16\n"optim.lr" = 1e-2\n'
    )
    return path


def settings(colours: Path, space: Path, **changes: object) -> UnlockSettings:
    given = {"source": str(colours), "recipe": str(space), "minutes": MINUTES, "trials": TRIALS}
    return UnlockSettings.model_validate({**given, **changes})


def test_the_whole_road_ends_with_a_verdict_and_a_model(
    grunlock: CommandLine, colours: Path, space: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "unlocked"
    done = grunlock(
        "unlock", colours, "--recipe", space, "--minutes", MINUTES, "--trials", TRIALS, "-o", folder
    )
    assert done.code == 0, done.err
    for stage in STAGES:
        assert stage in done.out
        assert (folder / "stages" / f"{stage}.json").is_file()
    shown = done.out.replace("\n", " ")
    assert "no difference shown between the kept model and" in shown or "is ahead of" in shown
    report = (folder / "report.md").read_text()
    for station in ("linear SVM", "the usual GRU", "the best trial", "the best recipe"):
        assert f"| {station}" in report
    assert "int8: " in report
    assert package.load(folder).predict(["a red red thing"])
    assert read_recipe(folder / "usual").calibration == "temperature"  # else its loss could not be compared
    tried = grunlock("predict", folder, "--text", "green leaves")
    assert tried.code == 0
    again = grunlock(
        "unlock", colours, "--recipe", space, "--minutes", MINUTES, "--trials", TRIALS, "-o", folder
    )
    assert "The folder is not empty" in again.err


@pytest.mark.parametrize("stop_in", one_in(2, ["seeds", "usual"]))
def test_a_road_that_is_stopped_leaves_a_model_and_goes_on(
    colours: Path, space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_in: str
) -> None:
    def stop(_: road.Road) -> StageDone:
        raise KeyboardInterrupt

    folder = tmp_path / "unlocked"
    whole: dict[str, Callable[[road.Road], StageDone]] = dict(road.STAGE_OF)
    monkeypatch.setitem(road.STAGE_OF, stop_in, stop)
    with pytest.raises(RunInterruptedError, match=rf"stage {stop_in}(.|\n)*unlock --resume"):
        unlock(settings(colours, space), folder)
    assert (folder / "model.grunlock").is_file() == (stop_in == "seeds")  # the best so far, once there is one
    monkeypatch.setitem(road.STAGE_OF, stop_in, whole[stop_in])
    told: list[str] = []
    result = go_on(folder, MINUTES, listen=lambda done: told.append(done.stage))
    assert told == list(STAGES)[STAGES.index(stop_in) :]  # nothing is done again
    assert [stage.stage for stage in result.stages] == list(STAGES)
    assert result.model.is_file()


def test_a_search_without_a_trial_in_its_share_takes_what_is_left(
    colours: Path, space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, spent = stages.tune, []

    def too_short(
        wanted: StudySettings, ranges: SearchSpace, folder: Path, budget: Budget, **more: Any
    ) -> Any:
        spent.append(budget)
        return whole(wanted, ranges, folder, Budget(1e-9, budget.trials), **more)

    monkeypatch.setattr(stages, "tune", too_short)
    result = unlock(settings(colours, space), tmp_path / "unlocked")
    assert len(spent) == 1
    assert [stage.stage for stage in result.stages] == list(STAGES)
    assert result.stages[STAGES.index("search")].facts["trials"] == TRIALS


def test_the_kept_model_is_within_the_limits(colours: Path, space: Path, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    result = unlock(settings(colours, space, max_size=30_000, max_latency=1.0), tmp_path / "unlocked")
    assert torch.get_num_threads() == threads  # chosen for the stages only
    assert result.model.stat().st_size <= 30_000
    usual = next(station for station in result.stations if station.name == "the usual GRU")
    assert (usual.size or 0) > 30_000  # so it cannot have been kept


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"minutes": 1e-4}, r"too small for a single epoch(.|\n)*at least"),
        ({"recipe": "tiny"}, r"has no ranges"),
        ({"max_size": 500}, r"No model keeps the limits(.|\n)*500 bytes"),
    ],
)
def test_roads_that_lead_nowhere(
    colours: Path, space: Path, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    with pytest.raises(StudyError, match=message):
        unlock(settings(colours, space, **change), tmp_path / "unlocked")


def test_there_must_be_a_road_to_go_on(grunlock: CommandLine, tmp_path: Path) -> None:
    assert "There is no road to go on here" in grunlock("unlock", "--resume", tmp_path).err
    assert "Give data to start" in grunlock("unlock").err
    refused = grunlock("unlock", "--resume", tmp_path, "--max-size", "5KB").err
    assert "goes on as it was started" in refused
    assert "got:      --max-size" in refused
    (tmp_path / "unlock.json").write_text("{}")
    assert "settings cannot be read" in grunlock("unlock", "--resume", tmp_path).err


@pytest.mark.parametrize(("loss", "replaced"), [(0.3, True), (0.5, False)])
def test_of_two_models_the_one_with_the_lower_loss_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: float, replaced: bool
) -> None:
    """Whatever their accuracies, which on some hundred examples are mostly luck."""
    copied: list[Path] = []
    monkeypatch.setattr(stages, "copy_result", lambda run, folder: copied.append(run.path))
    found = {"road": {"nll": 0.4, "accuracy": 0.8}, "run": {"nll": loss, "accuracy": 2 * loss}}
    for name, metrics in found.items():
        (tmp_path / name).mkdir()
        RunFolder(tmp_path / name).metrics.write_text(json.dumps(metrics))
    here = SimpleNamespace(folder=tmp_path / "road")
    stages._keep_better(here, RunFolder(tmp_path / "run"))  # type: ignore[arg-type]
    assert bool(copied) is replaced


def test_verdicts_are_those_of_the_answers(colours: Path, space: Path, tmp_path: Path) -> None:
    result = unlock(settings(colours, space), tmp_path / "unlocked")
    final = json.loads((tmp_path / "unlocked" / "stages" / "final.json").read_text())
    assert final["facts"]["on"] == "test"
    assert final["facts"]["accuracies"].keys() == {"the kept model", "the usual GRU", "linear SVM"}
    kept = package.load(tmp_path / "unlocked").predict([text for _, text in colour_rows(150)[120:]])
    right = [a == b for a, (b, _) in zip(kept, colour_rows(150)[120:], strict=True)]
    assert final["facts"]["accuracies"]["the kept model"] == pytest.approx(sum(right) / len(right))
    assert len(result.verdicts) == 2


def test_the_road_of_numeric_series(grunlock: CommandLine, tmp_path: Path) -> None:
    data, folder, space = tmp_path / "slopes.npz", tmp_path / "unlocked", tmp_path / "space.toml"
    write_npz(data, slopes(90))
    space.write_text(
        'base = "search_series"\n[series]\nsize = 8\n[encoder]\nhidden_size = 8\n'
        "[batches]\nsize = 8\n[training]\nepochs = 5\n"
        "[stem]\nwidths = [3]\n[pooling]\ninputs = true\n"
    )
    given = ["--recipe", space, "--minutes", MINUTES, "--trials", 2, "-o", folder]
    done = grunlock("unlock", data, *given)
    assert done.code == 0, done.err
    assert "linear model 100.00 % on validation" in done.out.replace("\n", " ")
    assert f"grunlock predict {folder} SERIES.npz" in done.out.replace("\n", "")
    report = (folder / "report.md").read_text()
    for station in ("linear model", "the usual GRU", "the best trial", "the best recipe"):
        assert f"| {station}" in report
    assert read_recipe(folder / "usual").encoder.num_layers == 2  # seed_series
    assert grunlock("predict", folder, data).code == 0


def test_series_have_a_space_of_their_own(tmp_path: Path) -> None:
    write_npz(tmp_path / "slopes.npz", slopes(6))
    assert space_for(str(tmp_path / "slopes.npz"), limited=False) == "search_series"
    assert space_for("reviews.csv", limited=False) == "search"
    assert space_for("reviews.csv", limited=True) == "small"
