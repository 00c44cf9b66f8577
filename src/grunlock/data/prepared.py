"""Prepared data in a folder: stores and what else training needs, without the source.

Keeps and opens; making it is the job of prepare.py. `prepared.json` is written last, so a folder that has it
is complete.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from grunlock.data.batches import ArrayStore
from grunlock.data.npz_files import NPZ_ERRORS
from grunlock.data.ragged import damaged_store
from grunlock.data.series.store import open_series_store
from grunlock.data.shard_files import is_sharded
from grunlock.data.shards import ShardedStore, open_shards
from grunlock.data.splits import SPLITS
from grunlock.data.store import open_store
from grunlock.data.type_files import TYPES, are_below, load_types, save_types
from grunlock.errors import DataError
from grunlock.files import write_atomically
from grunlock.recipe import SeriesFacts, TextFacts
from grunlock.recipe.series_options import SeriesOptions
from grunlock.recipe.text_options import NgramOptions
from grunlock.series import SeriesFrontEnd
from grunlock.text import TextFrontEnd, TokenTypes

VERSION = 5
FACTS, TOKENIZER, SERIES = "prepared.json", "tokenizer.json", "series.json"
UNLABELLED = "unlabelled"  # the store of texts without labels
KEPT = "kept"  # a folder for what trainings on this data have in common


@dataclass(frozen=True)
class PreparedData:
    """Everything training needs to know about its data.

    front_end:    how texts become tokens, or series features
    inputs:       what the network has to know about these
    train:        perhaps more examples than fit in memory
    labels:       class names, in the order of class indices
    label_counts: [K] training examples of each class
    calibration:  set aside from valid: neither weights nor any choice have seen it; None if not wanted
    unlabelled:   texts whose targets mean nothing; None if not wanted
    valid_from_train: valid was cut from the training source, not given
    notes:        sentences for the user: guesses, sizes, repeated and cut examples
    fingerprint:  sha256 over the rows of all splits
    folder:       where it lies
    """

    front_end: TextFrontEnd | SeriesFrontEnd
    inputs: TextFacts | SeriesFacts
    labels: tuple[str, ...]
    label_counts: tuple[int, ...]
    train: ArrayStore | ShardedStore
    valid: ArrayStore
    test: ArrayStore | None
    calibration: ArrayStore | None
    unlabelled: ArrayStore | None
    valid_from_train: bool
    notes: tuple[str, ...]
    fingerprint: str
    folder: Path


@dataclass(frozen=True)
class Known:
    """What a model that is to be continued knows already, so that it is not learned anew.

    labels: keep their order, new ones follow
    """

    front_end: TextFrontEnd | SeriesFrontEnd
    labels: tuple[str, ...]


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
        _check_facts(facts)
        front_end, inputs, stores = (_open_texts if facts["kind"] == "text" else _open_series)(folder, facts)
        _check_targets(folder, stores, len(facts["labels"]))
        return PreparedData(
            front_end=front_end,
            inputs=inputs,
            labels=tuple(facts["labels"]),
            label_counts=tuple(facts["label_counts"]),
            train=_open_sharded(folder, front_end, len(facts["labels"])) or stores["train"],
            valid=stores["valid"],
            test=stores.get("test"),
            calibration=stores.get("calibration"),
            unlabelled=stores.get(UNLABELLED),
            valid_from_train=facts["valid_from_train"],
            notes=tuple(facts["notes"]),
            fingerprint=facts["fingerprint"],
            folder=folder,
        )
    except DataError:
        raise
    except NPZ_ERRORS as error:
        raise DataError(
            "There is no finished prepared data.",
            where=folder,
            got=error,
            cure="prepare it again from its source",
        ) from error


def save_texts(folder: Path, front_end: TextFrontEnd, types: TokenTypes, facts: Mapping[str, Any]) -> None:
    """Write what is beside the stores of texts, prepared.json last."""
    ngrams = front_end.ngrams
    write_atomically(folder / TOKENIZER, front_end.to_json())
    table = types.table()
    if table is not None:
        save_types(folder, table)
    of_texts = {
        "tokens": front_end.tokens,
        "max_tokens": front_end.max_tokens,
        "cut": front_end.cut,
        "ngrams": None if ngrams is None else ngrams.model_dump(),
    }
    _save_facts(folder, "text", of_texts | dict(facts))


def save_series(folder: Path, front_end: SeriesFrontEnd, facts: Mapping[str, Any]) -> None:
    """Write what is beside the stores of series, prepared.json last."""
    write_atomically(folder / SERIES, front_end.to_json())
    _save_facts(folder, "series", {"options": front_end.options.model_dump(), **facts})


def remove_prepared(folder: Path) -> None:
    """Remove what `prepare` writes, prepared.json first; other files of the folder stay."""
    for name in (FACTS, TOKENIZER, TYPES, SERIES):
        (folder / name).unlink(missing_ok=True)
    for name in (*SPLITS, UNLABELLED, KEPT):
        shutil.rmtree(folder / name, ignore_errors=True)


def _save_facts(folder: Path, kind: str, facts: Mapping[str, Any]) -> None:
    stored = {"version": VERSION, "kind": kind, **facts}
    write_atomically(folder / FACTS, json.dumps(stored, ensure_ascii=False, indent=1))


def _open_texts(
    folder: Path, facts: Mapping[str, Any]
) -> tuple[TextFrontEnd, TextFacts, dict[str, ArrayStore]]:
    ngrams = None if facts["ngrams"] is None else NgramOptions(**facts["ngrams"])
    tokenizer = (folder / TOKENIZER).read_text(encoding="utf-8")
    front_end = TextFrontEnd.from_json(tokenizer, facts["tokens"], facts["max_tokens"], ngrams, facts["cut"])
    size = front_end.vocab_size
    types = TokenTypes(size, load_types(folder, size, ngrams.buckets, fewest=size) if ngrams else None)
    inputs = TextFacts(vocab_size=size, tokens=front_end.tokens, script=facts["script"])
    names = [name for name in facts["splits"] if not is_sharded(folder / name)]
    return front_end, inputs, {name: open_store(folder / name, types) for name in names}


def _open_sharded(
    folder: Path, front_end: TextFrontEnd | SeriesFrontEnd, num_labels: int
) -> ShardedStore | None:
    """The training split, if it is in shards."""
    if not isinstance(front_end, TextFrontEnd) or not is_sharded(folder / "train"):
        return None
    return open_shards(folder / "train", num_labels, front_end)


def _open_series(
    folder: Path, facts: Mapping[str, Any]
) -> tuple[SeriesFrontEnd, SeriesFacts, dict[str, ArrayStore]]:
    options = SeriesOptions(**facts["options"])
    front_end = SeriesFrontEnd.from_json((folder / SERIES).read_text(encoding="utf-8"), options)
    inputs = SeriesFacts(channels=front_end.channels, num_features=front_end.num_features)
    return front_end, inputs, {name: open_series_store(folder / name, front_end) for name in facts["splits"]}


def _check_facts(facts: Any) -> None:
    """Raises ValueError, KeyError or TypeError for what `_save_facts` never wrote."""
    labels, counts, notes = (list(facts[name]) for name in ("labels", "label_counts", "notes"))
    if (
        not labels
        or len(set(labels)) < len(labels)
        or not all(isinstance(each, str) for each in labels + notes)
    ):
        raise ValueError("labels or notes are no list of names")
    if len(counts) != len(labels) or not all(type(each) is int for each in counts):
        raise ValueError("label_counts are no numbers of the labels")
    if not {"train", "valid"} <= set(facts["splits"]) <= {*SPLITS, UNLABELLED}:
        raise ValueError(f"splits {facts['splits']}")
    if type(facts["valid_from_train"]) is not bool or not isinstance(facts["fingerprint"], str):
        raise TypeError("valid_from_train or fingerprint")


def _check_targets(folder: Path, stores: Mapping[str, ArrayStore], num_labels: int) -> None:
    for name, store in stores.items():
        if name != UNLABELLED and not are_below(np.asarray(store.targets), num_labels):
            raise damaged_store(folder / name, f"targets that are not from 0 to {num_labels - 1}")
