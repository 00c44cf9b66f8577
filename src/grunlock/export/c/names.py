"""Another prefix than grunlock for all names of a C export, so that several models fit into one program."""

import re
from collections.abc import Iterable, Mapping

from grunlock.errors import ExportError

PREFIX = "grunlock"
GENERATED = ("model_weights", "unicode_tables")  # beginnings of file names that have no prefix of their own
ALLOWED = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
LONGEST = 31  # characters of a name that C99 promises to tell apart where linkers are old
WORD = re.compile(r"[A-Za-z_]\w*")
TEXT = r'(?<!#include )"(?:\\.|[^"\\\n])*"'  # labels among them, which stay as they are
OURS = re.compile(rf"{TEXT}|\b{PREFIX}_|\b{PREFIX.upper()}_|\b(?=(?:{'|'.join(GENERATED)})[_.])")


def check_prefix(prefix: str) -> None:
    """Raises ExportError for what C names cannot begin with."""
    if not ALLOWED.fullmatch(prefix) or len(prefix) > LONGEST:
        raise ExportError(
            "Names in C cannot begin with this.",
            where="--prefix",
            got=prefix,
            expected=f"small letters, digits and single underscores, a letter first, at most {LONGEST}",
        )


def renamed(text: str, prefix: str) -> str:
    """C text whose names begin otherwise; its strings stay."""
    return text if prefix == PREFIX else OURS.sub(lambda found: _renamed(found[0], prefix), text)


def _renamed(found: str, prefix: str) -> str:
    if found.startswith('"'):
        return found
    return f"{prefix.upper() if found.isupper() else prefix}_"


def renamed_files(texts: Mapping[str, str], prefix: str) -> dict[str, str]:
    """Sources by file name. Raises ExportError for a prefix that makes a name which they have already."""
    if prefix == PREFIX:
        return dict(texts)
    taken = _words(texts.values())
    ours = {word for word in taken if word.lower().startswith(f"{PREFIX}_")}
    twice = sorted({renamed(word, prefix) for word in ours} & (taken - ours))
    if twice:
        raise ExportError(
            "The sources have such names already.",
            where="--prefix",
            got=prefix,
            expected=f"a prefix that does not make {', '.join(twice)}",
        )
    return {renamed(name, prefix): renamed(text, prefix) for name, text in texts.items()}


def _words(texts: Iterable[str]) -> set[str]:
    return {word for text in texts for word in WORD.findall(text)}
