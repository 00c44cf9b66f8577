"""From numeric series to stores: check, split, learn the standardisation."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grunlock.data.checks import Progress
from grunlock.data.notes import split_notes
from grunlock.data.prepared import Known, PreparedData, open_prepared, remove_prepared, save_series
from grunlock.data.series.checks import check_series
from grunlock.data.series.series_set import SeriesSet, SeriesSplits, channels_problem, take
from grunlock.data.series.sources import open_series, read_series
from grunlock.data.series.store import writing_series_store
from grunlock.data.sources import InMemory, PathLike
from grunlock.data.splits import SPLITS, SplitName, calibration_members, stratified_splits
from grunlock.errors import DataError
from grunlock.files import storage_guard
from grunlock.recipe.schema import Recipe
from grunlock.recipe.series_options import SeriesDataOptions, SeriesOptions
from grunlock.series import SeriesFrontEnd

Given = PathLike | Sequence[PathLike] | SeriesSet | InMemory
Targets = dict[SplitName, NDArray[np.int32]]


def gather_series(
    source: Given, valid: Given | None, test: Given | None, options: SeriesDataOptions
) -> SeriesSplits:
    """Read all that is given. Raises DataError for files that cannot be read and for texts."""
    opened = (
        SeriesSplits(_in_memory(source))
        if isinstance(source, SeriesSet | InMemory)
        else open_series(source, options)
    )
    return SeriesSplits(
        opened.train,
        opened.valid if valid is None else _one_set(valid, options),
        opened.test if test is None else _one_set(test, options),
        opened.notes,
    )


def prepare_series(
    opened: SeriesSplits, recipe: Recipe, folder: Path, known: Known | None, progress: Progress | None
) -> PreparedData:
    """See data.prepare.prepare. The series are in memory until they are stored."""
    data, options = recipe.data, recipe.series
    assert isinstance(data, SeriesDataOptions)
    assert options is not None  # a recipe for series has both
    given = opened.by_split()
    known_labels = () if known is None else known.labels
    checked = check_series(given, known_labels, keep_unseen_labels=data.unseen_labels == "keep")
    if known is not None:
        _check_channels(opened.train, known)
    sets = _with_calibration(_cut(given, checked.labels, data), checked.labels, data)
    if progress is not None:
        progress("checking", sum(found.num_series for found in sets.values()))
    front_end, front_end_notes = _front_end(sets["train"], known, options)
    for found in sets.values():
        front_end.check(found.values, found.lengths, found.where)
    targets = {split: _targets(found, checked.labels) for split, found in sets.items()}
    notes = [
        *opened.notes,
        *(note for found in given.values() for note in found.notes),
        *split_notes(targets, list(given), checked.labels),
        *checked.notes,
        *front_end_notes,
        *_repeat_notes(sets),
    ]
    facts = {
        "labels": list(checked.labels),
        "valid_from_train": "valid" not in given,
        "notes": list(dict.fromkeys(notes)),
        "splits": list(sets),
    }
    _write(folder, sets, targets, front_end, facts)
    return open_prepared(folder)


def _in_memory(given: SeriesSet | InMemory) -> SeriesSet:
    if isinstance(given, SeriesSet):
        return given
    raise DataError(
        "The recipe is for numeric series.",
        where=given.name,
        got="texts",
        cure='the recipe "default" is for texts',
    )


def _one_set(given: Given, options: SeriesDataOptions) -> SeriesSet:
    if isinstance(given, SeriesSet | InMemory):
        return _in_memory(given)
    return read_series(given, options, "required")


def _check_channels(train: SeriesSet, known: Known) -> None:
    assert isinstance(known.front_end, SeriesFrontEnd)
    problem = channels_problem(train, known.front_end.channels, "the model")
    if problem is not None:
        raise problem


def _cut(
    given: Mapping[SplitName, SeriesSet], labels: Sequence[str], options: SeriesDataOptions
) -> dict[SplitName, SeriesSet]:
    """The given splits, and those that are to be cut from train."""
    if "valid" in given:
        return dict(given)
    train = given["train"]
    test_fraction = 0.0 if "test" in given else options.test_fraction
    cut = stratified_splits(
        _targets(train, labels), options.valid_fraction, test_fraction, options.split_seed
    )
    sets: dict[SplitName, SeriesSet] = {"train": take(train, cut.train), "valid": take(train, cut.valid)}
    if len(cut.test):
        sets["test"] = take(train, cut.test)
    both: dict[SplitName, SeriesSet] = {**given, **sets}
    return {split: both[split] for split in SPLITS if split in both}


def _with_calibration(
    sets: dict[SplitName, SeriesSet], labels: Sequence[str], options: SeriesDataOptions
) -> dict[SplitName, SeriesSet]:
    """The splits, a part of valid set aside as calibration if that is wanted."""
    if not options.calibration_fraction:
        return sets
    valid = sets["valid"]
    set_aside = calibration_members(_targets(valid, labels), options.calibration_fraction, options.split_seed)
    both: dict[SplitName, SeriesSet] = {
        "valid": take(valid, np.flatnonzero(~set_aside)),
        "calibration": take(valid, np.flatnonzero(set_aside)),
    }
    return {**sets, **both}


def _front_end(
    train: SeriesSet, known: Known | None, options: SeriesOptions
) -> tuple[SeriesFrontEnd, tuple[str, ...]]:
    if known is None:
        return SeriesFrontEnd.fit(train.values, train.lengths, train.channels, options)
    assert isinstance(known.front_end, SeriesFrontEnd)
    return replace(known.front_end, options=options), ()


def _targets(found: SeriesSet, labels: Sequence[str]) -> NDArray[np.int32]:
    """[series] class indices"""
    index: dict[str | None, int] = {label: i for i, label in enumerate(labels)}
    return np.array([index[label] for label in found.labels], np.int32)


def _repeat_notes(sets: Mapping[SplitName, SeriesSet]) -> Iterator[str]:
    """How many series of the other splits also stand in train."""
    train = set(_hashes(sets["train"]))
    for split, found in sets.items():
        repeated = 0 if split == "train" else sum(series in train for series in _hashes(found))
        if repeated:
            yield f"{repeated:,} of {found.num_series:,} {split} series also stand in train"


def _hashes(found: SeriesSet) -> Iterator[bytes]:
    for i in range(found.num_series):
        yield hashlib.blake2b(np.ascontiguousarray(found.series(i)).tobytes(), digest_size=16).digest()


def _write(
    folder: Path,
    sets: Mapping[SplitName, SeriesSet],
    targets: Targets,
    front_end: SeriesFrontEnd,
    facts: dict[str, Any],
) -> None:
    with storage_guard(folder):
        remove_prepared(folder)
    try:
        prints = {}
        with ExitStack() as stack:
            for split, found in sets.items():
                store = writing_series_store(folder / split, found.channels, facts["labels"])
                writer = stack.enter_context(store)
                writer.append(found.values, found.lengths, targets[split])
                prints[split] = writer.fingerprint()
        rows = "\n".join(f"{split} {prints[split]}" for split in sorted(prints))
        counts = np.bincount(targets["train"], minlength=len(facts["labels"]))
        rest = {
            "label_counts": counts.tolist(),
            "fingerprint": hashlib.sha256(rows.encode()).hexdigest(),
        }
        save_series(folder, front_end, facts | rest)
    except BaseException:
        remove_prepared(folder)
        raise
