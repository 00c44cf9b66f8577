"""Verdicts in brief: one sentence about many of them."""

from collections.abc import Sequence

from grunlock.comparison.verdict import Verdict
from grunlock.report.words import points, points_reach


def standing(name: str, verdicts: Sequence[Verdict]) -> str:
    """How one system stands against the others that it was compared with, in points of accuracy.

    A name keeps its case, for it may be a contender's; only that of a station, "the kept model", has none.
    """
    own = [_seen_from(name, each) for each in verdicts if name in (each.name_a, each.name_b)]
    ahead = [_with_reach(*each) for each in own if each[2] > 0]
    behind = [_with_reach(*each) for each in own if each[3] < 0]
    level = [_with_reach(*each) for each in own if each[2] <= 0 <= each[3]]
    said = [f"is ahead of {_listed(ahead)}"] if ahead else []
    said += [f"is behind {_listed(behind)}"] if behind else []
    said += [f"shows no difference from {_listed(level)}"] if level else []
    subject = name.replace("the ", "The ", 1) if name.startswith("the ") else name
    return f"{subject} {'; it '.join(said)}." if said else ""


def as_sentence(verdict: str) -> str:
    """With a capital, unless it begins with a contender's name."""
    head = "no difference"
    return verdict.replace(head, head.capitalize(), 1) + "." if verdict.startswith(head) else verdict + "."


def _seen_from(name: str, verdict: Verdict) -> tuple[str, float, float, float]:
    """The other's name, and by how much `name` is better: difference, low, high."""
    if verdict.name_a == name:
        return verdict.name_b, verdict.difference, verdict.low, verdict.high
    return verdict.name_a, -verdict.difference, -verdict.high, -verdict.low


def _with_reach(other: str, difference: float, low: float, high: float) -> str:
    return f"{other} ({points(difference)} points, {points_reach(low, high)})"


def _listed(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
