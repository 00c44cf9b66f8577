"""A text cut into stretches that tokens cover and those between them, for showing shares in the text."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Passage:
    """A stretch of the text. tokens: those that stand there; none between tokens, several where one character
    became several tokens."""

    text: str
    tokens: tuple[int, ...]


def passages(text: str, spans: Sequence[tuple[int, int]]) -> list[Passage]:
    """Together they are the whole text. Spans that overlap become one; an empty one belongs to the stretch
    before it."""
    found: list[Passage] = []
    start = end = 0
    members: list[int] = []
    for token, (first, last) in enumerate(spans):
        if (members and first < end) or first == last:
            members.append(token)
            end = max(end, last)
            continue
        _close(found, text, start, end, members)
        _close(found, text, end, first, [])
        start, end, members = first, last, [token]
    _close(found, text, start, end, members)
    _close(found, text, end, len(text), [])
    return found


def _close(found: list[Passage], text: str, start: int, end: int, members: list[int]) -> None:
    if members or start < end:
        found.append(Passage(text[start:end], tuple(members)))
