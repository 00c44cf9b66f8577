"""Sources whose every row has its place: which split it belongs to, which class it has.

Reads nothing by itself but streams a split's rows from its source again and again.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grunlock.data.checks import Scan
from grunlock.data.sources import Source
from grunlock.data.splits import SPLITS, SplitName, calibration_members, stratified_splits
from grunlock.errors import DataError
from grunlock.recipe.text_options import TextDataOptions

Int8Array = NDArray[np.int8]


@dataclass(frozen=True)
class Part:
    """A source and where its rows go.

    kept:    [rows] bool
    splits:  [kept rows] int8, index into SPLITS
    targets: [kept rows] int32 class indices
    hashes:  [kept rows] uint64 of the texts
    """

    source: Source
    kept: NDArray[np.bool_]
    splits: Int8Array
    targets: NDArray[np.int32]
    hashes: NDArray[np.uint64]


def assign_splits(
    sources: Mapping[SplitName, Source],
    scans: Mapping[SplitName, Scan],
    labels: Sequence[str],
    options: TextDataOptions,
) -> list[Part]:
    """Give each kept row its split: a given file's own, or one cut from the training source or from valid."""
    index = {label: i for i, label in enumerate(labels)}
    parts = []
    for name, source in sources.items():
        found = scans[name]
        class_of = np.array([index[label] for label in found.labels], np.int32)
        targets = class_of[found.targets]
        splits = np.full(len(targets), SPLITS.index(name), np.int8)
        if name == "train" and "valid" not in sources:
            test_fraction = 0.0 if "test" in sources else options.test_fraction
            cut = stratified_splits(targets, options.valid_fraction, test_fraction, options.split_seed)
            splits[cut.valid] = SPLITS.index("valid")
            splits[cut.test] = SPLITS.index("test")
        valid = np.flatnonzero(splits == SPLITS.index("valid"))
        if options.calibration_fraction and len(valid):
            set_aside = calibration_members(targets[valid], options.calibration_fraction, options.split_seed)
            splits[valid[set_aside]] = SPLITS.index("calibration")
        parts.append(Part(source, found.kept, splits, targets, found.hashes))
    return parts


def split_names(parts: Sequence[Part]) -> list[SplitName]:
    """The splits that have rows, in order."""
    present = {int(split) for part in parts for split in np.unique(part.splits)}
    return [name for i, name in enumerate(SPLITS) if i in present]


def targets_of(parts: Sequence[Part], split: SplitName) -> NDArray[np.int32]:
    return np.concatenate([part.targets[part.splits == SPLITS.index(split)] for part in parts])


def hashes_of(parts: Sequence[Part], split: SplitName) -> NDArray[np.uint64]:
    return np.concatenate([part.hashes[part.splits == SPLITS.index(split)] for part in parts])


def texts_of(parts: Sequence[Part], split: SplitName) -> Iterator[str]:
    """The texts of a split, streamed from the source."""
    wanted = SPLITS.index(split)
    for part in parts:
        if (part.splits == wanted).any():
            for texts, splits, _ in chunks_of(part):
                yield from (text for text, s in zip(texts, splits.tolist(), strict=True) if s == wanted)


def chunks_of(part: Part) -> Iterator[tuple[list[str], Int8Array, NDArray[np.int32]]]:
    """The kept rows of a part, read again: texts, their splits and targets."""
    row = first = 0
    for chunk in part.source.chunks():
        kept = part.kept[row : row + len(chunk.texts)]
        if len(kept) < len(chunk.texts):
            break
        row += len(chunk.texts)
        texts = [text or "" for text, keep in zip(chunk.texts, kept.tolist(), strict=True) if keep]
        rows = slice(first, first + len(texts))
        yield texts, part.splits[rows], part.targets[rows]
        first += len(texts)
    else:
        if row == len(part.kept):
            return
    raise DataError(
        "The data changed while it was read.",
        where=part.source.name,
        got="another number of rows than at first",
        cure="start again when nothing writes to it",
    )
