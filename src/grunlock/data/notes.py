"""Sentences about prepared data that the user should see. Counts only; decides nothing."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from grunlock.data.checks import Scan
from grunlock.data.parts import Part, hashes_of, split_names
from grunlock.data.sources import SplitSources
from grunlock.data.splits import SplitName

SHOWN_CLASSES = 5
CUT_FROM: dict[SplitName, SplitName] = {"valid": "train", "test": "train", "calibration": "valid"}


def source_notes(opened: SplitSources, scans: Mapping[SplitName, Scan]) -> Iterator[str]:
    """What was read, and how it was understood."""
    yield from opened.notes
    columns = opened.train.columns
    if columns is not None and columns.note is not None:
        yield columns.note
    for name, found in scans.items():
        if found.num_empty:
            dropped = found.num_empty == np.count_nonzero(~found.kept)
            done = "dropped" if dropped else "kept as [empty]"
            yield f"{found.num_empty:,} empty texts {done} in {name}"


def split_notes(
    targets: Mapping[SplitName, NDArray[np.int32]], given: Sequence[SplitName], labels: Sequence[str]
) -> Iterator[str]:
    """Sizes of the splits, and classes that one of them lacks.

    targets: [examples] class indices of each split. given: those that were not cut from train or valid.
    """
    counts = {name: np.bincount(found, minlength=len(labels)) for name, found in targets.items()}
    cut = {name: "" if name in given else f" (cut from {CUT_FROM.get(name)})" for name in counts}
    yield "examples: " + ", ".join(f"{name} {count.sum():,}{cut[name]}" for name, count in counts.items())
    for name in CUT_FROM:
        if name in counts and name not in given:
            rare = [label for label, count in zip(labels, counts[name], strict=True) if not count]
            if rare:
                shown = ", ".join(rare[:SHOWN_CLASSES]) + (" ..." if len(rare) > SHOWN_CLASSES else "")
                yield f"{len(rare)} classes have too few examples to be in {name}: {shown}"
    single = [label for label, count in zip(labels, counts["train"], strict=True) if count == 1]
    if single:
        shown = ", ".join(single[:SHOWN_CLASSES]) + (" ..." if len(single) > SHOWN_CLASSES else "")
        yield f"{len(single)} classes have a single training example: {shown}"


def repeat_notes(parts: Sequence[Part]) -> Iterator[str]:
    """How many texts of the other splits also stand in train."""
    train = np.unique(hashes_of(parts, "train"))
    for name in split_names(parts):
        if name != "train":
            texts = hashes_of(parts, name)
            repeated = int(np.isin(texts, train).sum())
            if repeated:
                yield f"{repeated:,} of {len(texts):,} {name} texts also stand in train"
