"""Search on made-up learning curves: what it finds at what price; a killed study ends as a whole one."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from benchmarks.planted_study import LearningCurves, epochs_until_found, final_accuracy, planted_space

from grunlock.errors import RecipeError, RunInterruptedError, StudyError
from grunlock.recipe import Choices, Range, SearchSpace, read_recipe_or_space
from grunlock.tuning import Budget, StudySettings, open_study, read_study_settings, result_of
from grunlock.tuning.deployed import Cost
from grunlock.tuning.objective import Evaluate, Outcome, Report, TrainingObjective
from grunlock.tuning.results import TrialRecord, values_at_edge
from grunlock.tuning.search import num_spread_points
from grunlock.tuning.space import at_fraction, distributions, restored, spread_points, stored
from grunlock.tuning.study import create_study, locked
from grunlock.tuning.widen import widen, widened_study
from grunlock.tuning.work import Limits, work

RECORD = TrialRecord(0, "complete", {}, "search", (0.5,), {}, {}, None, None, 1.0, None, None)


def settings(**changes: Any) -> StudySettings:
    return StudySettings(**{"name": "planted", "source": "nowhere", "objectives": ("accuracy",), **changes})


def test_search_with_pruning_finds_the_planted_value_in_a_third_of_the_epochs(tmp_path: Path) -> None:
    seeds = range(3)
    plain = [
        epochs_until_found(tmp_path / f"r{s}", 1000, sampler="random", pruner="none", seed=s) for s in seeds
    ]
    pruned = [epochs_until_found(tmp_path / f"p{s}", 1000, seed=s) for s in seeds]
    assert sum(pruned) <= sum(plain) / 3


def trial_facts(trials: tuple[TrialRecord, ...]) -> list[tuple[Any, ...]]:
    return [(t.number, t.state, t.values, t.origin, t.objectives, t.reported) for t in trials]


@pytest.mark.parametrize("stop_at", [0, 5, 27, 40, 100, 230])
def test_a_killed_study_ends_as_the_unbroken_one(tmp_path: Path, stop_at: int) -> None:
    whole = create_study(tmp_path / "whole", settings(), planted_space(), 16)
    work(whole, LearningCurves(), Limits(16, None))

    broken = create_study(tmp_path / "broken", settings(), planted_space(), 16)
    with pytest.raises(KeyboardInterrupt):
        work(broken, LearningCurves(stop_at), Limits(16, None))
    again = open_study(tmp_path / "broken")
    work(again, LearningCurves(), Limits(16, None))

    assert trial_facts(again.records()) == trial_facts(whole.records())
    states = {t.state for t in whole.records()}
    assert states == {"complete", "pruned"}  # else there was nothing to agree on


def test_other_seeds_search_elsewhere(tmp_path: Path) -> None:
    found = []
    for seed in (0, 1):
        study = create_study(tmp_path / str(seed), settings(seed=seed), planted_space(), 6)
        work(study, LearningCurves(), Limits(6, None))
        found.append([t.values for t in study.records()])
    assert all(a != b for a, b in zip(*found, strict=True))


def test_good_recipes_come_first_then_an_even_spread(tmp_path: Path) -> None:
    first = replace(planted_space(), first=({"optim.lr": 1e-3, "head.dropout": 0.5},))
    study = create_study(tmp_path / "study", settings(), first, 8)
    work(study, LearningCurves(), Limits(8, None))
    trials = study.records()
    assert [t.origin for t in trials] == ["first", "spread"] + ["search"] * 6
    assert (trials[0].values["optim.lr"], trials[0].values["head.dropout"]) == (1e-3, 0.5)
    assert 16 <= trials[0].values["embedding.size"] <= 256  # left out: searched
    assert [num_spread_points(*given) for given in [(8, 1), (100, 2), (None, 0), (2, 3)]] == [1, 8, 10, 0]


def test_values_at_an_edge_are_said(tmp_path: Path) -> None:
    narrow = planted_space(
        "optim.lr={low=1e-4, high=2e-4, log=true}", "head.dropout=0.3", "embedding.size=96"
    )

    def evaluate(number: int, values: Mapping[str, Any], report: Report) -> Outcome:
        accuracy = final_accuracy({"head.dropout": 0.3, "embedding.size": 96, **values})
        return Outcome({"accuracy": accuracy, "macro_f1": 0.0, "nll": 1.0}, None)

    study = create_study(tmp_path / "study", settings(pruner="none"), narrow, 12)
    work(study, evaluate, Limits(12, None))
    (edge,) = result_of(study).at_edge
    assert (edge.key, edge.end) == ("optim.lr", "high")
    assert "at the high end of its range (0.0001 to 0.0002)" in edge.sentence


def by_planted_accuracy(number: int, values: Mapping[str, Any], report: Report) -> Outcome:
    accuracy = final_accuracy({"head.dropout": 0.3, "embedding.size": 96, **values})
    return Outcome({"accuracy": accuracy, "macro_f1": 0.0, "nll": 1.0}, None)


def test_a_study_goes_on_beyond_the_end_where_its_best_value_lies(tmp_path: Path) -> None:
    narrow = planted_space(
        "optim.lr={low=1e-4, high=2e-4, log=true}", "head.dropout=0.3", "embedding.size={low=90, high=99}"
    )
    first = create_study(tmp_path / "first", settings(pruner="none"), narrow, 12)
    work(first, by_planted_accuracy, Limits(12, None))

    wider = widened_study(tmp_path / "first", tmp_path / "wider")
    assert [t.origin for t in wider.records()] == ["earlier"] * 12
    assert [(t.values, t.objectives) for t in wider.records()] == [
        (t.values, t.objectives) for t in first.records()
    ]
    found = wider.space.ranges["optim.lr"]
    assert isinstance(found, Range)
    assert (found.low, found.high) == (1e-4, pytest.approx(2e-4 * math.sqrt(2)))

    work(wider, by_planted_accuracy, Limits(15, None))
    again = open_study(tmp_path / "wider").records()
    tried = [t.values["optim.lr"] for t in again[12:14]]
    assert tried == [pytest.approx(2e-4 * 2**0.25), pytest.approx(2e-4 * math.sqrt(2))]
    assert [t.origin for t in again[12:]] == ["first", "first", "search"]
    assert result_of(wider).best.number >= 12


@pytest.mark.parametrize(
    ("searched", "best", "wider"),
    [
        (Range(0.1, 0.5), {"head.dropout": 0.5}, (0.1, 0.7)),
        (Range(0.05, 0.95), {"head.dropout": 0.05}, None),
        (Range(0.5, 0.9, step=0.1), {"head.dropout": 0.5}, (0.3, 0.9)),
        (Range(0.0, 0.5), {"head.dropout": 0.0}, None),
    ],
)
def test_ranges_widen_as_far_as_recipes_allow(
    searched: Range, best: dict[str, float], wider: tuple[float, float] | None
) -> None:
    fixed = planted_space("optim.lr=1e-3", "embedding.size=96")
    space = replace(fixed, ranges={"head.dropout": searched})
    edges = values_at_edge(space, replace(RECORD, values=best))
    if wider is None:
        with pytest.raises(StudyError, match=r"Nothing beyond these ends is allowed(.|\n)*head.dropout = "):
            widen(space, edges, best)
        return
    found = widen(space, edges, best)
    (key, got), *_ = found.space.ranges.items()
    assert isinstance(got, Range)
    assert (key, got.low, got.high) == ("head.dropout", pytest.approx(wider[0]), pytest.approx(wider[1]))
    assert all(got.low <= point[key] <= got.high for point in found.points)


def test_without_a_value_at_an_end_nothing_is_widened(tmp_path: Path) -> None:
    study = create_study(tmp_path / "study", settings(), planted_space(), 12)
    work(study, LearningCurves(), Limits(12, None))
    with pytest.raises(StudyError, match=r"There is no range to widen(.|\n)*--resume"):
        widened_study(tmp_path / "study", tmp_path / "wider")
    assert not (tmp_path / "wider").exists()


def costly(number: int, values: Mapping[str, Any], report: Report) -> Outcome:
    size = 1000 * values["embedding.size"]
    accuracy = 0.5 + 0.001 * values["embedding.size"]
    return Outcome(
        {"accuracy": accuracy, "macro_f1": 0.0, "nll": 1.0}, Cost(size, 1e-3), {"size": size - 64_000.0}
    )


def test_limits_are_kept_and_what_exceeds_them_is_not_chosen(tmp_path: Path) -> None:
    study = create_study(tmp_path / "study", settings(max_size=64_000), planted_space(), 20)
    work(study, costly, Limits(20, None))
    result = result_of(study)
    assert result.best.size is not None
    assert result.best.size <= 64_000
    late = [t.state for t in result.trials[10:]]
    assert late.count("complete") > late.count("infeasible")  # the sampler learns where the limit is
    sizes = {t.state: t.size for t in result.trials}
    assert (sizes["infeasible"] or 0) > 64_000


def test_a_limit_that_no_model_keeps_is_an_error_with_the_nearest_miss(tmp_path: Path) -> None:
    study = create_study(tmp_path / "study", settings(max_size=100), planted_space(), 3)

    def evaluate(number: int, values: Mapping[str, Any], report: Report) -> Outcome:
        return Outcome({}, Cost(5000 + number, 1e-3), {"size": 4900.0 + number})

    work(study, evaluate, Limits(3, None))
    with pytest.raises(
        StudyError, match=r"No model keeps the limits(.|\n)*5,000 bytes(.|\n)*at most 100 bytes"
    ):
        result_of(study)


def test_several_objectives_give_a_front(tmp_path: Path) -> None:
    study = create_study(tmp_path / "study", settings(objectives=("accuracy", "size")), planted_space(), 15)

    def evaluate(number: int, values: Mapping[str, Any], report: Report) -> Outcome:
        accuracy = final_accuracy(values)
        size = values["embedding.size"] * 1000
        return Outcome({"accuracy": accuracy, "macro_f1": 0.0, "nll": 1.0}, Cost(size, 1e-3))

    work(study, evaluate, Limits(15, None))
    result = result_of(study)
    assert result.pareto[0].number == result.best.number
    assert len(result.pareto) > 1
    for a, b in zip(result.pareto, result.pareto[1:], strict=False):
        assert a.objectives[0] > b.objectives[0]
        assert a.objectives[1] > b.objectives[1]
    for trial in result.trials:  # none outside the front beats one inside
        assert not any(
            trial.objectives[0] > f.objectives[0] and trial.objectives[1] <= f.objectives[1]
            for f in result.pareto
        )


def failing(error: Exception) -> Evaluate:
    def evaluate(number: int, values: Mapping[str, Any], report: Report) -> Outcome:
        if number != 1:
            raise error
        return Outcome({"accuracy": 0.5, "macro_f1": 0.5, "nll": 1.0}, None)

    return evaluate


def test_a_trial_that_fails_does_not_end_the_study(tmp_path: Path) -> None:
    study = create_study(tmp_path / "study", settings(), planted_space(), 3)
    work(study, failing(RecipeError("Values contradict each other.")), Limits(3, None))
    assert [t.state for t in study.records()] == ["failed", "complete", "failed"]
    assert "contradict" in (study.records()[0].error or "")
    assert result_of(study).best.number == 1


def test_a_stopped_study_keeps_its_trial_for_later(tmp_path: Path) -> None:
    study = create_study(tmp_path / "study", settings(), planted_space(), 3)
    with pytest.raises(RunInterruptedError):
        work(study, failing(RunInterruptedError("Stopped.")), Limits(3, None))
    assert [t.state for t in study.records()] == ["running"]
    assert [trial.number for trial in open_study(tmp_path / "study").unfinished()] == [0]


def test_a_budget_without_one_whole_trial_is_an_error_that_says_how_far_it_came(tmp_path: Path) -> None:
    study = create_study(tmp_path / "study", settings(), planted_space(), None)

    class NoTime(Limits):
        def out_of_time(self) -> bool:
            return curves.epochs >= 5

    curves = LearningCurves()
    work(study, curves, NoTime(None, None))
    assert [(t.state, max(t.reported)) for t in study.records()] == [("out_of_time", 5)]
    with pytest.raises(
        StudyError, match=r"before one trial had ended(.|\n)*step 5(.|\n)*27 epochs(.|\n)*--resume"
    ):
        result_of(study)


def test_points_are_spread_evenly_and_do_not_depend_on_their_number() -> None:
    found = spread_points(planted_space(), 8, seed=3)
    assert spread_points(planted_space(), 5, seed=3) == found[:5]
    assert spread_points(planted_space(), 8, seed=4) != found
    eighths = sorted(int(8 * math.log(p["optim.lr"] / 1e-4) / math.log(1e3)) for p in found)
    assert eighths == list(range(8))
    for point in found:
        assert isinstance(point["embedding.size"], int)


@pytest.mark.parametrize(
    ("searched", "ends"),
    [
        (Range(2, 9), (2, 9)),
        (Range(0.0, 1.0, step=0.25), (0.0, 1.0)),
        (Range(16, 256, log=True), (16, 256)),
        (Choices(("a", ["b"], None)), ("a", None)),
    ],
)
def test_a_range_is_used_to_both_its_ends(searched: Range | Choices, ends: tuple[Any, Any]) -> None:
    assert (at_fraction(searched, 0.0), at_fraction(searched, 1 - 1e-9)) == ends


def test_choices_of_lists_come_back_as_they_were() -> None:
    lists = planted_space('pooling.parts={choices=[["max"], ["max", "mean"]]}')
    point = {"pooling.parts": ["max", "mean"], "optim.lr": 1e-3}
    kept = stored(lists, point)
    assert isinstance(kept["pooling.parts"], str)
    assert restored(lists, kept) == point
    assert set(distributions(lists)) == set(lists.ranges)


def damaged(change: Callable[[Path], object], folder: Path) -> None:
    study = create_study(folder, settings(), planted_space(), 2)
    work(study, LearningCurves(), Limits(2, None))
    change(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda f: (f / "study.json").write_text("{"),
            r"A file of the study cannot be read(.|\n)*study.json",
        ),
        (lambda f: (f / "space.toml").write_text("= 1"), r"A file of the study cannot be read"),
        (lambda f: (f / "study.json").unlink(), r"There is no study here(.|\n)*study.json"),
        (
            lambda f: (f / "journal.log").write_bytes(b'{"x": 1}\nnot json\n' * 3),
            r"storage cannot be read(.|\n)*journal.log(.|\n)*from a copy",
        ),
    ],
)
def test_damaged_studies_are_refused(tmp_path: Path, change: Callable[[Path], object], message: str) -> None:
    damaged(change, tmp_path / "study")
    with pytest.raises(StudyError, match=message):
        open_study(tmp_path / "study")


def test_a_study_that_another_process_holds_is_refused(tmp_path: Path) -> None:
    create_study(tmp_path / "study", settings(), planted_space(), 2)
    with (
        locked(tmp_path / "study"),
        pytest.raises(StudyError, match=r"Another process(.|\n)*--workers"),
        locked(tmp_path / "study"),
    ):
        pass
    with locked(tmp_path / "study"):  # free again
        pass


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "mine").write_text("kept")
    with pytest.raises(StudyError, match=r"not empty(.|\n)*--resume"):
        create_study(tmp_path / "study", settings(), planted_space(), 2)
    assert (tmp_path / "study" / "mine").read_text() == "kept"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"objectives": ["size"]}, r"first one of accuracy, macro_f1, nll"),
        ({"objectives": ["accuracy", "accuracy"]}, r"each once"),
        ({"objectives": ["accuracy", "nll"]}, r"not several"),
        ({"sampler": "tpee"}, r"sampler: (.|\n)*'tpe'"),
        ({"num_seeds": 3, "pruner": "hyperband"}, r"Hyperband compares single runs"),
        ({"max_size": 0}, r"max_size"),
    ],
)
def test_contradictory_settings_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        read_study_settings({"name": "x", "source": "y", **given})


def test_a_budget_is_needed() -> None:
    with pytest.raises(StudyError, match=r"needs a budget(.|\n)*--minutes"):
        Budget()
    with pytest.raises(StudyError, match=r"above 0(.|\n)*minutes"):
        Budget(minutes=0)


def test_trials_do_not_learn_their_validation_examples(tmp_path: Path) -> None:
    space = read_recipe_or_space("default", ["optim.lr={low=1e-3, high=1e-2, log=true}"])
    assert isinstance(space, SearchSpace)
    assert space.settings["training"]["refit"]
    trial = TrainingObjective(settings(), space, tmp_path).recipe({"optim.lr": 2e-3})
    assert not trial.training.refit
