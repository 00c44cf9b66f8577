"""Texts that are almost equal: Jaccard similarity of their runs of two words, or of two characters.

Compares distinct texts, so what is equal after normalisation is no near-duplicate: duplicates.py has it.
Similar pairs: similarity.py. Resemblance of documents by their runs of words: Broder 1997.
"""

from dataclasses import dataclass

import numpy as np

from grunlock.audit.duplicates import EARLIER, GRAVE_SHARE
from grunlock.audit.findings import Example, Finding, Severity
from grunlock.audit.rows import LabelledTexts
from grunlock.audit.similarity import SimilarPairs
from grunlock.audit.tokens import TokenisedTexts
from grunlock.data.splits import SplitName
from grunlock.shapes import IntArray


@dataclass(frozen=True)
class NearOverlap:
    """Texts of a split with a near-duplicate in an earlier split, or in its own (`earlier` is `split` then).

    rows, partners: of `split` and of `earlier`; each row once, with its most similar partner
    similarities:   of each row to its partner
    """

    split: SplitName
    earlier: SplitName
    rows: IntArray
    partners: IntArray
    similarities: tuple[float, ...]
    size: int


def near_overlaps(
    data: LabelledTexts, tokenised: TokenisedTexts, pairs: SimilarPairs
) -> tuple[NearOverlap, ...]:
    """Pairs of distinct texts as rows, by pair of splits; a text that stands in the earlier one is left out.

    Within a split, the row that comes later is named and its partner comes first.
    """
    rows_in = {split: _first_rows(data, tokenised, split) for split in data.present}
    found = []
    for split in data.present:
        for earlier in (*EARLIER[split], split):
            if earlier in rows_in:
                found.append(_overlap(data, tokenised, pairs, split, earlier, rows_in))
    return tuple(overlap for overlap in found if len(overlap.rows))


def _first_rows(data: LabelledTexts, tokenised: TokenisedTexts, split: SplitName) -> IntArray:
    """[M] the first row of the split with each distinct text, N where there is none."""
    rows = np.flatnonzero(data.in_split(split))
    first = np.full(len(tokenised.first_rows), len(data), np.int64)
    first[tokenised.distinct[rows[::-1]]] = rows[::-1]  # the last one written is the first row
    return first


def _overlap(
    data: LabelledTexts,
    tokenised: TokenisedTexts,
    pairs: SimilarPairs,
    split: SplitName,
    earlier: SplitName,
    rows_in: dict[SplitName, IntArray],
) -> NearOverlap:
    absent = len(data)
    mine = np.concatenate([pairs.first, pairs.second])
    theirs = np.concatenate([pairs.second, pairs.first])
    similarity = np.concatenate([pairs.similarity, pairs.similarity])
    row, partner = rows_in[split][mine], rows_in[earlier][theirs]
    kept = (row < absent) & (partner < absent)
    kept &= partner < row if split == earlier else rows_in[earlier][mine] == absent
    row, partner, similarity, mine = row[kept], partner[kept], similarity[kept], mine[kept]
    by_similarity = np.lexsort((partner, row, -similarity))
    _, first = np.unique(mine[by_similarity], return_index=True)
    best = by_similarity[np.sort(first)]
    size = int(data.in_split(split).sum())
    return NearOverlap(split, earlier, row[best], partner[best], tuple(similarity[best].tolist()), size)


def near_findings(
    overlaps: tuple[NearOverlap, ...],
    data: LabelledTexts,
    kind: str,
    threshold: float,
    exhaustive: bool,
    max_examples: int,
) -> list[Finding]:
    """One finding for each pair of splits with near-duplicates, those across splits first."""
    ordered = sorted(overlaps, key=lambda overlap: overlap.split == overlap.earlier)
    return [_finding(overlap, data, kind, threshold, exhaustive, max_examples) for overlap in ordered]


def _finding(
    overlap: NearOverlap,
    data: LabelledTexts,
    kind: str,
    threshold: float,
    exhaustive: bool,
    max_examples: int,
) -> Finding:
    count = len(overlap.rows)
    share = count / overlap.size
    inside = overlap.split == overlap.earlier
    severity: Severity = "note" if inside else ("error" if share >= GRAVE_SHARE else "warning")
    at_least = "" if exhaustive else "at least "
    equal = "almost equals" if count == 1 else "almost equal"
    other = "an earlier one" if inside else f"a text of {overlap.earlier}"
    return Finding(
        "near_duplicates_within_split" if inside else "near_duplicates_across_splits",
        severity,
        f"{at_least}{count:,} of {overlap.size:,} {overlap.split} texts ({share:.2%}) {equal} {other}: "
        f"{threshold:.0%} or more of their runs of two {kind} are the same",
        count,
        "look at them: copies with small edits are to be kept on one side of a split only"
        if not inside
        else "look at them: copies with small edits teach little, and a random cut would part them",
        tuple(
            Example((data.row(row), data.row(partner)), f"similarity {similarity:.2f}")
            for row, partner, similarity in zip(
                overlap.rows[:max_examples],
                overlap.partners[:max_examples],
                overlap.similarities[:max_examples],
                strict=True,
            )
        ),
    )
