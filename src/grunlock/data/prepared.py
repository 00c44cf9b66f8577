"""Prepared data in a folder: token stores and what else training needs, without the source.

Keeps and opens; making it is the job of prepare.py. `prepared.json` is written last, so a folder that has it
is complete.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from grunlock.data.columns import Columns
from grunlock.data.splits import SPLITS
from grunlock.data.store import TokenStore, open_store
from grunlock.errors import DataError
from grunlock.files import atomic_file, write_atomically
from grunlock.recipe.text_options import NgramOptions
from grunlock.text import Script, TextFrontEnd, TokenTypes, TypeTable

VERSION = 2
FACTS, TOKENIZER, TYPES = "prepared.json", "tokenizer.json", "types.npz"


@dataclass(frozen=True)
class PreparedData:
    """Everything training needs to know about its data.

    labels:       class names, in the order of class indices
    label_counts: [K] training examples of each class
    types:        what the stores' tokens are; read only
    columns:      of the files, None for texts from memory
    notes:        sentences for the user: guesses, sizes, repeated and cut texts
    fingerprint:  sha256 over the rows of all splits
    """

    front_end: TextFrontEnd
    labels: tuple[str, ...]
    label_counts: tuple[int, ...]
    train: TokenStore
    valid: TokenStore
    test: TokenStore | None
    types: TokenTypes
    script: Script
    columns: Columns | None
    notes: tuple[str, ...]
    fingerprint: str


def is_prepared(folder: str | Path) -> bool:
    """Whether `prepare` finished in this folder."""
    return (Path(folder) / FACTS).is_file()


def open_prepared(folder: str | Path) -> PreparedData:
    """Open a folder that `prepare` filled. Raises DataError if it is unfinished or damaged."""
    folder = Path(folder)
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        if facts["version"] != VERSION:
            raise ValueError(f"version {facts['version']}, expected {VERSION}")
        ngrams = None if facts["ngrams"] is None else NgramOptions(**facts["ngrams"])
        tokenizer = (folder / TOKENIZER).read_text(encoding="utf-8")
        front_end = TextFrontEnd.from_json(
            tokenizer, facts["tokens"], facts["max_tokens"], ngrams, facts["cut"]
        )
        return PreparedData(
            front_end=front_end,
            labels=tuple(facts["labels"]),
            label_counts=tuple(facts["label_counts"]),
            train=open_store(folder / "train"),
            valid=open_store(folder / "valid"),
            test=open_store(folder / "test") if "test" in facts["splits"] else None,
            types=TokenTypes(front_end.vocab_size, _load_types(folder) if ngrams else None),
            script=facts["script"],
            columns=None if facts["columns"] is None else Columns(**facts["columns"]),
            notes=tuple(facts["notes"]),
            fingerprint=facts["fingerprint"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            "There is no finished prepared data.",
            where=folder,
            got=error,
            cure="prepare it again from its source",
        ) from error


def save_facts(folder: Path, front_end: TextFrontEnd, types: TokenTypes, facts: dict[str, Any]) -> None:
    """Write what is beside the stores, prepared.json last."""
    ngrams = front_end.ngrams
    facts = {
        "version": VERSION,
        "tokens": front_end.tokens,
        "max_tokens": front_end.max_tokens,
        "cut": front_end.cut,
        "ngrams": None if ngrams is None else ngrams.model_dump(),
        **facts,
    }
    write_atomically(folder / TOKENIZER, front_end.to_json())
    table = types.table()
    if table is not None:
        with atomic_file(folder / TYPES) as file:
            np.savez(file, **vars(table))
    write_atomically(folder / FACTS, json.dumps(facts, ensure_ascii=False, indent=1))


def remove_prepared(folder: Path) -> None:
    """Remove what `prepare` writes, prepared.json first; other files of the folder stay."""
    for name in (FACTS, TOKENIZER, TYPES):
        (folder / name).unlink(missing_ok=True)
    for name in SPLITS:
        shutil.rmtree(folder / name, ignore_errors=True)


def _load_types(folder: Path) -> TypeTable:
    with np.load(folder / TYPES, allow_pickle=False) as arrays:
        return TypeTable(**{name: arrays[name] for name in arrays.files})
