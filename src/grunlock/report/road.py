"""The report of a whole road: what each station brought, the search, and the model that is kept."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grunlock.comparison.verdict import Verdict
from grunlock.errors import DataError, RunError
from grunlock.report import figures
from grunlock.report.about import about_section, command, given, models_section
from grunlock.report.brief import as_sentence, standing
from grunlock.report.curves import curves_section
from grunlock.report.duel import differences
from grunlock.report.evaluated import Split, evaluated
from grunlock.report.figures import Move
from grunlock.report.page import (
    Cell,
    Chart,
    Command,
    Page,
    Paragraph,
    Part,
    Table,
    cells,
    own,
    section,
)
from grunlock.report.results import read_verdict, reading
from grunlock.report.run import LOOKED, whole
from grunlock.report.scores import score_sections
from grunlock.report.study import search_sections
from grunlock.report.words import duration, file_size, percent, plural, points, points_reach, share
from grunlock.tuning.study import StudyFolder, open_study
from grunlock.unlock import StageDone, Station, UnlockSettings, stages_done
from grunlock.unlock.context import BEST, BEST_TRIAL, USUAL
from grunlock.unlock.results import STAGES, StageName
from grunlock.unlock.steps import kept_run, verdicts_on_steps

MOST_FINDINGS = 30
Stages = Mapping[StageName, StageDone]


def road_page(folder: Path, split: Split) -> Page:
    """Raises ReportError for files of the road that cannot be read, and what evaluated raises."""
    with reading(folder / "unlock.json"):
        settings = UnlockSettings.model_validate_json((folder / "unlock.json").read_bytes())
    with reading(folder / "stages"):
        stages: Stages = {stage.stage: stage for stage in stages_done(folder)}
    kept = kept_run(folder)
    found = None if kept is None else evaluated(kept, split)
    searched = StudyFolder(folder / "search").settings.is_file()
    sections = [
        section("road", "The road", _road(folder, stages)),
        section("verdicts", "The last look", _last_look(folder, stages)),
        *(score_sections(found) if found is not None else []),
        *([curves_section(kept)] if kept is not None else []),
        *(search_sections(open_study(folder / "search")) if searched else []),
        section("data", "The data", _data(stages)),
        models_section(folder),
        *([about_section(kept)] if kept is not None else []),
        section("repeat", "How to repeat the road", [Command("Walk it again:", _again(settings))]),
    ]
    remarks = _remarks(stages)
    notice = _notice(folder, stages, split)
    return Page(folder.name, "a road", _verdict(folder, stages), notice, whole(sections), remarks)


def _verdict(folder: Path, stages: Stages) -> tuple[str, ...]:
    if "final" not in stages:
        return tuple(
            f"{stage.sentence[0].upper()}{stage.sentence[1:]}." for stage in list(stages.values())[-1:]
        )
    facts = stages["final"].facts
    names = {"test": "test", "valid": "validation, for there is no test split"}
    accuracies = ", ".join(f"{name} {percent(value)}" for name, value in facts["accuracies"].items())
    first = f"On {names[facts['on']]}: {accuracies}."
    stands = standing(next(iter(facts["accuracies"])), _verdicts(folder))
    return (first, stands) if stands else (first,)


def _remarks(stages: Stages) -> tuple[str, ...]:
    return tuple(as_sentence(each) for each in stages["final"].facts["verdicts"]) if "final" in stages else ()


def _verdicts(folder: Path) -> list[Verdict]:
    path = folder / "verdicts.json"
    if not path.is_file():
        return []
    with reading(path):
        return [read_verdict(each) for each in json.loads(path.read_bytes())]


def _notice(folder: Path, stages: Stages, split: Split) -> str | None:
    missing = [name for name in STAGES if name not in stages]
    said = [LOOKED] if split == "test" else []
    if missing:
        line = command("grunlock", "unlock", "--resume", folder)
        said.append(f"This road is not finished: {', '.join(missing)} to come. Go on with: {line}")
    return " ".join(said) or None


def _road(folder: Path, stages: Stages) -> list[Part | None]:
    stations = [station for stage in stages.values() for station in stage.stations]
    if not stations:
        return []
    table = _stations(stations)
    try:
        steps = verdicts_on_steps(folder)
    except (RunError, DataError) as error:
        return [table, Paragraph(f"Intervals of the steps are left out. {error.what} ({error.where})")]
    return [_waterfall(stations, steps), table, _costs(stations)] if steps else [table]


def _waterfall(stations: Sequence[Station], steps: Sequence[Verdict]) -> Chart:
    known = {each.name: 100 * each.valid_accuracy for each in stations}
    moves = [Move(name, 0.0, known[name], True) for name in known if name not in (BEST_TRIAL, BEST)]
    end = known.get(USUAL, 0.0)
    for each in steps:
        if each.name_a == BEST_TRIAL:
            error = (100 * (each.difference - each.low), 100 * (each.high - each.difference))
            moves.append(Move(f"→ {BEST_TRIAL}", end, 100 * each.difference, False, error))
            end += 100 * each.difference
    if BEST in known:
        moves += [
            Move("→ mean of its seeds", end, known[BEST] - end, False),
            Move(BEST, 0.0, known[BEST], True),
        ]
        end = known[BEST]
    caption = (
        f"From {USUAL} to {stations[-1].name}: {end - known.get(USUAL, end):+.2f} points of "
        "validation accuracy. The best trial was chosen by these examples, which flatters its step; the last "
        "look has the verdict."
    )
    rows = [
        cells(
            own(f"{each.name_b} → {each.name_a}"),
            Cell(points(each.difference), order=each.difference),
            points_reach(each.low, each.high),
            own("no difference shown" if each.ahead is None else f"{each.ahead} is ahead"),
        )
        for each in steps
    ]
    columns = ("step", "points", "interval", "verdict")
    table = Table(
        "Steps on validation; intervals corrected together (Holm).", columns, tuple(rows), sorts=False
    )
    return Chart(figures.waterfall(moves, "validation accuracy, %"), caption, table, 160 + 44 * len(moves))


def _stations(stations: Sequence[Station]) -> Table:
    rows = [
        cells(
            own(each.name + (f" ({each.note})" if each.note else "")),
            share(each.valid_accuracy),
            "" if each.size is None else Cell(file_size(each.size), order=each.size),
            "" if each.latency is None else Cell(duration(each.latency), order=each.latency),
            Cell(duration(each.seconds), order=each.seconds),
        )
        for each in stations
    ]
    columns = ("station", "accuracy on validation", "size", "one prediction", "training")
    return Table("The stations.", columns, tuple(rows), sorts=False)


def _costs(stations: Sequence[Station]) -> Chart | None:
    known = [each for each in stations if each.size is not None and each.latency is not None]
    if len(known) < 2:
        return None
    groups = {each.name: [(each.size / 1000, 100 * each.valid_accuracy)] for each in known if each.size}
    best = max(known, key=lambda each: each.valid_accuracy)
    caption = (
        f"Accuracy against size: the most accurate, {best.name}, has {file_size(best.size or 0)} and takes "
        f"{duration(best.latency or 0)} for a prediction."
    )
    drawn = figures.scatter(groups, figures.axis("size, KB"), figures.axis("validation accuracy, %"))
    return Chart(drawn, caption, None, 300)


def _last_look(folder: Path, stages: Stages) -> list[Part | None]:
    if "final" not in stages:
        return []
    facts = stages["final"].facts
    promises = (
        [Paragraph(f"Promised and kept there: {'; '.join(facts['promises'])}.")] if facts["promises"] else []
    )
    return [differences(_verdicts(folder), facts["on"]), *promises, Paragraph(_int8(facts["int8"]))]


def _int8(gate: dict[str, Any]) -> str:
    if "lost" not in gate:
        return f"int8 products are not available: {gate['why']}"
    verdict = "may be used" if gate["recommended"] else "lose too much"
    return f"int8 products {verdict}: {points(gate['lost'])} points of validation accuracy lost."


def _data(stages: Stages) -> list[Part | None]:
    if "audit" not in stages:
        return []
    messages = stages["audit"].facts.get("findings", [])
    rows = [cells(own(message)) for message in messages[:MOST_FINDINGS]]
    left = (
        f" {plural(len(messages) - MOST_FINDINGS, 'more stands', 'more stand')} in audit.json."
        if len(messages) > MOST_FINDINGS
        else ""
    )
    table = Table(f"The gravest first.{left}", ("finding",), tuple(rows), sorts=False)
    return [Paragraph(f"The audit found {stages['audit'].sentence}."), table if rows else None]


def _again(settings: UnlockSettings) -> str:
    return command(
        *(
            "grunlock",
            "unlock",
            settings.source,
            "--recipe",
            settings.recipe,
            "--minutes",
            f"{settings.minutes:g}",
        ),
        *(word for each in settings.overrides for word in ("--set", each)),
        *(
            *given("--valid", settings.valid),
            *given("--test", settings.test),
            *given("--trials", settings.trials),
        ),
        *given("--max-size", settings.max_size),
        *given(
            "--max-latency", None if settings.max_latency is None else f"{1000 * settings.max_latency:g}ms"
        ),
        *("--workers", settings.workers, "--seed", settings.seed, "-o", "repeated"),
    )
