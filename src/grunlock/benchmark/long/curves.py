"""Scores of cells as curves: accuracy against length, over the seeds."""

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from grunlock.benchmark.long.experiment import Cell
from grunlock.benchmark.long.run import Found


@dataclass(frozen=True)
class Point:
    """One length of a curve."""

    accuracies: tuple[float, ...]  # of the seeds that did not diverge
    num_diverged: int = 0

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.accuracies) if self.accuracies else None


Curve = dict[int, Point]  # by length


def curves(
    cells: Iterable[Cell], found: Mapping[Cell, Found]
) -> dict[str, dict[str, Curve]]:  # by task, then encoder
    """Those of the cells that are done, in the plan's order of tasks and encoders, lengths ascending."""
    scores: dict[str, dict[str, dict[int, list[float | None]]]] = {}
    for cell in cells:
        if cell in found:
            lengths = scores.setdefault(cell.task, {}).setdefault(cell.encoder, {})
            lengths.setdefault(cell.num_steps, []).append(found[cell].score.accuracy)
    return {
        task: {kind: {T: _point(lengths[T]) for T in sorted(lengths)} for kind, lengths in kinds.items()}
        for task, kinds in scores.items()
    }


def _point(accuracies: list[float | None]) -> Point:
    known = tuple(accuracy for accuracy in accuracies if accuracy is not None)
    return Point(known, len(accuracies) - len(known))
