"""Going on beyond the ends of ranges where the best values lie, in a study that begins with all trials."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from grunlock.errors import RecipeError, StudyError
from grunlock.recipe import Range, SearchSpace
from grunlock.recipe.validation import validate
from grunlock.tuning.results import AtEdge, values_at_edge
from grunlock.tuning.space import at_fraction, is_whole
from grunlock.tuning.study import Study, create_study, open_study

SHARES = (0.5, 0.25, 0.125)  # of the old range, added beyond its end: the largest that the recipe allows


@dataclass(frozen=True)
class Widened:
    """A space with wider ranges, and points at its new parts: the best values with one of them moved."""

    space: SearchSpace
    points: tuple[Mapping[str, Any], ...]


def widened_study(earlier: Path, folder: Path) -> Study:
    """A new study in `folder`: the one of `earlier` with each range widened at whose end its best value lies.

    It begins with the earlier trials, which stay where they are, and goes first to the new parts.

    Raises StudyError if nothing is at an end or nothing beyond it is allowed, and what `open_study` and
    `create_study` raise.
    """
    old = open_study(earlier)
    best = old.best()
    edges = () if best is None else values_at_edge(old.space, best)
    if best is None or not edges:
        raise StudyError(
            "There is no range to widen.",
            where=earlier,
            got="no usable trial" if best is None else f"every value of trial {best.number} within its range",
            cure=f"go on with the same ranges: --resume {earlier}",
        )
    if best.folder is not None and not best.folder.is_dir():
        raise StudyError(
            "The best run of the earlier study is gone.",
            where=best.folder,
            expected="the folder trials/ as `grunlock tune` left it",
            cure="restore it from a copy, or start a study with wider ranges",
        )
    found = widen(old.space, edges, best.values)
    settings = old.settings.model_copy(update={"name": folder.name})
    return create_study(folder, settings, replace(found.space, first=found.points), 1, earlier=old)


def widen(space: SearchSpace, edges: Sequence[AtEdge], best: Mapping[str, Any]) -> Widened:
    """Raises StudyError if the recipe allows no value beyond any of these ends."""
    points: list[Mapping[str, Any]] = []
    for edge in edges:
        wider = _largest_allowed(space, edge)
        if wider is None:
            continue
        space = replace(space, ranges={**space.ranges, edge.key: wider})
        if edge.end == "low":
            outermost, beyond = wider.low, replace(wider, high=edge.range.low)
        else:
            outermost, beyond = wider.high, replace(wider, low=edge.range.high)
        points += [{**best, edge.key: value} for value in (at_fraction(beyond, 0.5), outermost)]
    if not points:
        raise StudyError(
            "Nothing beyond these ends is allowed.",
            where=", ".join(edge.key for edge in edges),
            got="; ".join(edge.sentence for edge in edges),
            cure="go on with the same ranges, or search another option",
        )
    return Widened(space, tuple(points))


def _largest_allowed(space: SearchSpace, edge: AtEdge) -> Range | None:
    for share in SHARES:
        wider = _wider(edge, share)
        if wider == edge.range:
            continue
        value = wider.low if edge.end == "low" else wider.high
        try:
            validate(space.at({**space.example, edge.key: value}))
        except RecipeError:
            continue
        return wider
    return None


def _wider(edge: AtEdge, share: float) -> Range:
    """On the scale that is searched; whole numbers stay whole, steps stay steps."""
    old = edge.range
    if old.log:
        factor = (old.high / old.low) ** share
        low, high = old.low / factor, old.high * factor
    else:
        added = (old.high - old.low) * share
        if old.step is not None:
            added = old.step * max(1, round(added / old.step))
        low, high = old.low - added, old.high + added
    if is_whole(old):
        low, high = round(low), round(high)
    return replace(old, low=low) if edge.end == "low" else replace(old, high=high)
