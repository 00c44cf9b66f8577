"""Tokens that make up words: the shares of both. No torch."""

from collections.abc import Sequence

import numpy as np

from grunlock.explanation.results import TokenShare, WordShare
from grunlock.text.front_end import WHOLE_WORDS, TextFrontEnd
from grunlock.text.spans import Span, word_spans


def word_shares(
    front_end: TextFrontEnd, text: str, tokens: Sequence[TokenShare]
) -> tuple[WordShare, ...] | None:
    """None where the model reads whole words: those are not divided."""
    if front_end.tokens in WHOLE_WORDS and front_end.tokens != "characters":
        return None
    spans = [(token.start, token.end) for token in tokens]
    found = []
    for first, last in grouped(spans, word_spans(front_end, text)):
        start, end = spans[first][0], max(stop for _, stop in spans[first : last + 1])
        shares = np.sum([token.shares for token in tokens[first : last + 1]], axis=0)
        found.append(WordShare(text[start:end], start, end, first, last, tuple(shares.tolist())))
    return tuple(found)


def grouped(tokens: Sequence[Span], words: Sequence[Span]) -> list[tuple[int, int]]:
    """First and last token of each word; tokens and words rise. A token in no word stands alone, and words
    that one token touches stand together."""
    groups: list[tuple[int, int]] = []
    word, reach = 0, -1  # reach: where the word of the last token ends
    for place, (start, end) in enumerate(tokens):
        while word < len(words) and words[word][1] <= start:
            word += 1
        joins = bool(groups) and start < reach
        touched = [stop for begin, stop in words[word:] if begin < end] if end > start else []
        reach = max([reach if joins else -1, *touched])
        if joins:
            groups[-1] = (groups[-1][0], place)
        else:
            groups.append((place, place))
    return groups
