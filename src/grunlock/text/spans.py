"""Where in a text each token stands, in characters of the text as it was given.

Normalising may change lengths ("ﬁ" becomes two letters, a letter and its accent one), so spans are followed
through it by the tokenizers library. What becomes several tokens is the span of each of them; no span is
guessed.
"""

import re
import unicodedata
from collections.abc import Iterable

from tokenizers import Tokenizer, models, pre_tokenizers

from grunlock.text.front_end import TextFrontEnd
from grunlock.text.script import is_han
from grunlock.text.segmentation import chinese_words
from grunlock.text.token_kinds import UNKNOWN, UNKNOWN_ID

Span = tuple[int, int]  # [start, end) in characters

WORD = re.compile(r"\w+|[^\w\s]+")


def token_spans(front_end: TextFrontEnd, text: str) -> list[Span]:
    """A span for each token that `front_end.encode` gives of the text; (0, 0) for that of an empty one."""
    if front_end.tokens == "chinese_words":
        spans = word_spans(front_end, text)
    else:
        spans = [(start, end) for start, end in front_end.tokenizer.encode(text).offsets]
    if front_end.tokens == "characters" and front_end.ngrams is not None:
        # TextFrontEnd takes what Python calls whitespace for a space, which is more than the library does.
        spans = [(start, end) for start, end in spans if not _is_space(front_end, text[start:end])]
    spans = [_trimmed(text, span) for span in spans]
    return front_end.shortened(_with_marks(text, spans)) or [(0, 0)]


def word_spans(front_end: TextFrontEnd, text: str) -> list[Span]:
    """Of each word of the text as the front end normalises it: rjieba's words where it is Chinese, else runs
    of letters and digits, and of signs."""
    normalized, sources = _normalized(front_end, text)
    if front_end.tokens == "chinese_words" or any(map(is_han, normalized)):
        found = _places(normalized, (piece for word in chinese_words(normalized) for piece in word.split()))
    else:
        found = [match.span() for match in WORD.finditer(normalized)]
    spans = [(sources[start][0], max(end for _, end in sources[start:stop])) for start, stop in found]
    return _with_marks(text, spans)


def _places(text: str, words: Iterable[str]) -> list[Span]:
    """Where words that follow one another in the text stand."""
    found, end = [], 0
    for word in words:
        start = text.index(word, end)
        end = start + len(word)
        found.append((start, end))
    return found


def _normalized(front_end: TextFrontEnd, text: str) -> tuple[str, list[Span]]:
    """The normalised text, and of each of its characters the span it came of."""
    each = Tokenizer(models.WordLevel({UNKNOWN: UNKNOWN_ID}, UNKNOWN))
    each.normalizer = front_end.tokenizer.normalizer
    each.pre_tokenizer = pre_tokenizers.FixedLength(length=1)
    normalized: str = each.normalizer.normalize_str(text)
    return normalized, each.encode(text).offsets


def _is_space(front_end: TextFrontEnd, piece: str) -> bool:
    return not front_end.tokenizer.normalizer.normalize_str(piece).split()


def _with_marks(text: str, spans: list[Span]) -> list[Span]:
    """An accent that normalising joins to its letter is in the letter's span; the library leaves it out."""
    claimed = {start for start, _ in spans}
    found = []
    for start, end in spans:
        while start < end < len(text) and end not in claimed and unicodedata.category(text[end])[0] == "M":
            end += 1
        found.append((start, end))
    return found


def _trimmed(text: str, span: Span) -> Span:
    """Without whitespace at its ends: pieces of words begin with the space in front of them."""
    start, end = span
    piece = text[start:end]
    if not piece.strip():
        return span
    return start + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip())
