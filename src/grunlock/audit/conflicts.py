"""Equal or almost equal texts under different labels. At most one of the labels can be right."""

from dataclasses import dataclass

import numpy as np

from grunlock.audit.duplicates import groups_of
from grunlock.audit.findings import ROWS_PER_EXAMPLE, Example, Finding, counted
from grunlock.audit.rows import LabelledTexts
from grunlock.audit.similarity import SimilarPairs
from grunlock.audit.tokens import TokenisedTexts
from grunlock.shapes import IntArray


@dataclass(frozen=True)
class Conflicts:
    """equal: groups of rows with one text and several labels. near: pairs of rows, similarities apart."""

    equal: tuple[IntArray, ...]
    near: tuple[tuple[int, int], ...]
    similarities: tuple[float, ...]


def label_conflicts(data: LabelledTexts, tokenised: TokenisedTexts, pairs: SimilarPairs) -> Conflicts:
    """Over all splits. A near pair counts if its first rows disagree and neither text is in `equal`."""
    rows = np.flatnonzero(~tokenised.empty[tokenised.distinct])
    groups = groups_of(tokenised.distinct[rows], rows)
    equal = [group for group in groups if len(np.unique(data.targets[group])) > 1]
    disputed = np.zeros(len(tokenised.first_rows), np.bool_)
    disputed[[int(tokenised.distinct[group[0]]) for group in equal]] = True
    first, second = tokenised.first_rows[pairs.first], tokenised.first_rows[pairs.second]
    differ = data.targets[first] != data.targets[second]
    differ &= ~disputed[pairs.first] & ~disputed[pairs.second]
    near = tuple(zip(first[differ].tolist(), second[differ].tolist(), strict=True))
    return Conflicts(tuple(equal), near, tuple(pairs.similarity[differ].tolist()))


def disputed_texts(found: Conflicts, tokenised: TokenisedTexts) -> IntArray:
    """The distinct texts that have several labels."""
    return np.array([tokenised.distinct[group[0]] for group in found.equal], np.int64)


def conflict_findings(found: Conflicts, data: LabelledTexts, max_examples: int) -> list[Finding]:
    findings = []
    if found.equal:
        count = sum(len(group) for group in found.equal)
        findings.append(
            Finding(
                "conflicting_labels",
                "warning",
                f"{counted(len(found.equal), 'text stands', 'texts stand')} under different labels, in "
                f"{count:,} rows; no classifier can get all of them right",
                count,
                "settle on one label for each text, or remove the rows",
                tuple(
                    Example(tuple(data.row(row) for row in _one_of_each_label(data, group)))
                    for group in found.equal[:max_examples]
                ),
            )
        )
    if found.near:
        findings.append(
            Finding(
                "conflicting_labels_near",
                "note",
                f"{counted(len(found.near), 'pair', 'pairs')} of almost equal texts under different labels",
                len(found.near),
                "look at them: a small edit rarely changes the class, unless it is the word that matters",
                tuple(
                    Example((data.row(first), data.row(second)), f"similarity {similarity:.2f}")
                    for (first, second), similarity in zip(
                        found.near[:max_examples], found.similarities[:max_examples], strict=True
                    )
                ),
            )
        )
    return findings


def _one_of_each_label(data: LabelledTexts, group: IntArray) -> list[int]:
    """Rows that show the conflict: the first of each label, in order, then others as there is room."""
    _, first = np.unique(data.targets[group], return_index=True)
    shown = [*np.sort(first), *(i for i in range(len(group)) if i not in first)][:ROWS_PER_EXAMPLE]
    return [int(group[i]) for i in shown]
