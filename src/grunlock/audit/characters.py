"""What texts are written in: writing systems, and traces of wrong decoding or of a web page."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from grunlock.audit.findings import Example, Finding, Severity
from grunlock.audit.rows import LabelledTexts
from grunlock.text.script import SAMPLE_CHARACTERS, UNSPACED_SHARE, detect_script

UNSPACED_NAMES = {"THAI", "LAO", "TIBETAN", "MYANMAR", "KHMER", "HIRAGANA", "KATAKANA", "HALFWIDTH"}
MAJORITY = 0.9  # share of the commonest writing system, above which another one is an exception

# UTF-8 read as Latin-1 or Windows-1252: the images of a lead byte and of what follows it.
UNDEFINED = {0x81, 0x8D, 0x8F, 0x90, 0x9D}  # in Windows-1252
_FOLLOWING = "[\u0080-\u00bf" + bytes(set(range(0x80, 0xA0)) - UNDEFINED).decode("cp1252") + "]"
_CYRILLIC_TWICE = f"(?:[ÐÑ]{_FOLLOWING}){{2}}"
TRACES = {
    "replacement_characters": re.compile("\ufffd"),
    "mojibake": re.compile(f"[ÃÂ]{_FOLLOWING}|â{_FOLLOWING}{{2}}|ï»¿|ï¿½|{_CYRILLIC_TWICE}"),
    "windows_1252": re.compile("[\u0080-\u009f]"),
    "control_characters": re.compile("[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]"),
    "html": re.compile(
        r"</?(?:a|b|br|div|em|font|h[1-6]|hr|i|img|li|ol|p|pre|script|span|strong|style|table|td|tr|u|ul)"
        r"(?:\s[^<>]*)?/?>|&(?:[a-z]{2,8}|#\d{2,6}|#x[0-9a-f]{2,5});",
        re.IGNORECASE,
    ),
}
ASCII_TRACES = ("control_characters", "html")  # all that a text in ASCII can hold
MESSAGES: dict[str, tuple[Severity, str, str]] = {
    "replacement_characters": (
        "warning",
        "the replacement character U+FFFD: letters were lost when the text was decoded",
        "read the source again with its own encoding",
    ),
    "mojibake": (
        "warning",
        "UTF-8 that was decoded as Latin-1, such as Ã© for é",
        "read the source as UTF-8, or text.encode('cp1252').decode()",
    ),
    "windows_1252": (
        "note",
        "quotes or dashes of Windows-1252 that were decoded as Latin-1 (U+0080 to U+009F)",
        "read the source with --set data.encoding=cp1252, or text.encode('latin-1').decode('cp1252')",
    ),
    "control_characters": ("note", "control characters", "remove them"),
    "html": ("note", "tags or entities of HTML", "strip tags and decode entities, here and in use alike"),
}


@dataclass(frozen=True)
class Characters:
    """rows: by trace, in order. systems: writing system of each row, None without letters."""

    rows: dict[str, tuple[int, ...]]
    systems: tuple[str | None, ...]

    def shares(self) -> dict[str, float]:
        """Share of each writing system among the texts with letters, the commonest first."""
        counts = Counter(system for system in self.systems if system is not None)
        return {name: count / counts.total() for name, count in counts.most_common()}


def examine_characters(texts: Sequence[str]) -> Characters:
    """Look for every trace in each text, and at its first letters."""
    rows: dict[str, list[int]] = {trace: [] for trace in TRACES}
    for i, text in enumerate(texts):
        for trace in ASCII_TRACES if text.isascii() else TRACES:
            if TRACES[trace].search(text):
                rows[trace].append(i)
    found = {trace: tuple(at) for trace, at in rows.items()}
    return Characters(found, tuple(map(writing_system, texts)))


def writing_system(text: str) -> str | None:
    """The system of the first letters: Han or another without spaces, as text.script says, or an alphabet."""
    start = text[:SAMPLE_CHARACTERS]
    if start.isascii():
        return "Latin" if any(map(str.isalpha, start)) else None
    alphabets = Counter(map(_alphabet, start))
    del alphabets[""]
    if not alphabets:
        return None
    han = alphabets["CJK"]
    if not any(name in UNSPACED_NAMES for name in alphabets):
        if han >= UNSPACED_SHARE * alphabets.total() > 0:
            return "Han"
    else:
        script = detect_script([start])
        if script != "spaced":
            return "Han" if script == "han" else "unspaced (Kana, Thai and the like)"
    return alphabets.most_common(1)[0][0].capitalize()


@cache
def _alphabet(character: str) -> str:
    """The first word of a letter's Unicode name, such as LATIN; empty for what is no letter."""
    if not character.isalpha():
        return ""
    first = unicodedata.name(character, "").partition(" ")[0].partition("-")[0]
    return "LATIN" if first in ("FULLWIDTH", "MODIFIER", "FEMININE", "MASCULINE", "MICRO") else first


def character_findings(found: Characters, data: LabelledTexts, max_examples: int) -> list[Finding]:
    findings = list(_traces(found, data, max_examples))
    shares = found.shares()
    if shares and len(shares) > 1:
        usual, share = next(iter(shares.items()))
        others = [i for i, system in enumerate(found.systems) if system not in (usual, None)]
        if share >= MAJORITY:
            findings.append(
                Finding(
                    "other_writing_system",
                    "note",
                    f"{len(others):,} of {len(data):,} texts are written in another system than {usual}: "
                    + ", ".join(f"{name} {part:.2%}" for name, part in list(shares.items())[1:6]),
                    len(others),
                    "make sure that the model is meant to read them",
                    tuple(Example((data.row(i),), found.systems[i]) for i in others[:max_examples]),
                )
            )
        else:
            findings.append(
                Finding(
                    "mixed_writing_systems",
                    "note",
                    "the texts are written in several systems: "
                    + ", ".join(f"{name} {part:.1%}" for name, part in list(shares.items())[:6]),
                    len(others),
                    "judge each system by itself: accuracy as a whole hides the rarer one",
                )
            )
    return findings


def _traces(found: Characters, data: LabelledTexts, max_examples: int) -> Iterator[Finding]:
    for trace, rows in found.rows.items():
        if rows:
            severity, what, cure = MESSAGES[trace]
            examples = tuple(
                Example((data.row(i),), _around(TRACES[trace], data.texts[i])) for i in rows[:max_examples]
            )
            message = f"{len(rows):,} of {len(data):,} texts ({len(rows) / len(data):.2%}) with {what}"
            yield Finding(trace, severity, message, len(rows), cure, examples)


def _around(pattern: re.Pattern[str], text: str) -> str:
    """The trace itself, in a form that can be printed."""
    match = pattern.search(text)
    return "" if match is None else repr(match.group())
