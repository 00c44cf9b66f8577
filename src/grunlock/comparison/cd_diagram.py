"""The critical-difference diagram (Demsar 2006, figure 1) as a plain SVG file.

A line of mean ranks, best at the left; a mark for each system; a bar over systems that no difference is
shown among; above, the critical difference to the scale of the line.
"""

import math
from xml.sax.saxutils import escape

from grunlock.comparison.many import RankComparison

RANK_WIDTH = 110  # of one rank on the line
LEAST_AXIS = 330
CHARACTER = 7.5  # generous width of one in the labels' font
LINE_HEIGHT = 20
AXIS_Y = 78
SCALE_Y = 30  # the critical difference
BAR_STEP = 9
STYLE = (
    "text { font: 12px sans-serif; fill: #222 } line, polyline { stroke: #222; fill: none } "
    ".clique { stroke: #0072b2; stroke-width: 4; stroke-linecap: round }"
)


def cd_diagram(comparison: RankComparison) -> str:
    """An SVG document of its own, no fonts or files from elsewhere. Ranks are written beside the names."""
    num_systems = len(comparison.names)
    labels = [
        f"{name} {rank:.2f}" for name, rank in zip(comparison.names, comparison.mean_ranks, strict=True)
    ]
    margin = math.ceil(max(len(label) for label in labels) * CHARACTER) + 30
    axis = max(LEAST_AXIS, (num_systems - 1) * RANK_WIDTH)
    place = _Axis(left=margin, width=axis, num_systems=num_systems)
    levels = _bar_levels(comparison)
    labels_y = AXIS_Y + BAR_STEP * (max(levels, default=0) + 1) + 26
    width, height = 2 * margin + axis, labels_y + LINE_HEIGHT * math.ceil(num_systems / 2) + 24
    parts = [
        f"<style>{STYLE}</style>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
        *_scale(comparison, place),
        *_bars(comparison, place, levels),
        *_marks(comparison, labels, place, labels_y),
        f'<text x="{width / 2}" y="{height - 8}" text-anchor="middle">{_caption(comparison)}</text>',
    ]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">'
    return "\n".join([head, *parts, "</svg>"]) + "\n"


class _Axis:
    """Where a mean rank lies: 1 at the left end, k at the right."""

    def __init__(self, left: int, width: int, num_systems: int) -> None:
        self.left, self.right = left, left + width
        self.unit = width / (num_systems - 1)
        self.num_systems = num_systems

    def x(self, rank: float) -> float:
        return self.left + (rank - 1.0) * self.unit


def _scale(comparison: RankComparison, axis: _Axis) -> list[str]:
    parts = [f'<line x1="{axis.left}" x2="{axis.right}" y1="{AXIS_Y}" y2="{AXIS_Y}"/>']
    for rank in range(1, axis.num_systems + 1):
        x = f"{axis.x(rank):.1f}"
        parts.append(f'<line x1="{x}" x2="{x}" y1="{AXIS_Y - 6}" y2="{AXIS_Y}"/>')
        parts.append(f'<text x="{x}" y="{AXIS_Y - 10}" text-anchor="middle">{rank}</text>')
    length = comparison.critical_difference * axis.unit
    # Few data sets make it longer than all ranks; drawn to the end of the axis it would be a wrong length.
    if axis.left + length <= axis.right:
        end = f"{axis.left + length:.1f}"
        ticks = f"{axis.left},{SCALE_Y - 4} {axis.left},{SCALE_Y + 4} {axis.left},{SCALE_Y} {end},{SCALE_Y}"
        parts.append(f'<polyline points="{ticks} {end},{SCALE_Y - 4} {end},{SCALE_Y + 4}"/>')
    text = f"critical difference {comparison.critical_difference:.2f}"
    parts.append(f'<text x="{axis.left}" y="{SCALE_Y - 10}">{text}</text>')
    return parts


def _bar_levels(comparison: RankComparison) -> list[int]:
    """For each clique the first row of bars in which it touches none before it."""
    taken: list[int] = []  # place of the last system of the last bar in each row
    levels = []
    for clique in comparison.cliques:
        first, last = comparison.names.index(clique[0]), comparison.names.index(clique[-1])
        level = next((row for row, end in enumerate(taken) if end < first), len(taken))
        taken[level : level + 1] = [last]
        levels.append(level)
    return levels


def _bars(comparison: RankComparison, axis: _Axis, levels: list[int]) -> list[str]:
    rank = dict(zip(comparison.names, comparison.mean_ranks, strict=True))
    parts = []
    for clique, level in zip(comparison.cliques, levels, strict=True):
        y = AXIS_Y + BAR_STEP * (level + 1)
        low, high = axis.x(rank[clique[0]]) - 3, axis.x(rank[clique[-1]]) + 3
        parts.append(f'<line class="clique" x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}"/>')
    return parts


def _marks(comparison: RankComparison, labels: list[str], axis: _Axis, top: int) -> list[str]:
    """The better half is named at the left, best on top; the other at the right, worst on top."""
    parts = []
    num_systems = len(labels)
    half = math.ceil(num_systems / 2)
    for i, (label, rank) in enumerate(zip(labels, comparison.mean_ranks, strict=True)):
        at_left = i < half
        y = top + LINE_HEIGHT * (i if at_left else num_systems - 1 - i)
        x, end = axis.x(rank), axis.left - 12 if at_left else axis.right + 12
        anchor, text_x = ("end", end - 4) if at_left else ("start", end + 4)
        parts.append(f'<polyline points="{x:.1f},{AXIS_Y} {x:.1f},{y} {end},{y}"/>')
        parts.append(f'<text x="{text_x}" y="{y + 4}" text-anchor="{anchor}">{escape(label)}</text>')
    return parts


def _caption(comparison: RankComparison) -> str:
    p = comparison.friedman.p_value
    chance = "p &lt; 0.001" if p < 0.001 else f"p = {p:.3f}"
    return f"mean rank over {comparison.num_data_sets} data sets, 1 is best; Friedman {chance}"
