"""Inline SVG of explanation pages."""

from collections.abc import Sequence
from html import escape

from grunlock.explanation.faithfulness import Faithfulness
from grunlock.explanation.results import Explanation

BAR = 26  # units of a token
HEIGHT = 90
LABEL_SPACE = 70
MAX_LETTERS = 9  # of a token below its bar
DASHES = ("none", "7 3", "2 3", "10 3 2 3", "1 4")  # of methods, so that colour is not all that tells them
PLOT_WIDTH, PLOT_HEIGHT = 270, 170  # fits a phone


def gates_drawing(exact: Explanation) -> str:
    """Of each token how much of the state it rewrote, a bar, and how much of what it wrote is left at the
    end, a line; nothing for an encoder without gates."""
    tokens = exact.tokens
    values = [(token.rewrote, token.survived) for token in tokens]
    known = [(rewrote, left) for rewrote, left in values if rewrote is not None and left is not None]
    if not known:
        return ""
    width = BAR * len(tokens) + 20
    bars, names, points = [], [], []
    for i, (rewrote, left) in enumerate(known):
        x = 10 + i * BAR
        height = rewrote * HEIGHT
        text = tokens[i].text
        short = text if len(text) <= MAX_LETTERS else text[: MAX_LETTERS - 1] + "…"
        bars.append(
            f'<rect class="rewrote" x="{x + 3}" y="{HEIGHT - height + 5:.1f}" width="{BAR - 6}" '
            f'height="{height:.1f}"><title>{escape(text)}: rewrote {rewrote:.0%}, {left:.0%} left</title>'
            "</rect>"
        )
        points.append(f"{x + BAR / 2:.0f},{HEIGHT - left * HEIGHT + 5:.1f}")
        place = f"{x + BAR / 2 + 3:.0f} {HEIGHT + 14}"
        names.append(f'<text transform="translate({place}) rotate(50)">{escape(short)}</text>')
    drawing = (
        f'<svg width="{width}" height="{HEIGHT + LABEL_SPACE}" role="img" aria-label="Gates of each token">'
        f'<line class="axis" x1="5" x2="{width - 5}" y1="{HEIGHT + 5}" y2="{HEIGHT + 5}"/>'
        f'{"".join(bars)}<polyline class="survived" points="{" ".join(points)}"/>{"".join(names)}</svg>'
    )
    unit = "token" if exact.kind == "text" else "step"
    return (
        f"<figure><figcaption>Gates, 0 to 100%: bars, how much of the state each {unit} rewrote; line, how "
        'much of what it wrote is left at the end (mean of the directions)</figcaption><div class="scroll" '
        f'tabindex="0" role="region" aria-label="Gates">{drawing}</div></figure>'
    )


def curves_drawing(found: Faithfulness) -> str:
    """Probability against the fraction of tokens hidden or shown, a line for each method."""
    parts = []
    for name, rows in (
        ("deletion", [each.deletion for each in found.methods]),
        ("insertion", [each.insertion for each in found.methods]),
    ):
        lines = "".join(_line(found.fractions, row, place) for place, row in enumerate(rows))
        parts.append(
            f'<svg width="{PLOT_WIDTH + 50}" height="{PLOT_HEIGHT + 40}" role="img" '
            f'aria-label="Probability under {name}">{_axes(name)}{lines}</svg>'
        )
    keys = "".join(
        f'<svg width="34" height="10" aria-hidden="true"><line x1="2" x2="32" y1="5" y2="5" '
        f'style="{_stroke(place)}"/></svg> {escape(each.method.replace("_", " "))} &ensp; '
        for place, each in enumerate(found.methods)
    )
    return (
        f'<figure><figcaption>{keys}</figcaption><div class="scroll" tabindex="0" role="region" '
        f'aria-label="Curves">{"".join(parts)}</div></figure>'
    )


def _axes(name: str) -> str:
    bottom, right = PLOT_HEIGHT + 8, PLOT_WIDTH + 40
    ticks = "".join(
        f'<line class="axis" x1="36" x2="{right}" y1="{y:.0f}" y2="{y:.0f}"/>'
        f'<text x="30" y="{y + 4:.0f}" text-anchor="end">{value:g}</text>'
        for value in (0.0, 0.5, 1.0)
        for y in (bottom - value * PLOT_HEIGHT,)
    )
    below = "hidden" if name == "deletion" else "shown"
    label = f"{name}: tokens {below}, 0 to 100%"
    return f'{ticks}<text x="{right}" y="{bottom + 20}" text-anchor="end">{label}</text>'


def _line(fractions: Sequence[float], row: Sequence[float], place: int) -> str:
    points = " ".join(
        f"{38 + x * PLOT_WIDTH:.1f},{PLOT_HEIGHT + 8 - y * PLOT_HEIGHT:.1f}"
        for x, y in zip(fractions, row, strict=True)
    )
    return f'<polyline points="{points}" style="fill:none;{_stroke(place)}"/>'


def _stroke(place: int) -> str:
    colour = ("var(--bar)", "var(--left)", "var(--ink)", "var(--faint)", "var(--ink)")[place % 5]
    return f"stroke:{colour};stroke-width:2;stroke-dasharray:{DASHES[place % len(DASHES)]}"
