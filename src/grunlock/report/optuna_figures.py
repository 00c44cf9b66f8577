"""Optuna's own plots of a study, in the page's colours; of very many trials those that can be seen."""

import json
import warnings
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from grunlock.report.figures import (
    COLOURS,
    DASHES,
    INK,
    MOST_POINTS,
    QUIET,
    SYMBOLS,
    Figure,
    axis,
    thinned,
    whole_steps,
)
from grunlock.tuning.search import directions
from grunlock.tuning.settings import StudySettings

MOST_LINES = 120  # trials drawn as a line each
BEST_SHARE = 0.1  # of the lines, drawn strong


def history(trials: Sequence[FrozenTrial], settings: StudySettings) -> Figure:
    """Value of the first objective by trial; where it is the only one, the best so far too."""
    found = optuna.visualization.plot_optimization_history(_study(trials, settings), **_first(settings))
    drawn = _plain(found)
    for trace in drawn["data"]:
        if trace["mode"] == "lines":
            trace |= {"name": "the best so far", "line": {"color": COLOURS[1], "width": 2, "shape": "hv"}}
            _keep(trace, _changes(trace["y"]))
        else:
            trace["marker"] = {"color": COLOURS[0], "symbol": SYMBOLS[0], "size": 7, "opacity": 0.75}
            _keep(trace, thinned(trace["x"]))
    drawn["data"] = [trace for trace in drawn["data"] if trace["x"]]
    drawn["layout"]["xaxis"] = axis("trial", **whole_steps(len(trials)))
    drawn["layout"]["showlegend"] = len(drawn["data"]) > 1
    return drawn


def importance(trials: Sequence[FrozenTrial], settings: StudySettings) -> Figure:
    """Shares of the spread of the first objective, as StudyResult.importance has them."""
    sign = -1.0 if directions(settings.objectives)[0] == "maximize" else 1.0
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="PedAnovaImportanceEvaluator computes")
        found = optuna.visualization.plot_param_importances(
            _study(trials, settings),
            target=lambda trial: sign * trial.values[0],
            target_name=settings.objectives[0],
        )
    drawn = _plain(found)
    for trace in drawn["data"]:
        trace["marker"] = {"color": COLOURS[0]}
    drawn["layout"] = {"xaxis": axis("share of the spread"), "yaxis": {"showgrid": False}}
    return drawn


def parallel(trials: Sequence[FrozenTrial], settings: StudySettings) -> Figure:
    """A line a trial through its values; the best tenth strong."""
    chosen = _best_and_spread(trials, settings)
    found = optuna.visualization.plot_parallel_coordinate(_study(chosen, settings), **_first(settings))
    drawn = _plain(found)
    lines = [trace for trace in drawn["data"] if trace.get("mode") == "lines"]
    highest = directions(settings.objectives)[0] == "maximize"
    ordered = sorted(lines, key=lambda trace: -trace["y"][0] if highest else trace["y"][0])
    strong = max(1, round(BEST_SHARE * len(lines)))
    for place, trace in enumerate(ordered):
        trace["line"] = (
            {"color": COLOURS[0], "width": 2.5} if place < strong else {"color": QUIET, "width": 1}
        )
        trace["opacity"] = 0.95 if place < strong else 0.4
    drawn["data"] = list(reversed(ordered))  # without the scale of the colours that it had; the best on top
    drawn["layout"]["margin"] = {"r": 110}  # of slanted names
    drawn["layout"]["xaxis"] |= {"ticklabeloverflow": "allow"}
    return drawn


