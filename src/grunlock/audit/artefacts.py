"""Labels that can be told without reading: from the order of the rows, or from how long the texts are.

Each rule is learned on one half of a split and judged on the other half, chosen at random.
"""

from dataclasses import dataclass

import numpy as np

from grunlock.audit.findings import Finding
from grunlock.audit.rows import LabelledTexts
from grunlock.data.splits import SplitName
from grunlock.seeding import generator
from grunlock.shapes import IntArray

BINS = 20  # of lengths, with about as many texts in each
MIN_ROWS = 100
SUSPICIOUS_GAIN = 0.2  # of what the largest class leaves to be gained
STANDARD_ERRORS = 4  # above the largest class's share, so that chance does not do


@dataclass(frozen=True)
class Rule:
    """Share of a split's labels that a rule tells without reading (0-1), beside the largest class's share."""

    split: SplitName
    accuracy: float
    baseline: float
    num_judged: int

    @property
    def suspicious(self) -> bool:
        above = self.accuracy - self.baseline
        error = (self.baseline * (1 - self.baseline) / max(1, self.num_judged)) ** 0.5
        return above >= SUSPICIOUS_GAIN * (1 - self.baseline) and above > STANDARD_ERRORS * error


def order_rules(data: LabelledTexts, seed: int) -> tuple[Rule, ...]:
    """Each split's labels from the label of the row before: sorted and alternating files show."""
    found = []
    for split in data.present:
        targets = data.targets[data.in_split(split)].astype(np.int64)
        found.append(_judge(split, targets[:-1], targets[1:], len(data.labels), seed))
    return tuple(found)


def length_rules(data: LabelledTexts, num_characters: IntArray, seed: int) -> tuple[Rule, ...]:
    """Each split's labels from the number of characters, in BINS ranges."""
    found = []
    for split in data.present:
        rows = data.in_split(split)
        edges = np.unique(np.quantile(num_characters[rows], np.linspace(0, 1, BINS + 1)[1:-1]))
        bins = np.searchsorted(edges, num_characters[rows], side="right")
        found.append(_judge(split, bins, data.targets[rows].astype(np.int64), len(data.labels), seed))
    return tuple(found)


def _judge(split: SplitName, keys: IntArray, targets: IntArray, num_classes: int, seed: int) -> Rule:
    """Answer each key with its commonest target."""
    if len(targets) < MIN_ROWS:
        return Rule(split, 0.0, 1.0, 0)
    learned = generator(seed, "audit", split).permutation(len(targets)) % 2 == 0
    table = np.zeros((int(keys.max()) + 1, num_classes), np.int64)
    np.add.at(table, (keys[learned], targets[learned]), 1)
    judged = targets[~learned]
    baseline = np.bincount(judged, minlength=num_classes).max() / len(judged)
    return Rule(
        split, float((table.argmax(axis=1)[keys[~learned]] == judged).mean()), float(baseline), len(judged)
    )


def artefact_findings(order: tuple[Rule, ...], length: tuple[Rule, ...]) -> list[Finding]:
    findings = []
    if found := [rule for rule in order if rule.suspicious]:
        findings.append(
            Finding(
                "row_order",
                "note",
                f"the rows are not in random order: from the label of the row before, {_told(found)}",
                len(found),
                "shuffle the rows before cutting splits in order; `grunlock train` draws at random",
            )
        )
    if found := [rule for rule in length if rule.suspicious]:
        findings.append(
            Finding(
                "length_tells_label",
                "warning",
                "the length of the texts gives labels away: from the number of characters alone, "
                f"{_told(found)}",
                len(found),
                "make sure that classes were not collected or shortened in different ways",
            )
        )
    return findings


def _told(rules: list[Rule]) -> str:
    return ", ".join(
        f"{rule.accuracy:.1%} of {rule.split} labels are told (largest class {rule.baseline:.1%})"
        for rule in rules
    )
