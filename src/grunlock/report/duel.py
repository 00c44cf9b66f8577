"""The report of a duel."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grunlock.comparison.answers import read_answers, verdicts_on_all
from grunlock.comparison.contenders import FASTTEXT, LINEAR
from grunlock.comparison.verdict import Verdict
from grunlock.report import figures
from grunlock.report.about import about_section, command, given
from grunlock.report.brief import as_sentence, standing
from grunlock.report.evaluated import SPLIT_NAMES
from grunlock.report.figures import Line, Span
from grunlock.report.page import (
    Cell,
    Chart,
    Command,
    Page,
    Paragraph,
    Part,
    Section,
    Table,
    cells,
    own,
    section,
)
from grunlock.report.results import read_results, read_verdict, reading
from grunlock.report.run import is_finished, whole
from grunlock.report.words import (
    count,
    duration,
    file_size,
    p_value,
    percent,
    plural,
    points,
    points_reach,
    share,
    signed,
)
from grunlock.training.run_folder import RunFolder, open_run

NO_DIFFERENCE = "no difference shown"


def duel_page(folder: Path) -> Page:
    """Raises ReportError for a file of results that cannot be read."""
    path = folder / "duel.json"
    if not path.is_file():
        notice = (
            "This duel is not finished: the runs that are. Call grunlock duel with the same arguments "
            "to go on."
        )
        runs = sorted(folder.glob("contenders/*/runs/*"))
        return Page(folder.name, "a duel", (), notice, whole([finished_runs(folder, runs)]))
    result = read_results(path, ("on", "seeds", "contenders", "verdicts", "orders"))
    with reading(path):
        found = [read_verdict(each) for each in result["verdicts"]]
    sections = [
        section("differences", "Who is ahead", [differences(found, result["on"]), *_orders(result)]),
        section("contenders", "The contenders", [_accuracies(result), *_failures(result)]),
        section("everyone", "Everyone against everyone", [_all_pairs(folder, result)]),
        section("search", "What a search can be expected to find", [_expected(result)]),
        _about(folder, result),
        _made(folder, result),
    ]
    looked = None if result["on"] == "valid" else "The test split decided: choose nothing by it."
    remarks = tuple(as_sentence(each.sentence) for each in found)
    return Page(folder.name, "a duel", _verdict(result, found), looked, whole(sections), remarks)


def _verdict(result: dict[str, Any], found: Sequence[Verdict]) -> tuple[str, ...]:
    known = [each for each in result["contenders"] if each["accuracies"]]
    if not known:
        return ("No contender has come to an end.",)
    best = _best(known)
    first = (
        f"Of {plural(len(known), 'contender')} {best['name']} answers most right on "
        f"{SPLIT_NAMES[result['on']]}: {_mean(best['accuracies']).text}, the mean of "
        f"{plural(len(best['accuracies']), 'seed')}."
    )
    stands = standing(best["name"], found)
    return (first, stands) if stands else (first,)


def _best(contenders: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return max(contenders, key=lambda each: sum(each["accuracies"]) / len(each["accuracies"]))


def finished_runs(folder: Path, runs: Sequence[Path]) -> Section | None:
    """Accuracies on validation of the runs that have ended."""
    done = [run for run in runs if is_finished(run)]
    rows = [cells(own(str(run.relative_to(folder))), share(_metrics(run)["accuracy"])) for run in done]
    table = Table("Finished runs.", ("run", "accuracy on validation"), tuple(rows))
    return section("runs", "What there is so far", [table] if rows else [])


def differences(found: Sequence[Verdict], on: str) -> Chart | None:
    """Differences of accuracy with the intervals at which they were tested."""
    if not found:
        return None
    rows = [
        Span(
            each.name_a,
            100 * each.difference,
            100 * each.low,
            100 * each.high,
            each.ahead is not None,
            each.name_b,
        )
        for each in found
    ]
    table_rows = [
        cells(
            own(each.name_a),
            own(each.name_b),
            signed(each.difference),
            points_reach(each.low, each.high),
            f"{percent(each.confidence, 1)}",
            p_value(each.p_value),
            own(NO_DIFFERENCE if each.ahead is None else f"{each.ahead} is ahead"),
        )
        for each in found
    ]
    columns = ("a", "b", "a minus b, points", "interval", "its confidence", "p, corrected", "verdict")
    shown = sum(each.ahead is not None for each in found)
    caption = (
        f"Accuracy on {SPLIT_NAMES[on]}, a minus b, in points: an interval that leaves 0 out shows "
        "a difference; "
        f"{shown} of {len(found)} do."
    )
    table = Table("Intervals and p-values are corrected together (Holm).", columns, tuple(table_rows))
    return Chart(figures.spans(rows, "points of accuracy"), caption, table, 150 + 46 * len(rows))


def _accuracies(result: dict[str, Any]) -> Chart:
    known = [each for each in result["contenders"] if each["accuracies"]]
    names = [each["name"] for each in known]
    each_seed = [(100 * value, float(k)) for k, each in enumerate(known) for value in each["accuracies"]]
    drawn = figures.scatter(
        {"a seed": each_seed},
        figures.axis(f"accuracy on {SPLIT_NAMES[result['on']]}, %"),
        {**figures.named(names), **figures.downwards(len(names))},
    )
    rows = [
        cells(
            own(each["name"]),
            _mean(each["accuracies"]),
            ", ".join(f"{100 * value:.2f}" for value in each["accuracies"]),
            "" if each["parameters"] is None else count(each["parameters"]),
            "" if each["size"] is None else Cell(file_size(each["size"]), order=each["size"]),
            Cell(duration(each["seconds"]), order=each["seconds"]),
            duration(each["search_seconds"]) if each["search_seconds"] else "",
        )
        for each in known
    ]
    columns = (
        "contender",
        "mean accuracy",
        "by seed, %",
        "parameters",
        "size",
        "a training",
        "search before",
    )
    best = _best(known)
    caption = (
        f"A point is a seed, of {len(result['seeds'])} each; {best['name']!r} has the highest mean, "
        f"{_mean(best['accuracies']).text}."
    )
    return Chart(drawn, caption, Table("Means over seeds.", columns, tuple(rows)), 150 + 40 * len(known))


def _mean(values: Sequence[float]) -> Cell:
    return share(sum(values) / len(values))


def _failures(result: dict[str, Any]) -> list[Part]:
    failed = [each for each in result["contenders"] if each["error"] is not None]
    return [Paragraph(f"{each['name']} failed: {each['error']}") for each in failed]


def _orders(result: dict[str, Any]) -> list[Part]:
    if not result["orders"]:
        return []
    rows = [
        cells(own(each["a"]), own(each["b"]), f"{each['violation']:.3f}", f"{each['violation_bound']:.3f}")
        for each in result["orders"]
    ]
    caption = (
        "Almost stochastic order over seeds: 0 where a is better at every quantile of its scores, 1 "
        "where b is, 0.5 "
        "neither; a counts as better where the bound is below 0.2."
    )
    return [Table(caption, ("a", "b", "violation", "its upper bound"), tuple(rows))]


def _all_pairs(folder: Path, result: dict[str, Any]) -> Part:
    right = read_answers(folder)
    if right is None:
        return Paragraph(
            "This duel kept no single answers (an earlier version did not): run it again to compare "
            "all pairs."
        )
    names = [each["name"] for each in result["contenders"] if each["name"] in right]
    found = {(each.name_a, each.name_b): each for each in verdicts_on_all(right, names)}
    rows = [cells(own(name), *(_pair(found, name, other) for other in names)) for name in names]
    caption = (
        "Row minus column, in points: ▲ the row is ahead, ▼ the column is, · no difference shown. "
        "All pairs are "
        "corrected together, so these verdicts are stricter than those above."
    )
    return Table(caption, ("", *names), tuple(rows), sorts=False)


def _pair(found: Mapping[tuple[str, str], Verdict], name: str, other: str) -> str:
    if name == other:
        return ""
    verdict, sign = (found[name, other], 1) if (name, other) in found else (found[other, name], -1)
    mark = "·" if verdict.ahead is None else "▲" if verdict.ahead == name else "▼"
    return f"{mark} {points(sign * verdict.difference)}"


def _expected(result: dict[str, Any]) -> Chart | None:
    searched = [each for each in result["contenders"] if each["expected"] is not None]
    if not searched:
        return None
    series = [
        Line(each["name"], list(range(1, len(mean) + 1)), [100 * value for value in mean], both=True)
        for each in searched
        if (mean := each["expected"]["mean"])
    ]
    rows = [
        cells(own(each["name"]), count(k + 1), share(mean), signed(deviation))
        for each in searched
        for k, (mean, deviation) in enumerate(
            zip(each["expected"]["mean"], each["expected"]["deviation"], strict=True)
        )
    ]
    first = searched[0]
    caption = (
        f"Expected best validation accuracy of a search of so many trials: {first['name']!r} reaches "
        f"{percent(first['expected']['mean'][-1])} with {len(first['expected']['mean'])} (Dodge "
        "2019, unbiased form)."
    )
    columns = ("contender", "trials", "expected best", "its deviation, points")
    table = Table("Compare searches well below the last trial.", columns, tuple(rows))
    return Chart(figures.lines(series, "trials", "validation accuracy, %"), caption, table)


def _made(folder: Path, result: dict[str, Any]) -> Section | None:
    runs = [
        folder / "contenders" / each["name"] / "runs" / str(seed)
        for each in result["contenders"]
        for seed in result["seeds"][:1]
    ]
    names = (each["name"] for each in result["contenders"])
    made = (
        about_section(run, f"How {name} was made")
        for name, run in zip(names, runs, strict=True)
        if is_finished(run)
    )
    return next(made, None)


def _about(folder: Path, result: dict[str, Any]) -> Section | None:
    """The command, with the recipes that stand in the folder."""
    firsts = {
        each["name"]: folder / "contenders" / each["name"] / "runs" / str(result["seeds"][0])
        for each in result["contenders"]
    }
    runs = {name: run for name, run in firsts.items() if RunFolder(run).about.is_file()}
    if not runs:
        return None
    _, _, request = open_run(next(iter(runs.values())))
    baselines = (LINEAR, FASTTEXT)
    recipes = [
        name if name in baselines else f"{name}={run}"
        for name, run in firsts.items()
        if name in runs or name in baselines
    ]
    line = command(
        *(
            "grunlock",
            "duel",
            request.source,
            "--recipes",
            ",".join(recipes),
            "--seeds",
            len(result["seeds"]),
        ),
        *(
            "--on",
            result["on"],
            *given("--valid", request.valid),
            *given("--test", request.test),
            "-o",
            "repeated",
        ),
    )
    return section(
        "repeat",
        "How to repeat the duel",
        [Command("The same contenders again, those of searches as they were found:", line)],
    )


def _metrics(run: Path) -> dict[str, Any]:
    return read_results(RunFolder(run).metrics, ("accuracy",))