def intermediate(trials: Sequence[FrozenTrial], settings: StudySettings) -> Figure:
    """What each trial had reached at each step."""
    chosen = [trial for trial in _best_and_spread(trials, settings) if trial.intermediate_values]
    drawn = _plain(optuna.visualization.plot_intermediate_values(_study(chosen, settings)))
    for k, (trace, trial) in enumerate(zip(drawn["data"], chosen, strict=True)):
        done = trial.state == TrialState.COMPLETE
        trace["name"] = f"trial {trial.number}{'' if done else ', ended early'}"
        trace["line"] = {
            "color": COLOURS[k % 6] if done else QUIET,
            "dash": DASHES[k // 6 % 6] if done else "dot",
        }
        trace["marker"] = {"color": trace["line"]["color"], "symbol": "circle" if done else "x", "size": 6}
        trace["opacity"] = 0.9
    last = max((step for trial in chosen for step in trial.intermediate_values), default=0)
    drawn["layout"]["xaxis"] = axis("step", **whole_steps(last))
    drawn["layout"]["yaxis"] = axis(f"{settings.objectives[0]} so far")
    return drawn


def pareto(trials: Sequence[FrozenTrial], settings: StudySettings, other: int) -> Figure:
    """The first objective against another one of the objectives; the front is that of all of them."""
    names = settings.objectives
    drawn = _plain(
        optuna.visualization.plot_pareto_front(
            _study(trials, settings),
            targets=lambda trial: (trial.values[other], trial.values[0]),
            target_names=[names[other], names[0]],
        )
    )
    for trace in drawn["data"]:
        best = "Best" in trace.get("name", "")
        trace["name"] = "on the front" if best else "others"
        colour, symbol = (COLOURS[1], SYMBOLS[2]) if best else (QUIET, "circle-open")
        trace["marker"] = {"color": colour, "symbol": symbol, "size": 11 if best else 8, "line": {"width": 2}}
        trace["hovertemplate"] = "%{x:.5g}, %{y:.5g}<extra></extra>"
        trace.pop("text", None)
        _keep(trace, thinned(trace["x"]))
    drawn["layout"]["showlegend"] = True
    return drawn


def _study(trials: Sequence[FrozenTrial], settings: StudySettings) -> optuna.Study:
    """A study in memory that only the plots see."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found = optuna.create_study(directions=directions(settings.objectives), study_name=settings.name)
    found.add_trials(trials)
    return found


def _first(settings: StudySettings) -> dict[str, Any]:
    name = settings.objectives[0]
    if len(settings.objectives) == 1:
        return {"target_name": name}
    return {"target": lambda trial: trial.values[0], "target_name": name}


def _best_and_spread(trials: Sequence[FrozenTrial], settings: StudySettings) -> list[FrozenTrial]:
    """At most MOST_LINES, by number: half of them the best, the others spread evenly over the rest."""
    if len(trials) <= MOST_LINES:
        return list(trials)
    sign = -1.0 if directions(settings.objectives)[0] == "maximize" else 1.0
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    best = sorted(complete, key=lambda trial: (sign * trial.values[0], trial.number))[: MOST_LINES // 2]
    numbers = {trial.number for trial in best}
    rest = [trial for trial in trials if trial.number not in numbers]
    spread = [rest[i] for i in thinned(rest, MOST_LINES - len(best))]
    return sorted([*best, *spread], key=lambda trial: trial.number)


def _plain(found: Any) -> Figure:
    """As plain data, without titles and colours of its own."""
    drawn: Figure = json.loads(found.to_json())
    drawn["layout"].pop("template", None)
    drawn["layout"].pop("title", None)
    for each in (*drawn["layout"].get("annotations", ()), *drawn["layout"].get("shapes", ())):
        if "font" in each:
            each["font"]["color"] = INK
        if "line" in each:
            each["line"]["color"] = QUIET
    return drawn


def _changes(values: Sequence[float]) -> list[int]:
    """Places where a value is another one than before, and the last."""
    ends = range(1, len(values))
    return sorted({0, len(values) - 1, *(i for i in ends if values[i] != values[i - 1])}) if values else []


def _keep(trace: dict[str, Any], places: Sequence[int]) -> None:
    for name in ("x", "y"):
        trace[name] = [trace[name][i] for i in places]


def is_thinned(trials: Sequence[FrozenTrial]) -> str | None:
    """What is left out of the plots, as a sentence."""
    if len(trials) > MOST_POINTS:
        return (
            f"Of {len(trials):,} trials the plots show {MOST_POINTS:,} as points and {MOST_LINES} as lines."
        )
    if len(trials) > MOST_LINES:
        return (
            f"Of {len(trials):,} trials {MOST_LINES} are drawn as lines: the best, and others evenly spread."
        )
    return None
