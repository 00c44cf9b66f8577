"""Chinese word segmentation. The one place that knows rjieba; loaded at the first use."""

from grunlock.errors import MissingDependencyError


def chinese_words(text: str) -> list[str]:
    """The words of an already normalised text, whitespace dropped."""
    try:
        import rjieba
    except ImportError as error:
        raise MissingDependencyError(
            "Chinese words need rjieba.",
            where="text.tokens",
            got="rjieba is not installed",
            cure="pip install rjieba, or --set text.tokens=characters",
        ) from error
    words: list[str] = rjieba.cut(text)
    return [word for word in words if not word.isspace()]
