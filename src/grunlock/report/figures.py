"""Charts as plain data for Plotly. Colours are roles, such as `@ink`, which the page replaces by those of its
theme; a series differs from others by its marks or dashes too, never by colour alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grunlock.report.words import LONGEST_NAME, cut

Figure = dict[str, Any]
INK, QUIET, GRID, PAPER = "@ink", "@quiet", "@grid", "@paper"
COLOURS = ("@1", "@2", "@3", "@4", "@5", "@6")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star")
SCALE = [[0.0, "@paper"], [1.0, "@heat"]]  # both far enough from the ink of the numbers on it
MOST_POINTS = 1_500  # of a line; more cannot be seen
FEW_STEPS = 12
MOST_CELL_TEXTS = 15  # classes of a confusion matrix whose cells hold numbers


@dataclass(frozen=True)
class Line:
    """A series over x. marks: points instead of a line. stepped: constant until the next x."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    marks: bool = False
    both: bool = False
    stepped: bool = False


@dataclass(frozen=True)
class Span:
    """A value with its interval. strong: what is drawn full, the others hollow. minus: what is taken from it,
    if it is a difference of two."""

    name: str
    value: float
    low: float
    high: float
    strong: bool
    minus: str | None = None


def figure(data: Sequence[Mapping[str, Any]], **layout: Any) -> Figure:
    return {"data": list(data), "layout": layout}


def axis(title: str, **rest: Any) -> dict[str, Any]:
    return {"title": {"text": title}, **rest}


def whole_steps(last: float) -> dict[str, Any]:
    """Ticks at whole numbers, where so few steps would else have ticks between them."""
    return {"dtick": 1} if 1 < last <= FEW_STEPS else {}


def named(names: Sequence[str]) -> dict[str, Any]:
    """Ticks 0, 1, ... with the user's names, which may be long, equal when cut, or look like markup."""
    return {"tickvals": list(range(len(names))), "ticktext": [tick(name) for name in names]}


def tick(name: str) -> str:
    return plain(cut(name, LONGEST_NAME))


