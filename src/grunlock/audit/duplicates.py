"""Texts that stand in a set more than once, within a split and across splits.

Equal means equal after tokens.NORMALISATION. Empty texts are no duplicates but a fault of their own. Labels
are looked at only to say what a look-up would answer.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grunlock.audit.findings import ROWS_PER_EXAMPLE, Example, Finding, Severity, counted
from grunlock.audit.rows import LabelledTexts
from grunlock.audit.tokens import TokenisedTexts
from grunlock.data.splits import SplitName
from grunlock.shapes import IntArray

GRAVE_SHARE = 0.05  # of an evaluation split: beyond it, its accuracy is another quantity
EARLIER: dict[SplitName, tuple[SplitName, ...]] = {
    "train": (),
    "valid": ("train",),
    "test": ("train", "valid"),
}


@dataclass(frozen=True)
class Overlap:
    """Texts of one split that also stand in an earlier one.

    rows:          of `split`, ascending
    partners:      for each of them the first row of `earlier` with that text
    num_texts:     distinct ones among the rows
    num_as_written: how many of the rows do so to the letter, outer white space aside
    num_answered:  how many of the rows a mere look-up of that text's commonest label there gets right
    size:          rows of `split`
    """

    split: SplitName
    earlier: SplitName
    rows: IntArray
    partners: IntArray
    num_texts: int
    num_as_written: int
    num_answered: int
    size: int


@dataclass(frozen=True)
class ExactDuplicates:
    """within: by split, groups of rows with one text, the largest first. across: by pair of splits."""

    within: dict[SplitName, list[IntArray]]
    across: tuple[Overlap, ...]


def exact_duplicates(data: LabelledTexts, tokenised: TokenisedTexts) -> ExactDuplicates:
    """Group rows by text. Linear in the rows but for one sort."""
    filled = ~tokenised.empty[tokenised.distinct]
    within, across = {}, []
    for split in data.present:
        rows = np.flatnonzero(data.in_split(split) & filled)
        groups = [group for group in groups_of(tokenised.distinct[rows], rows) if len(group) > 1]
        within[split] = sorted(groups, key=lambda group: -len(group))
        for earlier in EARLIER[split]:
            if earlier in data.present:
                others = np.flatnonzero(data.in_split(earlier) & filled)
                across.append(_overlap(data, tokenised, split, earlier, rows, others))
    return ExactDuplicates(within, tuple(across))


def groups_of(keys: NDArray[np.integer], rows: IntArray) -> list[IntArray]:
    """The rows of each key, both in ascending order."""
    if not len(rows):
        return []
    order = np.argsort(keys, kind="stable")
    return np.split(rows[order], np.flatnonzero(np.diff(keys[order])) + 1)


def _overlap(
    data: LabelledTexts,
    tokenised: TokenisedTexts,
    split: SplitName,
    earlier: SplitName,
    rows: IntArray,
    others: IntArray,
) -> Overlap:
    first_of, first_at = np.unique(tokenised.distinct[others], return_index=True)
    repeated = rows[np.isin(tokenised.distinct[rows], first_of)]
    keys = tokenised.distinct[repeated]
    partners = others[first_at[np.searchsorted(first_of, keys)]]
    answers = _commonest_labels(tokenised.distinct[others], data.targets[others], len(data.labels))
    return Overlap(
        split,
        earlier,
        repeated,
        partners,
        len(np.unique(keys)),
        int(np.isin(tokenised.as_written[repeated], tokenised.as_written[others]).sum()),
        sum(
            answers[key] == target
            for key, target in zip(keys.tolist(), data.targets[repeated].tolist(), strict=True)
        ),
        int(data.in_split(split).sum()),
    )


def _commonest_labels(keys: IntArray, targets: NDArray[np.int32], num_classes: int) -> dict[int, int]:
    """The commonest target of each key, the smallest of equally common ones."""
    pairs, counts = np.unique(keys * num_classes + targets, return_counts=True)
    best: dict[int, tuple[int, int]] = {}
    for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
        key, target = divmod(pair, num_classes)
        if count > best.get(key, (0, 0))[0]:
            best[key] = (count, target)
    return {key: target for key, (_, target) in best.items()}


def duplicate_findings(found: ExactDuplicates, data: LabelledTexts, max_examples: int) -> list[Finding]:
    """One finding for each split and each pair of splits that has duplicates."""
    across = [_across(overlap, data, max_examples) for overlap in found.across if len(overlap.rows)]
    cut = "test" not in data.present or "valid" not in data.present
    within = [
        _within(split, groups, data, max_examples, cut and split == "train")
        for split, groups in found.within.items()
        if groups
    ]
    return across + within


def _across(overlap: Overlap, data: LabelledTexts, max_examples: int) -> Finding:
    count = len(overlap.rows)
    share = count / overlap.size
    severity: Severity = "error" if share >= GRAVE_SHARE else "warning"
    answered = f"{overlap.num_answered:,} ({overlap.num_answered / overlap.size:.2%} of {overlap.split})"
    return Finding(
        "duplicates_across_splits",
        severity,
        f"{count:,} of {overlap.size:,} {overlap.split} rows ({share:.2%}; "
        f"{counted(overlap.num_texts, 'distinct text', 'distinct texts')}) also stand in {overlap.earlier}, "
        f"{overlap.num_as_written:,} of them to the letter; a look-up there answers {answered} rightly",
        count,
        f"remove them from {overlap.earlier}, or also report the accuracy on the other {overlap.split} rows",
        tuple(
            Example((data.row(row), data.row(partner)))
            for row, partner in zip(overlap.rows[:max_examples], overlap.partners[:max_examples], strict=True)
        ),
    )


def _within(
    split: SplitName, groups: list[IntArray], data: LabelledTexts, max_examples: int, is_cut: bool
) -> Finding:
    surplus = sum(len(group) - 1 for group in groups)
    share = surplus / int(data.in_split(split).sum())
    of_train = "; validation or test rows cut from this split would have copies in training" if is_cut else ""
    return Finding(
        "duplicates_within_split",
        "warning" if is_cut or share >= GRAVE_SHARE else "note",
        f"{split} repeats {counted(len(groups), 'text', 'texts')}: "
        f"{counted(surplus, 'row is a copy', 'rows are copies')} of an earlier one ({share:.2%}){of_train}",
        surplus,
        "keep one row of each text, unless the copies stand for how often it occurs in use",
        tuple(
            Example(tuple(data.row(row) for row in group[:ROWS_PER_EXAMPLE]), f"{len(group)} rows")
            for group in groups[:max_examples]
        ),
    )
