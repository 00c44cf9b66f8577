"""From a page to one HTML file that needs nothing else: style, script, Plotly and all data are inside."""

import json
from dataclasses import dataclass
from importlib import resources
from itertools import count
from typing import Any

from grunlock._version import __version__
from grunlock.report.page import Chart, Page

TEMPLATE = "template"


@dataclass(frozen=True)
class Numbered:
    """A chart with the id of its element."""

    chart: Chart
    id: str


def render(page: Page) -> str:
    """The same bytes for the same page. Everything that comes from the user is escaped."""
    import jinja2
    from plotly.offline import get_plotlyjs

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_part),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    numbers = count(1)
    has_charts = any(part.kind == "chart" for section in page.sections for part in section.parts)
    return environment.get_template("report.html").render(
        page=page,
        numbered=lambda chart: Numbered(chart, f"chart-{next(numbers)}"),
        as_script=as_script,
        style=_part("style.css"),
        script=_part("report.js"),
        plotly=get_plotlyjs() if has_charts else "",
        version=__version__,
    )


def as_script(value: Any) -> str:
    """JSON that may stand inside a script element: nothing in it can end the element or begin another."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _part(name: str) -> str:
    return (resources.files("grunlock.report") / TEMPLATE / name).read_text(encoding="utf-8")
