"""What the user knows and the file does not say."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from grunlock.doctor.findings import Unknown
from grunlock.doctor.foreign import PARTS, ForeignModel, Part
from grunlock.errors import DoctorError

Lengths = Literal["used", "ignored"]
TELL_POOLING = "--pooling last, max, mean, or several joined by commas"
TELL_FACTORY = "--from package.module:function, which makes the module, so that it can be tried"
TELL_LENGTHS = "--lengths used if the code packs sequences or masks pads, --lengths ignored if it does not"


@dataclass(frozen=True)
class Told:
    """pooling: how states become one vector. lengths: whether the code knows where texts end. factory:
    "package.module:function", which makes the torch module of a file of weights."""

    pooling: tuple[Part, ...] | None = None
    lengths: Lengths | None = None
    factory: str | None = None


@dataclass(frozen=True)
class Encoding:
    """How texts become ids, beside what the model says itself.

    vocab: a tokenizer.json, a JSON object from word to id, or one word a line. split: of the last two.
    max_length: ids kept, and what texts are padded to; None: as long as the longest
    """

    vocab: Path | None = None
    split: Literal["words", "whitespace", "characters"] = "words"
    max_length: int | None = None
    padding: Literal["pre", "post"] = "post"


def parse_parts(given: str) -> tuple[Part, ...]:
    """ "max,mean" as parts. Raises DoctorError, with the nearest name, for others."""
    return tuple(_part(name.strip()) for name in given.split(","))


def _part(name: str) -> Part:
    for part in PARTS:
        if part == name:
            return part
    near = difflib.get_close_matches(name, PARTS, n=1)
    raise DoctorError(
        "There is no such pooling.",
        where="--pooling",
        got=name,
        expected=", ".join(PARTS),
        cure=f"did you mean {near[0]}?" if near else None,
    )


def still_unknown(model: ForeignModel) -> tuple[Unknown, ...]:
    """What has to be known to compute the model, and is not."""
    found = []
    if model.pooling is None:
        found.append(Unknown("How the sequence of states becomes one vector.", TELL_POOLING))
    if model.padding.gru is None:
        found.append(Unknown("Whether the GRU goes on reading at the padding.", TELL_LENGTHS))
    unclear = [dense.name for dense in model.head[:-1] if dense.activation == "unknown"]
    if unclear:
        found.append(Unknown(f"What stands behind {', '.join(unclear)}, for example a ReLU.", TELL_FACTORY))
    return tuple(found)


def nearest(name: str, known: Sequence[str]) -> str | None:
    near = difflib.get_close_matches(name, known, n=1)
    return near[0] if near else None
