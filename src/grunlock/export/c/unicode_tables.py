"""Tables of characters for the C front end, made by asking the tokeniser's own library.

Its versions of Unicode differ from Python's, and from each other (NFKC is older than lowercase). Classes of
combining marks and pairs that compose come from Python, as far as the library knows them too. How tables are
packed is unicode_arrays.py's.
"""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tokenizers import normalizers, pre_tokenizers

UnicodeRange = Literal["ascii", "latin", "full"]
Flags = NDArray[np.bool_]
Classes = NDArray[np.uint8]

SPACE, LETTER, SIGN = 1, 2, 3  # grunlock_class
LAST = 0x110000
SURROGATES = range(0xD800, 0xE000)
HANGUL = range(0xAC00, 0xD7A4)  # composed by arithmetic
CAPITAL_DOTTED_I = 0x130  # the one character whose lowercase is two
BLOCK = 256
LOWEST_MARK, HIGHEST_MARK = "\u0334", "\u0345"  # of combining classes 1 and 240
LATIN = (
    range(0x0000, 0x02B0),  # with IPA
    range(0x0300, 0x0370),  # combining marks
    range(0x1E00, 0x1F00),
    range(0x2000, 0x2190),  # punctuation, superscripts, currencies, fractions
    range(0xFB00, 0xFB07),  # ligatures
    range(0xFF00, 0xFF5F),  # full width
)

CaseRun = tuple[int, int, int, int]  # first, count, stride, shift


@dataclass(frozen=True)
class UnicodeTables:
    """What grunlock_unicode.h declares, before it is packed.

    class_runs, mark_runs: (first character, class) wherever it changes, from 0 on
    case_runs:             characters with a lowercase of one character
    decompositions:        in full, but for Hangul
    pairs:                 what two characters become
    """

    class_runs: tuple[tuple[int, int], ...]
    mark_runs: tuple[tuple[int, int], ...]
    case_runs: tuple[CaseRun, ...]
    decompositions: dict[int, str]
    pairs: dict[tuple[int, int], int]


@cache
def unicode_tables(
    covered: UnicodeRange, *, lowercase: bool, words: bool, python_spaces: bool
) -> UnicodeTables:
    """The tables for what is covered, and for what that becomes. Characters outside stay as they are; they
    are letters or signs, whichever most of their block of 256 is.

    words: letters and signs are told apart; python_spaces: whitespace is what str.split takes for it
    """
    inside = np.ones(LAST, np.bool_) if covered == "full" else _marked(c for run in LATIN for c in run)
    decompositions = {c: text for c, text in _decompositions().items() if inside[c]}
    inside |= _marked(ord(letter) for text in decompositions.values() for letter in text)
    pairs = {pair: whole for pair, whole in _pairs().items() if inside[list(pair)].all()}
    inside |= _marked(pairs.values())
    lower = {c: small for c, small in _lowercase().items() if inside[c]} if lowercase else {}
    inside |= _marked(lower.values())
    classes = _word_classes() if words else _plain_classes()
    if python_spaces:
        classes = _with_python_spaces(classes)
    return UnicodeTables(
        _runs(_coarse_outside(classes, inside)),
        _runs(np.where(inside, _mark_classes(), 0)),
        _case_runs(lower),
        decompositions,
        pairs,
    )


def _marked(characters: Any) -> Flags:
    flags = np.zeros(LAST, np.bool_)
    flags[list(characters)] = True
    return flags


def _each(normalize: Callable[[str], str]) -> dict[int, str]:
    """What becomes of every character, where it changes. One call: a million would take seconds."""
    characters = [chr(c) for c in range(LAST) if c not in SURROGATES and c != ord("\n")]
    results = normalize("\n".join(characters)).split("\n")
    return {ord(old): new for old, new in zip(characters, results, strict=True) if old != new}


@cache
def _decompositions() -> dict[int, str]:
    found = _each(normalizers.NFKD().normalize_str)
    return {c: text for c, text in found.items() if c not in HANGUL}


