"""Numbers as people read them, and texts cut to what can be read."""

from grunlock.report.page import Cell

LONGEST_TEXT = 600  # characters of an example's text
LONGEST_NAME = 22  # characters of a name beside an axis
NARROW = "\N{NO-BREAK SPACE}"  # between a number and its sign


def percent(share: float, decimals: int = 2) -> str:
    return f"{100 * share:.{decimals}f}{NARROW}%"


def points(difference: float, decimals: int = 2) -> str:
    """Of percentage, with its sign; 0 has none."""
    text = f"{100 * difference:+.{decimals}f}"
    return text[1:] if float(text) == 0 else text


def reach(low: float, high: float, decimals: int = 2) -> str:
    """An interval of shares."""
    return f"{100 * low:.{decimals}f} to {100 * high:.{decimals}f}{NARROW}%"


def points_reach(low: float, high: float) -> str:
    """An interval of differences."""
    return f"{points(low)} to {points(high)}"


def file_size(num_bytes: float) -> str:
    return f"{num_bytes / 1000:,.1f} KB" if num_bytes < 1e6 else f"{num_bytes / 1e6:,.2f} MB"


def duration(seconds: float) -> str:
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    return f"{seconds:,.1f} s" if seconds < 120 else f"{seconds / 60:,.1f} min"


def plural(count: int, one: str, many: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"


def share(value: float, decimals: int = 2) -> Cell:
    return Cell(percent(value, decimals), order=value)


def count(value: int) -> Cell:
    return Cell(f"{value:,}", order=value)


def number(value: float, form: str = ".4f") -> Cell:
    return Cell(format(value, form), order=value)


def signed(value: float) -> Cell:
    """A difference in points."""
    return Cell(points(value), order=value)


def p_value(value: float) -> Cell:
    return Cell("< 0.001" if value < 0.001 else f"{value:.3f}", order=value)
