"""The report of an ablation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grunlock.comparison.ablation import FULL, PLAIN, Bought
from grunlock.comparison.verdict import LEVEL
from grunlock.report import figures
from grunlock.report.about import about_section, command, given
from grunlock.report.duel import finished_runs
from grunlock.report.evaluated import SPLIT_NAMES
from grunlock.report.figures import Move, Span
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
from grunlock.report.results import read_results, reading
from grunlock.report.run import whole
from grunlock.report.words import duration, file_size, p_value, percent, points, points_reach, share, signed
from grunlock.training.run_folder import RunFolder, open_run

INTERACTIONS = "interactions"


def ablation_page(folder: Path) -> Page:
    """Raises ReportError for a file of results that cannot be read."""
    path = folder / "ablation.json"
    if not path.is_file():
        notice = (
            "This ablation is not finished: the runs that are. Call grunlock ablate with the same "
            "arguments to go on."
        )
        runs = sorted(folder.glob("recipes/*/*"))
        return Page(folder.name, "an ablation", (), notice, whole([finished_runs(folder, runs)]))
    result = read_results(path, ("on", "seeds", "full", "plain", "tricks", "taken_out", "put_in"))
    with reading(path):
        out = [Bought(**each) for each in result["taken_out"]]
        alone = [Bought(**each) for each in result["put_in"]]
    sections = [
        section("road", "From the plain recipe to the full one", [_road(result, out)]),
        section(
            "out", "Each trick taken out of the full recipe", _bought(out, "with the trick minus without it")
        ),
        section(
            "in",
            "Each trick alone in the plain recipe",
            _bought(alone, "of the plain recipe with the trick minus that without it"),
        ),
        section("tricks", "What each trick is", [_tricks(result)]),
        section("repeat", "How to repeat the ablation", [_again(folder, result)]),
        _made(folder, result),
    ]
    return Page(folder.name, "an ablation", _verdict(result, out, alone), None, whole(sections))


def _verdict(result: dict[str, Any], out: Sequence[Bought], alone: Sequence[Bought]) -> tuple[str, ...]:
    full, plain = _accuracy(result["full"]), _accuracy(result["plain"])
    first = (
        f"The full recipe answers {percent(full)} right on {SPLIT_NAMES[result['on']]}, the plain "
        f"one {percent(plain)}: "
        f"{points(full - plain)} points, means of {len(result['seeds'])} seeds."
    )
    known = [each for each in (*out, *alone) if each.shown]
    names = ", ".join(dict.fromkeys(f"{each.trick} ({points(each.difference)})" for each in known))
    if not known:
        return (
            first,
            "No single trick makes a difference that chance over all tricks does not explain (at "
            f"{100 * LEVEL:g} %).",
        )
    return first, f"Tricks that make a difference which chance does not explain: {names}."


def _accuracy(measured: dict[str, Any]) -> float:
    values = measured["accuracies"]
    return float(sum(values) / len(values))


def _road(result: dict[str, Any], out: Sequence[Bought]) -> Chart:
    full, plain = 100 * _accuracy(result["full"]), 100 * _accuracy(result["plain"])
    moves = [Move(PLAIN, 0.0, plain, True)]
    at = plain
    known = [each for each in out if each.error is None]
    for each in sorted(known, key=lambda each: -each.difference):
        error = (100 * (each.difference - each.low), 100 * (each.high - each.difference))
        moves.append(Move(each.trick, at, 100 * each.difference, False, error))
        at += 100 * each.difference
    moves += [Move(INTERACTIONS, at, full - at, False), Move(FULL, 0.0, full, True)]
    caption = (
        f"From {plain:.2f} to {full:.2f} %: what each trick is worth beside all others, with 95 % "
        "intervals. Such worths need "
        f"not add up; {full - at:+.2f} points belong to tricks together."
    )
    rows = [
        cells(
            own(move.name),
            Cell(f"{move.change:.2f}" if move.is_level else f"{move.change:+.2f}", order=move.change),
        )
        for move in moves
    ]
    table = Table("Levels in %, changes in points.", ("", "accuracy"), tuple(rows), sorts=False)
    return Chart(
        figures.waterfall(moves, f"accuracy on {SPLIT_NAMES[result['on']]}, %"),
        caption,
        table,
        140 + 34 * len(moves),
    )


def _bought(found: Sequence[Bought], what: str) -> list[Part]:
    known = sorted((each for each in found if each.error is None), key=lambda each: -each.difference)
    failed: list[Part] = [
        Paragraph(f"{each.trick} could not be measured: {each.error}") for each in found if each.error
    ]
    if not known:
        return failed
    rows = [
        Span(each.trick, 100 * each.difference, 100 * each.low, 100 * each.high, each.shown) for each in known
    ]
    table_rows = [
        cells(
            own(each.trick),
            signed(each.difference),
            points_reach(each.low, each.high),
            p_value(each.p_value),
            Cell(f"{each.seconds:+.1f} s", order=each.seconds),
            Cell(("+" if each.size >= 0 else "-") + file_size(abs(each.size)), order=each.size),
        )
        for each in known
    ]
    columns = ("trick", "points", "95 % interval", "p, corrected", "training", "size")
    best, shown = known[0], sum(each.shown for each in known)
    caption = (
        f"Accuracy {what}: {best.trick} {points(best.difference)} points at most; {shown} of "
        f"{len(known)} differences are shown at {100 * LEVEL:g} %."
    )
    table = Table(
        "Intervals are of each trick for itself, p-values corrected over all (Holm).",
        columns,
        tuple(table_rows),
    )
    return [Chart(figures.spans(rows, "points of accuracy"), caption, table, 150 + 34 * len(rows)), *failed]


def _tricks(result: dict[str, Any]) -> Table:
    rows = [
        cells(own(trick["name"]), own(_settings(trick["with_it"])), own(_settings(trick["without"])))
        for trick in result["tricks"]
    ]
    measured = "; ".join(
        f"{name}: {share(_accuracy(result[name])).text}, {duration(result[name]['seconds'])} a "
        f"training, {file_size(result[name]['size'])}"
        for name in (FULL, PLAIN)
    )
    return Table(
        f"{measured}.", ("trick", "in the full recipe", "in the plain one"), tuple(rows), sorts=False
    )


def _settings(values: dict[str, Any]) -> str:
    return ", ".join("off" if value is None else str(value) for value in values.values())


def _made(folder: Path, result: dict[str, Any]) -> Section | None:
    run = _run(folder, FULL, result)
    return about_section(run, "How the full recipe was trained") if RunFolder(run).about.is_file() else None


def _again(folder: Path, result: dict[str, Any]) -> Command | None:
    full, plain = _run(folder, FULL, result), _run(folder, PLAIN, result)
    if not RunFolder(full).about.is_file():
        return None
    _, _, request = open_run(full)
    line = command(
        *(
            "grunlock",
            "ablate",
            request.source,
            "--recipe",
            full,
            "--plain",
            plain,
            "--seeds",
            len(result["seeds"]),
        ),
        *("--on", result["on"], *given("--valid", request.valid), *given("--test", request.test)),
        *(() if result["put_in"] else ("--only-out",)),
        *("-o", "repeated"),
    )
    return Command("Measure the same tricks again:", line)


def _run(folder: Path, name: str, result: dict[str, Any]) -> Path:
    return folder / "recipes" / name / str(result["seeds"][0])
