"""The curves as a plain SVG file: accuracy against length, a panel per task, a line per encoder."""

import math
from collections.abc import Mapping
from xml.sax.saxutils import escape

from grunlock.benchmark.long.curves import Curve
from grunlock.benchmark.long.tasks import TASKS

PANEL_WIDTH, PANEL_HEIGHT = 340, 240
LEFT, RIGHT, TOP, BOTTOM = 50, 16, 34, 42  # between a panel's edge and its axes
LEGEND_HEIGHT = 34
LEGEND_STEP = 100
NUM_COLUMNS = 2
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#888888")
STYLE = (
    "text { font: 12px sans-serif; fill: #222 } .title { font-weight: bold } "
    ".frame { fill: none; stroke: #999 }"
)


def picture(curves: Mapping[str, Mapping[str, Curve]]) -> str:
    """An SVG document. Lines are means over seeds, dots the seeds; the dashed line is chance."""
    kinds = tuple(dict.fromkeys(kind for task in curves.values() for kind in task))
    color = {kind: COLORS[i % len(COLORS)] for i, kind in enumerate(kinds)}
    columns = max(1, min(NUM_COLUMNS, len(curves)))
    rows = math.ceil(len(curves) / columns)
    width = max(columns * PANEL_WIDTH, len(kinds) * LEGEND_STEP + LEFT)
    height = rows * PANEL_HEIGHT + LEGEND_HEIGHT
    parts = [f"<style>{STYLE}</style>", f'<rect width="{width}" height="{height}" fill="white"/>']
    for i, (task, lines) in enumerate(curves.items()):
        x, y = (i % columns) * PANEL_WIDTH, (i // columns) * PANEL_HEIGHT
        parts.append(f'<g transform="translate({x} {y})">{_panel(task, lines, color)}</g>')
    parts.append(f'<g transform="translate({LEFT} {rows * PANEL_HEIGHT + 14})">{_legend(color)}</g>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">'
    return "\n".join([head, *parts, "</svg>"]) + "\n"


def _panel(task: str, lines: Mapping[str, Curve], color: Mapping[str, str]) -> str:
    lengths = sorted({T for curve in lines.values() for T in curve})
    right, bottom = PANEL_WIDTH - RIGHT, PANEL_HEIGHT - BOTTOM
    parts = [
        f'<text class="title" x="{LEFT}" y="{TOP - 12}">{escape(task)}, chance {TASKS[task].chance:g}</text>',
        f'<rect class="frame" x="{LEFT}" y="{TOP}" width="{right - LEFT}" height="{bottom - TOP}"/>',
    ]
    for level in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(f'<text x="{LEFT - 6}" y="{_y(level) + 4:.1f}" text-anchor="end">{level:g}</text>')
    for T in lengths:
        x = _x(T, lengths)
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{T}</text>')
    parts.append(f'<text x="{(LEFT + right) / 2}" y="{bottom + 32}" text-anchor="middle">steps</text>')
    chance = f"{_y(TASKS[task].chance):.1f}"
    parts.append(
        f'<line x1="{LEFT}" x2="{right}" y1="{chance}" y2="{chance}" stroke="#999" stroke-dasharray="4 3"/>'
    )
    parts += [_curve(curve, lengths, color[kind]) for kind, curve in lines.items()]
    return "\n".join(parts)


def _curve(curve: Curve, lengths: list[int], color: str) -> str:
    means = [(T, point.mean) for T, point in curve.items()]
    line = " ".join(f"{_x(T, lengths):.1f},{_y(mean):.1f}" for T, mean in means if mean is not None)
    dots = [
        f'<circle cx="{_x(T, lengths):.1f}" cy="{_y(accuracy):.1f}" r="2.5" fill="{color}"/>'
        for T, point in curve.items()
        for accuracy in point.accuracies
    ]
    return "\n".join([f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="1.8"/>', *dots])


def _x(num_steps: int, lengths: list[int]) -> float:
    """Logarithmic; a single length stands in the middle."""
    width = PANEL_WIDTH - LEFT - RIGHT - 20
    low, high = math.log(lengths[0]), math.log(lengths[-1])
    share = (math.log(num_steps) - low) / (high - low) if high > low else 0.5
    return LEFT + 10 + width * share


def _y(accuracy: float) -> float:
    return TOP + (PANEL_HEIGHT - TOP - BOTTOM) * (1.0 - accuracy)


def _legend(color: Mapping[str, str]) -> str:
    parts = []
    for i, (kind, shade) in enumerate(color.items()):
        x = i * LEGEND_STEP
        parts.append(f'<line x1="{x}" x2="{x + 18}" y1="0" y2="0" stroke="{shade}" stroke-width="3"/>')
        parts.append(f'<text x="{x + 24}" y="4">{escape(kind)}</text>')
    return "\n".join(parts)
