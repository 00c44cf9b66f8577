"""Which writing system a collection of texts uses, and the kind of token that suits it.

Looks at letters only and at a bounded sample; it does not tell languages of one script apart.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from typing import Literal

Script = Literal["spaced", "han", "unspaced"]

HAN = [(0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF)]
UNSPACED = [
    (0x0E00, 0x0E7F),  # Thai
    (0x0E80, 0x0EFF),  # Lao
    (0x0F00, 0x0FFF),  # Tibetan
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x31F0, 0x31FF),  # Katakana extensions
    (0xA9E0, 0xA9FF),  # Myanmar extended B
    (0xAA60, 0xAA7F),  # Myanmar extended A
    (0xFF66, 0xFF9F),  # halfwidth Katakana
]

SAMPLE_TEXTS = 10_000
SAMPLE_CHARACTERS = 200  # of each text

# A Han or Kana letter says more than a Latin one, of which a word has five, so less than half is enough.
UNSPACED_SHARE = 0.3
KANA_SHARE = 0.1  # of Han and unspaced letters: Japanese mixes the two, Chinese has almost no Kana


class TextSample:
    """A bounded, evenly spread sample of a stream of unknown length."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._stride = 1
        self._seen = 0

    def add(self, text: str) -> None:
        if self._seen % self._stride == 0:
            self.texts.append(text[:SAMPLE_CHARACTERS])
            if len(self.texts) == SAMPLE_TEXTS:
                self.texts = self.texts[::2]
                self._stride *= 2
        self._seen += 1


def detect_script(texts: Iterable[str]) -> Script:
    """The writing system of most of the texts. Texts without letters count as spaced."""
    sample = TextSample()
    for text in texts:
        sample.add(text)
    letters: Counter[str] = Counter()
    for text in sample.texts:
        letters.update(text)
    count: Counter[Script] = Counter()
    for letter, times in letters.items():
        if letter.isalpha():
            count[_script_of(letter)] += times
    without_spaces = count["han"] + count["unspaced"]
    if without_spaces == 0 or without_spaces < UNSPACED_SHARE * count.total():
        return "spaced"
    return "unspaced" if count["unspaced"] >= KANA_SHARE * without_spaces else "han"


def default_tokens(script: Script) -> Literal["words", "characters"]:
    """The kind of token that `tokens = "auto"` stands for."""
    return "words" if script == "spaced" else "characters"


def is_han(letter: str) -> bool:
    return _script_of(letter) == "han"


def _script_of(letter: str) -> Script:
    point = ord(letter)
    for script, ranges in _RANGES.items():
        at = bisect_right(ranges, (point, 0x110000)) - 1
        if at >= 0 and point <= ranges[at][1]:
            return script
    return "spaced"


_RANGES: dict[Script, list[tuple[int, int]]] = {"han": sorted(HAN), "unspaced": sorted(UNSPACED)}
