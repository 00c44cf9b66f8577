"""The report of a search."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from grunlock.report import optuna_figures
from grunlock.report.about import about_section, command, given, models_section
from grunlock.report.curves import curves_section
from grunlock.report.evaluated import Evaluated, Split, evaluated
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
from grunlock.report.run import notice_of, whole
from grunlock.report.scores import score_sections, verdict_on
from grunlock.report.words import count, cut, duration, file_size, number, percent, plural
from grunlock.tuning.results import TrialRecord, pareto_front, values_at_edge
from grunlock.tuning.settings import StudySettings
from grunlock.tuning.study import Study, open_study, run_of

MOST_ROWS = 100
LONGEST_VALUE = 60
STATES = {
    "complete": "complete",
    "infeasible": "beyond the limits",
    "pruned": "stopped as hopeless",
    "out_of_time": "out of time",
    "failed": "failed",
    "running": "not finished",
}
MIN_TRIALS = 2  # that a plot can compare


def study_page(folder: Path, split: Split) -> Page:
    """Raises StudyError for a study that cannot be read, and what evaluated raises."""
    study = open_study(folder)
    trials, best = study.records(), study.best()
    searched = search_sections(study)
    repeat = section(
        "repeat",
        "How to repeat the search",
        [Command("Search again, in a new folder:", _again(study, len(trials)))],
    )
    if best is None:
        notice = (
            "No trial has come to a usable end yet. Go on with: "
            f"{command('grunlock', 'tune', '--resume', folder)}"
        )
        return Page(folder.name, "a search", (), notice, whole([*searched, repeat]))
    run = run_of(best, folder)
    found = None if run is None else evaluated(run, split)
    own_parts = [*score_sections(found), curves_section(found.run)] if found else []
    made = about_section(found.run) if found else None
    sections = whole([*searched, *own_parts, models_section(folder), made, repeat])
    return Page(
        folder.name,
        "a search",
        _verdict(study, best, found),
        None if found is None else notice_of(found),
        sections,
        _remarks(study, best, found),
    )


def search_sections(study: Study) -> list[Section | None]:
    """History, importance and values of the trials, and the front where there are several objectives."""
    trials, ended = study.records(), study.ended()
    parts: list[Part | None] = [
        _history(study, trials, ended),
        *_compared(study, ended),
        _trials(trials, study.settings),
    ]
    return [section("search", "The search", parts), _front(study, trials, ended)]


def _verdict(study: Study, best: TrialRecord, found: Evaluated | None) -> tuple[str, ...]:
    name = study.settings.objectives[0]
    first = f"Trial {best.number} is the best of {len(study.records()):,}: {name} {best.objectives[0]:.4f}."
    return (first,) if found is None else (first, verdict_on(found)[0])


def _remarks(study: Study, best: TrialRecord, found: Evaluated | None) -> tuple[str, ...]:
    edges = [f"{each.sentence}." for each in values_at_edge(study.space, best)]
    if found is None:
        return tuple(edges)
    flattered = "It was chosen by these validation scores, which flatters it a little."
    return (*verdict_on(found)[1:], *([flattered] if found.split == "valid" else []), *edges)


def _history(study: Study, trials: Sequence[TrialRecord], ended: Sequence[FrozenTrial]) -> Part:
    states = Counter(STATES[trial.state] for trial in trials)
    sentence = (
        f"{plural(len(trials), 'trial')}: " + ", ".join(f"{n:,} {state}" for state, n in states.items()) + "."
    )
    spent = duration(sum(trial.seconds for trial in trials))
    complete = [trial for trial in ended if trial.state == TrialState.COMPLETE]
    if not complete:
        return Paragraph(f"{sentence} {spent} of work.")
    best = study.best()
    reached = "" if best is None else f" The best, {best.objectives[0]:.4f}, came with trial {best.number}."
    thin = optuna_figures.is_thinned(ended)
    caption = f"{sentence}{reached} {spent} of work.{'' if thin is None else ' ' + thin}"
    return Chart(optuna_figures.history(ended, study.settings), caption, None, 340)


def _compared(study: Study, ended: Sequence[FrozenTrial]) -> list[Part | None]:
    complete = [trial for trial in ended if trial.state == TrialState.COMPLETE]
    parts: list[Part | None] = []
    shares = study.importance()
    if shares:
        most = max(shares, key=lambda key: shares[key])
        caption = (
            f"{most} explains most of the spread, {percent(shares[most], 0)} of it (PED-ANOVA, a rough "
            "measure)."
        )
        rows = [cells(key, number(value, ".3f")) for key, value in shares.items()]
        table = Table("Share of the spread of the first objective.", ("option", "share"), tuple(rows))
        height = 120 + 30 * len(shares)
        parts.append(Chart(optuna_figures.importance(ended, study.settings), caption, table, height))
    if len(complete) >= MIN_TRIALS:
        caption = (
            "Each line is a complete trial through its values; the best tenth is strong. Numbers: the "
            "table of trials."
        )
        parts.append(Chart(optuna_figures.parallel(ended, study.settings), caption, None, 420, is_wide=True))
    if any(trial.intermediate_values for trial in ended) and len(study.settings.objectives) == 1:
        early = sum(trial.state == TrialState.PRUNED for trial in ended)
        caption = (
            f"What each trial had reached, step by step; dotted with a cross: {plural(early, 'trial')} "
            "that ended early."
        )
        parts.append(Chart(optuna_figures.intermediate(ended, study.settings), caption, None, 380))
    return parts


def _trials(trials: Sequence[TrialRecord], settings: StudySettings) -> Table:
    names = settings.objectives
    known = [trial for trial in trials if trial.state == "complete"]
    sign = 1.0 if names[0] == "nll" else -1.0
    ordered = sorted(known, key=lambda trial: (sign * trial.objectives[0], trial.number))
    ordered += [trial for trial in trials if trial.state != "complete"]
    keys = list(dict.fromkeys(key for trial in trials for key in trial.values))
    rows = [
        cells(
            count(trial.number),
            *(
                _objective(name, trial.objectives[k]) if trial.objectives else ""
                for k, name in enumerate(names)
            ),
            number(trial.metrics["accuracy"]) if "accuracy" in trial.metrics else "",
            STATES[trial.state],
            number(trial.seconds, ".1f"),
            *(_value(trial.values.get(key)) for key in keys),
        )
        for trial in ordered[:MOST_ROWS]
    ]
    left = f" {len(ordered) - MOST_ROWS:,} more are not listed." if len(ordered) > MOST_ROWS else ""
    columns = ("trial", *names, "valid accuracy", "state", "seconds", *keys)
    return Table(f"Trials, the best first.{left}", columns, tuple(rows), is_dense=True)


def _value(value: object) -> Cell:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number(value, ".4g")
    return own("" if value is None else cut(str(value), LONGEST_VALUE))


def _objective(name: str, value: float) -> Cell:
    if name == "size":
        return Cell(file_size(value), order=value)
    return Cell(f"{1000 * value:.3g} ms", order=value) if name == "latency" else number(value)


def _front(study: Study, trials: Sequence[TrialRecord], ended: Sequence[FrozenTrial]) -> Section | None:
    names = study.settings.objectives
    front = pareto_front(trials, study.settings)
    if len(names) < 2 or not front:
        return None
    rows = [
        cells(count(each.number), *(_objective(n, v) for n, v in zip(names, each.objectives, strict=True)))
        for each in front
    ]
    table = Table(
        "No other trial is at least as good as these in everything.", ("trial", *names), tuple(rows)
    )
    first, last = front[0], front[-1]
    parts = [
        Chart(
            optuna_figures.pareto(ended, study.settings, k),
            f"{plural(len(front), 'trial')} on the front: {names[0]} from {first.objectives[0]:.4f} at "
            f"{_objective(names[k], first.objectives[k]).text} to {last.objectives[0]:.4f} at "
            f"{_objective(names[k], last.objectives[k]).text}.",
            table if k == 1 else None,
        )
        for k in range(1, len(names))
    ]
    return section("front", "What each objective costs", parts)


def _again(study: Study, num_trials: int) -> str:
    settings = study.settings
    return command(
        *(
            "grunlock",
            "tune",
            settings.source,
            "--recipe",
            study.folder.space,
            *given("--valid", settings.valid),
        ),
        *(word for name in settings.objectives for word in ("--objective", name)),
        *("--sampler", settings.sampler, "--pruner", settings.pruner, "--seed", settings.seed),
        *(() if settings.num_seeds == 1 else ("--seeds", settings.num_seeds)),
        *(("--new-splits",) if settings.new_splits else ()),
        *given("--max-size", settings.max_size),
        *given(
            "--max-latency", None if settings.max_latency is None else f"{1000 * settings.max_latency:g}ms"
        ),
        *("--trials", num_trials, "-o", "repeated"),
    )
