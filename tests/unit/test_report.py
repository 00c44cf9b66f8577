"""Parts of a report: what cannot be escaped from, what is thinned, and what a chart is made of."""

import json
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from grunlock.comparison.verdict import Verdict
from grunlock.errors import ReportError
from grunlock.recipe import read_recipe
from grunlock.report import figures, optuna_figures, words
from grunlock.report.about import differences
from grunlock.report.brief import standing
from grunlock.report.figures import Line, Move, Span
from grunlock.report.folders import kind_of
from grunlock.report.page import Chart, Page, Paragraph, Section, Table, cells, own
from grunlock.report.render import as_script, render
from grunlock.tuning.settings import StudySettings

NASTY = [
    "<script>alert(1)</script>",
    '"quoted"',
    "{{ 7 * 7 }}",
    "</script><img src=x>",
    "a & b",
    "@1",
    "中文\u2028",
]


def trials(count: int, objectives: int = 1) -> list[FrozenTrial]:
    """Complete ones, the values falling and rising; every fifth one was pruned."""
    found = []
    for i in range(count):
        pruned = i % 5 == 4 and objectives == 1
        values = [abs(i - count / 2) / count + 0.1 * k * i for k in range(objectives)]
        found.append(
            create_trial(
                state=TrialState.PRUNED if pruned else TrialState.COMPLETE,
                params={"optim.lr": 1e-4 * (i + 1), "head.dropout": (i * 7 % count) / count},
                distributions={
                    "optim.lr": FloatDistribution(1e-4, 1e-4 * (count + 1), log=True),
                    "head.dropout": FloatDistribution(0.0, 1.0),
                },
                **({} if pruned else {"values": values}),
                intermediate_values={1: values[0] + 0.1, 2: values[0]} if objectives == 1 else {},
            )
        )
        found[-1].number = i
    return found


def study(*objectives: str) -> StudySettings:
    return StudySettings.model_validate(
        {"name": "s", "source": "d.csv", "objectives": objectives or ("nll",)}
    )


@pytest.mark.parametrize("text", NASTY)
def test_nothing_ends_a_script_element(text: str) -> None:
    written = as_script({text: [text]})
    assert json.loads(written) == {text: [text]}
    assert not set("<>&\u2028") & set(written)


def test_what_the_user_wrote_is_text_in_the_page() -> None:
    table = Table("x", ("a", "b"), (cells(own(NASTY[0]), NASTY[2]), cells(own(NASTY[3]), NASTY[1])))
    chart = Chart(figures.spans([Span(NASTY[3], 1.0, 0.5, 1.5, True)], "x"), NASTY[0], table)
    page = Page(
        NASTY[0], "a test", (NASTY[3],), NASTY[2], (Section("one", NASTY[4], (chart, Paragraph(NASTY[3]))),)
    )
    html = render(page)
    assert html.count("<script>") == 2  # Plotly and the page's own
    assert "<img" not in html.rpartition("</style>")[2].partition("<script>")[0]
    assert "{{ 7 * 7 }}" in html
    assert "&lt;script&gt;alert(1)" in html
    assert html == render(page)


def test_a_page_without_charts_carries_no_plotly() -> None:
    html = render(Page("t", "s", (), None, (Section("one", "One", (Paragraph("text"),)),)))
    assert len(html) < 40_000


def test_names_on_axes_are_places_so_that_equal_ones_stay_apart() -> None:
    names = [f"{'x' * 40}{i}" for i in range(3)]
    drawn = figures.matrix([[1, 0, 0], [0, 2, 0], [0, 1, 3]], names)
    assert drawn["layout"]["xaxis"]["tickvals"] == [0, 1, 2]
    assert all(len(text) == words.LONGEST_NAME for text in drawn["layout"]["xaxis"]["ticktext"])
    assert drawn["data"][0]["text"][2] == ["", "1", "3"]
    assert figures.plain("<b>x</b> & y") == "&lt;b&gt;x&lt;/b&gt; &amp; y"
    many = figures.matrix([[1] * 80] * 80, [str(i) for i in range(80)])
    assert many["layout"]["xaxis"]["showticklabels"] is False


def test_long_lines_are_thinned_with_both_ends() -> None:
    count = 10_000
    drawn = figures.lines([Line("loss", range(count), range(count))], "step", "loss")
    found = drawn["data"][0]["x"]
    assert len(found) == figures.MOST_POINTS
    assert (found[0], found[-1]) == (0, count - 1)
    assert found == sorted(set(found))


def test_bars_of_a_waterfall_end_where_they_say() -> None:
    moves = [
        Move("plain", 0.0, 80.0, True),
        Move("t", 80.0, -2.0, False, (1.0, 1.5)),
        Move("full", 0.0, 78.0, True),
    ]
    drawn = figures.waterfall(moves, "accuracy")
    ends = {
        place: base + change
        for trace in drawn["data"]
        for place, base, change in zip(trace["y"], trace["base"], trace["x"], strict=True)
    }
    assert ends == {0: 80.0, 1: 78.0, 2: 78.0}
    loss = next(trace for trace in drawn["data"] if trace["name"] == "loss")
    assert (loss["error_x"]["arrayminus"], loss["error_x"]["array"]) == ([1.0], [1.5])
    assert loss["marker"]["pattern"]["shape"]  # not by colour alone


def test_intervals_reach_from_low_to_high() -> None:
    drawn = figures.spans([Span("a", 1.0, -0.5, 2.0, False), Span("b", 3.0, 2.5, 4.5, True)], "points")
    strong, weak = drawn["data"]
    assert (strong["x"], strong["error_x"]["arrayminus"], strong["error_x"]["array"]) == ([3.0], [0.5], [1.5])
    assert (weak["x"], weak["error_x"]["arrayminus"], weak["error_x"]["array"]) == ([1.0], [1.5], [1.0])
    assert strong["marker"]["symbol"] != weak["marker"]["symbol"]