@cache
def _lowercase() -> dict[int, int]:
    found = _each(normalizers.Lowercase().normalize_str)
    return {c: ord(text) for c, text in found.items() if c != CAPITAL_DOTTED_I}


@cache
def _pairs() -> dict[tuple[int, int], int]:
    compose, found = normalizers.NFC().normalize_str, {}
    for c in range(LAST):
        parts = unicodedata.decomposition(chr(c)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            first, second = (int(part, 16) for part in parts)
            if compose(chr(first) + chr(second)) == chr(c):
                found[first, second] = c
    return found


@cache
def _mark_classes() -> Classes:
    """The canonical combining class of every mark that the library puts in order."""
    reorder = normalizers.NFD().normalize_str
    found = np.zeros(LAST, np.uint8)
    for c in range(LAST):
        own_class, mark = unicodedata.combining(chr(c)), chr(c)
        if own_class == 0 or c in _decompositions():
            continue
        behind = reorder(f"a{mark}{LOWEST_MARK}") == f"a{LOWEST_MARK}{mark}"
        before = reorder(f"a{HIGHEST_MARK}{mark}") == f"a{mark}{HIGHEST_MARK}"
        if behind or before:
            found[c] = own_class
    return found


def _everything() -> str:
    return "".join(chr(c) for c in range(LAST) if c not in SURROGATES)


def _place_of(character: int) -> int:
    """In _everything."""
    return character if character < SURROGATES.start else character - len(SURROGATES)


def _spread(of_everything: Classes) -> Classes:
    """By character instead of by place in _everything; surrogates are signs."""
    gap = np.full(len(SURROGATES), SIGN, np.uint8)
    return np.insert(of_everything, SURROGATES.start, gap)


@cache
def _word_classes() -> Classes:
    """Space, letter or sign, by where the library's split into words cuts all characters in a row."""
    split = pre_tokenizers.Whitespace().pre_tokenize_str
    found = np.full(_place_of(LAST), SPACE, np.uint8)
    for piece, (start, end) in split(_everything()):
        is_letter = len(split(f"a{piece[0]}a")) == 1
        found[start:end] = LETTER if is_letter else SIGN
    return _spread(found)


@cache
def _plain_classes() -> Classes:
    """Space or not, for tokens of one character."""
    found = np.full(_place_of(LAST), SPACE, np.uint8)
    for _, (start, end) in pre_tokenizers.WhitespaceSplit().pre_tokenize_str(_everything()):
        found[start:end] = LETTER
    return _spread(found)


def _with_python_spaces(classes: Classes) -> Classes:
    spaces = [c for c in range(LAST) if chr(c).isspace()]
    found = np.where(classes == SPACE, LETTER, classes)
    found[spaces] = SPACE
    return found


def _coarse_outside(classes: Classes, inside: Flags) -> Classes:
    blocks = classes.reshape(-1, BLOCK)
    letters = (blocks == LETTER).sum(axis=1) * 2 >= BLOCK
    coarse = np.repeat(np.where(letters, LETTER, SIGN).astype(np.uint8), BLOCK)
    found: Classes = np.where(inside | (classes == SPACE), classes, coarse)
    return found


def _runs(classes: Classes) -> tuple[tuple[int, int], ...]:
    starts = np.flatnonzero(np.diff(classes, prepend=classes[0])).tolist()
    return tuple((start, int(classes[start])) for start in [0, *starts])


def _case_runs(lower: dict[int, int]) -> tuple[CaseRun, ...]:
    """Neighbours, or every second character, that are as far from their lowercase."""
    runs: list[CaseRun] = []
    for c in sorted(lower):
        shift = lower[c] - c
        if runs:
            first, count, stride, own_shift = runs[-1]
            step = c - (first + (count - 1) * stride)
            if shift == own_shift and (step == stride or (count == 1 and step <= 2)):
                runs[-1] = (first, count + 1, step, shift)
                continue
        runs.append((c, 1, 1, shift))
    return tuple(runs)