def plain(text: str) -> str:
    """A text that Plotly shows as it is, which else would read some HTML in it."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def thinned(values: Sequence[Any], most: int = MOST_POINTS) -> list[int]:
    """Places of at most so many values, evenly spread, first and last among them."""
    if len(values) <= most:
        return list(range(len(values)))
    return [round(i * (len(values) - 1) / (most - 1)) for i in range(most)]


def lines(
    series: Sequence[Line], x_title: str, y_title: str, *, marked: Mapping[str, float] | None = None, **y: Any
) -> Figure:
    """marked: vertical lines by name. y: of the axis, such as type="log"."""
    traces = []
    for k, each in enumerate(series):
        places = thinned(each.x)
        traces.append(
            {
                "type": "scatter",
                "name": plain(each.name),
                "mode": "markers" if each.marks else "lines+markers" if each.both else "lines",
                "x": [each.x[i] for i in places],
                "y": [each.y[i] for i in places],
                "line": {
                    "color": COLOURS[k % 6],
                    "dash": DASHES[k % 6],
                    "width": 2,
                    "shape": "hv" if each.stepped else "linear",
                },
                "marker": {"color": COLOURS[k % 6], "symbol": SYMBOLS[k % 6], "size": 7},
            }
        )
    vertical = [_vertical(x) for x in (marked or {}).values()]
    last = max((max(each.x, default=0.0) for each in series), default=0.0)
    words = [
        _words_at(x, name, towards="right" if 2 * x > last else "left") for name, x in (marked or {}).items()
    ]
    return figure(
        traces,
        xaxis=axis(x_title, **whole_steps(last)),
        yaxis=axis(y_title, **y),
        shapes=vertical,
        annotations=words,
        showlegend=len(series) > 1,
    )


def spans(rows: Sequence[Span], x_title: str) -> Figure:
    """A row each, from above, with a line at no difference."""
    traces = []
    for strong, symbol in ((True, "circle"), (False, "circle-open")):
        places = [i for i, row in enumerate(rows) if row.strong is strong]
        chosen = [rows[i] for i in places]
        colour = COLOURS[0] if strong else QUIET
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": "a difference is shown" if strong else "no difference shown",
                "x": [row.value for row in chosen],
                "y": places,
                "hoverinfo": "x",
                "error_x": {
                    "type": "data",
                    "symmetric": False,
                    "array": [row.high - row.value for row in chosen],
                    "arrayminus": [row.value - row.low for row in chosen],
                    "color": colour,
                    "thickness": 2,
                },
                "marker": {
                    "color": colour,
                    "symbol": symbol,
                    "size": 11,
                    "line": {"width": 2, "color": colour},
                },
            }
        )
    zero = {"type": "line", "x0": 0, "x1": 0, "yref": "paper", "y0": 0, "y1": 1}
    return figure(
        traces,
        xaxis=axis(x_title, zeroline=False, rangemode="tozero"),
        yaxis={
            "tickvals": list(range(len(rows))),
            "ticktext": [_of_two(row) for row in rows],
            **downwards(len(rows)),
        },
        shapes=[{**zero, "line": {"color": INK, "width": 1}}],
        showlegend=True,
    )


def _of_two(row: Span) -> str:
    return tick(row.name) if row.minus is None else f"{tick(row.name)}<br>minus {tick(row.minus)}"


@dataclass(frozen=True)
class Move:
    """A bar of a waterfall: a level from 0, or a change from `start`. error: (below, above) its end."""

    name: str
    start: float
    change: float
    is_level: bool
    error: tuple[float, float] | None = None


def waterfall(moves: Sequence[Move], x_title: str) -> Figure:
    """From above to below. The axis begins near the lowest end, which is why levels carry their number."""
    ends = [
        end
        for move in moves
        for end in ((move.start if not move.is_level else None), move.start + move.change)
    ]
    known = [end for end in ends if end is not None]
    low, high = min(known), max(known)
    left = max(0.0, low - 0.25 * max(high - low, 1.0))
    traces = []
    for name, colour, pattern, chosen in (
        ("level", QUIET, "", [m.is_level for m in moves]),
        ("gain", COLOURS[0], "", [not m.is_level and m.change >= 0 for m in moves]),
        ("loss", COLOURS[1], "/", [not m.is_level and m.change < 0 for m in moves]),
    ):
        places = [i for i, wanted in enumerate(chosen) if wanted]
        if not places:
            continue
        errors = [moves[i].error or (None, None) for i in places]
        traces.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": name,
                "y": places,
                "x": [moves[i].change - (left if moves[i].is_level else 0.0) for i in places],
                "base": [left if moves[i].is_level else moves[i].start for i in places],
                "hoverinfo": "skip",
                "marker": {
                    "color": colour,
                    "pattern": {"shape": pattern, "bgcolor": colour, "fgcolor": PAPER, "size": 6},
                },
                "error_x": {
                    "type": "data",
                    "symmetric": False,
                    "array": [above for _, above in errors],
                    "arrayminus": [below for below, _ in errors],
                    "color": INK,
                    "thickness": 1.5,
                    "visible": any(moves[i].error is not None for i in places),
                },
            }
        )
    return figure(
        traces,
        xaxis=axis(x_title),
        yaxis={
            "tickvals": list(range(len(moves))),
            "ticktext": [f"{tick(move.name)}<br>{_amount(move)}" for move in moves],
            **downwards(len(moves)),
        },
        showlegend=True,
        bargap=0.35,
    )


def _amount(move: Move) -> str:
    return f"{move.change:.2f}" if move.is_level else f"{move.change:+.2f}"


def downwards(count: int) -> dict[str, Any]:
    """Rows 0, 1, ... from above, with room for the first and the last."""
    return {"range": [count - 0.4, -0.6], "showgrid": False}


def matrix(counts: Sequence[Sequence[int]], labels: Sequence[str]) -> Figure:
    """Rows: the right class; columns: the answer. Shaded within each row, whose class may be rare."""
    shades = [[cell / max(sum(row), 1) for cell in row] for row in counts]
    few = len(labels) <= MOST_CELL_TEXTS
    names = named(labels) if len(labels) <= 3 * MOST_CELL_TEXTS else {"showticklabels": False, "ticks": ""}
    shown = [tick(label) for label in labels]
    trace = {
        "type": "heatmap",
        "z": shades,
        "text": [[str(cell) if cell else "" for cell in row] for row in counts],
        "hovertext": [
            [f"{shown[i]} → {shown[j]}: {cell}" for j, cell in enumerate(row)] for i, row in enumerate(counts)
        ],
        "hoverinfo": "text",
        "colorscale": SCALE,
        "zmin": 0,
        "zmax": 1,
        "showscale": False,
        "xgap": 1 if few else 0,
        "ygap": 1 if few else 0,
        **({"texttemplate": "%{text}", "textfont": {"color": INK}} if few else {}),
    }
    return figure(
        [trace],
        xaxis={**axis("answer"), **names, "showgrid": False, "tickangle": -40},
        yaxis={**axis("right class"), **names, "showgrid": False, "autorange": "reversed"},
    )


def diagonal(
    x: Sequence[float], y: Sequence[float], low: Sequence[float], high: Sequence[float], sizes: Sequence[int]
) -> Figure:
    """Bins of a reliability diagram, in percent, beside the line of honesty."""
    honest = {
        "type": "scatter",
        "mode": "lines",
        "name": "honest",
        "x": [0, 100],
        "y": [0, 100],
        "line": {"color": QUIET, "dash": "dash", "width": 1.5},
        "hoverinfo": "skip",
    }
    bins = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": "bins, 95 % intervals",
        "x": list(x),
        "y": list(y),
        "text": [f"{size} examples" for size in sizes],
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [b - a for a, b in zip(y, high, strict=True)],
            "arrayminus": [a - b for a, b in zip(y, low, strict=True)],
            "color": COLOURS[0],
        },
        "line": {"color": COLOURS[0], "width": 1.5},
        "marker": {"color": COLOURS[0], "size": 8},
    }
    least = max(0.0, min([*x, *low]) - 4)
    return figure(
        [honest, bins],
        xaxis=axis("mean probability, %", range=[least, 101]),
        yaxis=axis("right, %", range=[least, 101]),
        showlegend=True,
    )


def scatter(
    groups: Mapping[str, Sequence[tuple[float, float]]], x: Mapping[str, Any], y: Mapping[str, Any]
) -> Figure:
    """groups: (x, y) of each point, by what the points are. x, y: axes."""
    traces = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": tick(name),
            "x": [point[0] for point in found],
            "y": [point[1] for point in found],
            "hoverinfo": "name+x+y",
            "marker": {"color": COLOURS[k % 6], "symbol": SYMBOLS[k % 6], "size": 10},
        }
        for k, (name, found) in enumerate(groups.items())
    ]
    return figure(traces, xaxis=dict(x), yaxis=dict(y), showlegend=len(groups) > 1)


def _vertical(x: float) -> dict[str, Any]:
    place = {"type": "line", "x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1}
    return {**place, "line": {"color": QUIET, "width": 1, "dash": "dot"}}


def _words_at(x: float, text: str, towards: str) -> dict[str, Any]:
    place = {"x": x, "y": 1, "yref": "paper", "xanchor": towards, "yanchor": "top", "showarrow": False}
    return {**place, "text": plain(text), "font": {"color": QUIET, "size": 12}}