@pytest.mark.parametrize("objective", ["nll", "accuracy"])
def test_ten_thousand_trials_are_thinned_and_the_best_stays(objective: str) -> None:
    found = trials(3_000)
    settings = study(objective)
    drawn = optuna_figures.history(found, settings)
    points, best = drawn["data"]
    assert best["name"] == "the best so far"
    assert len(points["x"]) <= figures.MOST_POINTS
    pick = max if objective == "accuracy" else min
    values = [trial.value for trial in found if trial.state == TrialState.COMPLETE]
    assert best["y"][-1] == pick(value for value in values if value is not None)
    lines = optuna_figures.parallel(found, settings)["data"]
    assert len(lines) <= optuna_figures.MOST_LINES
    assert lines[-1]["line"]["color"] == figures.COLOURS[0]  # the best, on top
    assert lines[-1]["y"][0] == pick(line["y"][0] for line in lines)
    said = optuna_figures.is_thinned(found)
    assert said is not None
    assert "3,000" in said
    assert optuna_figures.is_thinned(found[:20]) is None


def test_trials_keep_their_numbers_when_some_are_left_out() -> None:
    found = trials(300)
    names = [trace["name"] for trace in optuna_figures.intermediate(found, study())["data"]]
    assert len(names) == optuna_figures.MOST_LINES
    assert "trial 150" in names  # the best one
    assert "trial 299, ended early" in names  # the last one, which was pruned


def test_optunas_plots_have_none_of_its_colours() -> None:
    found = trials(30)
    for drawn in (
        optuna_figures.history(found, study()),
        optuna_figures.importance(found, study()),
        optuna_figures.parallel(found, study()),
        optuna_figures.intermediate(found, study()),
        optuna_figures.pareto(trials(30, 2), study("nll", "size"), 1),
    ):
        text = json.dumps(drawn)
        assert "rgb(" not in text
        assert '"#' not in text
        assert "template" not in drawn["layout"]


def test_shares_of_importance_are_those_of_the_study() -> None:
    found = trials(40)
    drawn = optuna_figures.importance(found, study("accuracy"))["data"][0]
    made = optuna.create_study(direction="maximize")
    made.add_trials(found)
    with pytest.warns(UserWarning, match="computes the importances"):
        expected = optuna.importance.get_param_importances(made, target=lambda trial: -trial.values[0])
    assert dict(zip(drawn["y"], drawn["x"], strict=True)) == pytest.approx(expected)


def test_a_recipe_says_what_it_changed() -> None:
    found = differences(read_recipe("default", ["encoder.hidden_size=7", "wide=off"]), read_recipe("default"))
    assert ("encoder.hidden_size", "7", "128") in found
    assert all(key.startswith(("encoder.hidden_size", "wide")) for key, _, _ in found)
    assert differences(read_recipe("default"), read_recipe("default")) == []


def test_numbers_as_people_read_them() -> None:
    assert words.percent(0.87654, 1) == "87.7\u00a0%"
    assert (words.points(0.01234), words.points(-0.00001)) == ("+1.23", "0.00")
    assert (words.file_size(7_596_037), words.file_size(1234)) == ("7.60 MB", "1.2 KB")
    assert (words.duration(0.00042), words.duration(61), words.duration(600)) == (
        "0.42 ms",
        "61.0 s",
        "10.0 min",
    )
    assert words.plural(1, "step") == "1 step"
    assert words.cut("abcdef", 4) == "abc…"


def test_a_folder_without_results_is_refused_with_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"no such folder(.|\n)*got:      nothing"):
        kind_of(tmp_path / "nowhere")
    with pytest.raises(ReportError, match=r"nothing to report(.|\n)*an empty folder"):
        kind_of(tmp_path)
    run = tmp_path / "runs" / "good"
    run.mkdir(parents=True)
    (run / "run.json").write_text("{}")
    (tmp_path / "runs" / "notes.txt").write_text("")
    with pytest.raises(ReportError, match=r"got:      good, notes.txt(.|\n)*did you mean .*good\?"):
        kind_of(tmp_path / "runs")
    with pytest.raises(ReportError, match=r"did you mean .*runs/good\?"):
        kind_of(tmp_path / "runs" / "godd")
    assert kind_of(run) == "run"


def test_one_sentence_about_many_verdicts() -> None:
    def verdict(a: str, b: str, low: float, high: float) -> Verdict:
        middle = (low + high) / 2
        return Verdict(a, b, 0.9, 0.9 - middle, middle, low, high, 0.95, 0.01, (1, 1), 100, 3)

    found = [
        verdict("gru", "svm", 0.01, 0.03),
        verdict("lstm", "gru", 0.02, 0.04),
        verdict("gru", "bag", -0.01, 0.02),
        verdict("bag", "svm", 0.02, 0.03),
    ]
    assert standing("gru", found) == (
        "gru is ahead of svm (+2.00 points, +1.00 to +3.00); it is behind lstm (-3.00 points, -4.00 to "
        "-2.00); it shows no difference from bag (+0.50 points, -1.00 to +2.00)."
    )
    assert standing("lstm", found[1:2]) == "lstm is ahead of gru (+3.00 points, +2.00 to +4.00)."
    assert standing("nobody", found) == ""
    assert standing("the kept model", [verdict("the kept model", "svm", 0.1, 0.2)]).startswith(
        "The kept model is"
    )
