"""What an audit says: findings with row numbers and a cure, and the report that holds them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from grunlock.data.splits import SplitName

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")

SHOWN_CHARACTERS = 200
ROWS_PER_EXAMPLE = 4


@dataclass(frozen=True)
class Row:
    """Where a text stands. `number` counts the rows of its file from 1, without a header."""

    place: str
    number: int
    split: SplitName
    label: str | None
    text: str  # shortened, on one line


@dataclass(frozen=True)
class Example:
    """Rows that show one instance of a fault: one row, or those that belong together."""

    rows: tuple[Row, ...] = ()
    note: str | None = None


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    check:    name of the check, stable, for programs
    severity: error: training refuses it, or a score measured on these data cannot be trusted;
              warning: it costs accuracy or biases a measure; note: worth knowing
    message:  one sentence with its numbers
    count:    rows (or classes, tokens) concerned
    examples: some of them, in the order in which they should be looked at
    """

    check: str
    severity: Severity
    message: str
    count: int
    cure: str
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True)
class AuditReport:
    """All findings, the gravest first, with the sizes they are to be read against.

    sizes:  rows of each split that hold a usable text and a label
    counts: rows of each label in each split
    facts:  measurements without a verdict: lengths, writing systems, what was normalised, how much was read
    notes:  how the data were understood
    """

    findings: tuple[Finding, ...]
    sizes: Mapping[SplitName, int]
    counts: Mapping[str, Mapping[SplitName, int]]
    facts: Mapping[str, Any]
    notes: tuple[str, ...]

    def worst(self) -> Severity | None:
        return self.findings[0].severity if self.findings else None

    def has(self, at_least: Severity) -> bool:
        """Whether there is a finding of this severity or a graver one."""
        worst = self.worst()
        return worst is not None and SEVERITIES.index(worst) <= SEVERITIES.index(at_least)

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "findings": [asdict(finding) for finding in self.findings],
            "sizes": dict(self.sizes),
            "counts": {label: dict(counts) for label, counts in self.counts.items()},
            "facts": dict(self.facts),
            "notes": list(self.notes),
        }


def by_severity(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The gravest first; equally grave ones in the order of the checks."""
    return tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)))


def shortened(text: str) -> str:
    line = " ".join(text[: 2 * SHOWN_CHARACTERS].split())
    line = line.encode("utf-8", "replace").decode()  # half characters cannot be printed
    return line if len(line) <= SHOWN_CHARACTERS else line[: SHOWN_CHARACTERS - 1] + "…"


def counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
