"""How many examples each class has in each split. Sees labels only."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from grunlock.audit.findings import Example, Finding, counted
from grunlock.audit.rows import LabelledTexts
from grunlock.audit.tokens import normalise
from grunlock.data.splits import SplitName
from grunlock.shapes import IntArray

FEW = 10  # training examples of a class, below which its accuracy is luck
FULL_RATIO = 10  # largest to smallest class, from which accuracy hides the small ones
DOMINANT_SHARE = 0.9  # of one class: always saying it scores this much


@dataclass(frozen=True)
class ClassCounts:
    """counts: by split, [K] int64 rows of each label."""

    labels: tuple[str, ...]
    counts: dict[SplitName, IntArray]


def count_classes(data: LabelledTexts) -> ClassCounts:
    size = len(data.labels)
    counts = {
        split: np.bincount(data.targets[data.in_split(split)], minlength=size) for split in data.present
    }
    return ClassCounts(data.labels, {split: found.astype(np.int64) for split, found in counts.items()})


def class_findings(found: ClassCounts, unseen_labels: str) -> list[Finding]:
    """unseen_labels: data.unseen_labels, whether training refuses labels that only valid or test have."""
    train = found.counts.get("train", np.zeros(len(found.labels), np.int64))
    findings = []
    for split in ("valid", "test"):
        if split in found.counts:
            counts = found.counts[split]
            findings += _unseen(found.labels, train, counts, split, unseen_labels)
            findings += _absent(found.labels, train, counts, split)
    return findings + _alike(found) + _few(found.labels, train) + _imbalance(found.labels, train)


def _unseen(
    labels: Sequence[str], train: IntArray, counts: IntArray, split: str, unseen_labels: str
) -> list[Finding]:
    only = np.flatnonzero((counts > 0) & (train == 0))
    if not len(only):
        return []
    rows = int(counts[only].sum())
    return [
        Finding(
            "labels_not_in_train",
            "error" if unseen_labels == "refuse" else "warning",
            f"{counted(len(only), 'label stands', 'labels stand')} in {split} only, in "
            f"{counted(rows, 'row', 'rows')} that cannot be answered",
            len(only),
            "add training examples of them, remove these rows, correct the label's spelling, or count them "
            "as errors with --set data.unseen_labels=keep",
            _named(labels, only, counts, split),
        )
    ]


def _absent(labels: Sequence[str], train: IntArray, counts: IntArray, split: str) -> list[Finding]:
    absent = np.flatnonzero((counts == 0) & (train > 0))
    if not len(absent):
        return []
    return [
        Finding(
            "labels_not_in_split",
            "note",
            f"{split} has no example of {counted(len(absent), 'label', 'labels')} of {len(labels)}, so "
            "it says nothing about them",
            len(absent),
            f"cut {split} so that each class has its share",
            _named(labels, absent, train, "train"),
        )
    ]


def _alike(found: ClassCounts) -> list[Finding]:
    """Labels that differ in case, width or white space only: most likely one class, spelt in several ways."""
    groups: dict[str, list[int]] = {}
    for k, label in enumerate(found.labels):
        groups.setdefault(normalise(label), []).append(k)
    alike = [group for group in groups.values() if len(group) > 1]
    if not alike:
        return []
    total = sum(found.counts.values(), np.zeros(len(found.labels), np.int64))
    told = [", ".join(f"{found.labels[k]!r} {total[k]:,}" for k in group) for group in alike]
    return [
        Finding(
            "labels_alike",
            "warning",
            f"{counted(len(alike), 'class is', 'classes are')} spelt in several ways: {told[0]} rows",
            len(alike),
            "settle on one spelling",
            tuple(Example(note=group) for group in told),
        )
    ]


def _few(labels: Sequence[str], train: IntArray) -> list[Finding]:
    few = np.flatnonzero((train > 0) & (train < FEW))
    if not len(few):
        return []
    return [
        Finding(
            "rare_classes",
            "warning",
            f"{counted(len(few), 'class has', 'classes have')} fewer than {FEW} training examples",
            len(few),
            "collect more of them, join them with a related class, or leave them out",
            _named(labels, few[np.argsort(train[few], kind="stable")], train, "train"),
        )
    ]


def _imbalance(labels: Sequence[str], train: IntArray) -> list[Finding]:
    present = np.flatnonzero(train)
    if len(present) < 2:
        return []
    largest, smallest = (int(present[pick(train[present])]) for pick in (np.argmax, np.argmin))
    share, ratio = train[largest] / train.sum(), train[largest] / train[smallest]
    if ratio < FULL_RATIO:
        return []
    return [
        Finding(
            "imbalance",
            "warning" if share >= DOMINANT_SHARE else "note",
            f"the largest class is {ratio:,.0f} times the smallest, and always answering {labels[largest]!r} "
            f"is right for {share:.1%} of train",
            len(present),
            "judge by macro F1 beside accuracy",
            _named(labels, np.array([largest, smallest]), train, "train"),
        )
    ]


def _named(labels: Sequence[str], which: IntArray, counts: IntArray, split: str) -> tuple[Example, ...]:
    return tuple(
        Example(note=f"{labels[k]}: {counted(int(counts[k]), 'row', 'rows')} in {split}")
        for k in which.tolist()
    )
