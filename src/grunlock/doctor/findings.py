"""What the doctor says: findings with evidence, reason, cure and source, and the report that holds them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["fault", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("fault", "warning", "note")


@dataclass(frozen=True)
class Cost:
    """What a finding costs on the given examples: the model mended minus the model as it is.

    measure:    "accuracy", a share, of which higher is better, or "nll" in nats, of which lower is better
    low, high:  95 % percentile bootstrap interval of the paired difference, over these examples
    """

    measure: Literal["accuracy", "nll"]
    as_it_is: float
    mended: float
    low: float
    high: float
    num_examples: int

    @property
    def difference(self) -> float:
        return self.mended - self.as_it_is

    def sentence(self) -> str:
        """In points of accuracy, or in nats."""
        scale, unit = (100, "points") if self.measure == "accuracy" else (1, "nats per text")
        values = [f"{scale * value:+.{1 if scale > 1 else 3}f}" for value in (self.low, self.high)]
        difference = f"{scale * self.difference:+.{1 if scale > 1 else 3}f}"
        adapted = self.measure == "accuracy" and self.high < 0
        return (
            f"mended without training: {self.measure} {self.as_it_is:.4f} to {self.mended:.4f}, "
            f"{difference} {unit} (95 %: {values[0]} to {values[1]}, {self.num_examples:,} texts)"
            + ("; the weights have adapted to the fault, so mend it and train again" if adapted else "")
        )


@dataclass(frozen=True)
class Finding:
    """One thing that locks the model.

    check:    name of the check, stable, for programs
    severity: fault: answers are wrong, or a part does not do what it is there for; warning: it is likely to
              cost accuracy or speed; note: worth knowing
    what:     one sentence
    where:    part of the model
    evidence: what was seen, with its numbers
    why:      why it costs
    cure:     a command or a line of code
    source:   where the fault is described or was met
    cost:     measured, where there were examples and the fault can be mended without training
    """

    check: str
    severity: Severity
    what: str
    where: str
    evidence: str
    why: str
    cure: str
    source: str | None = None
    cost: Cost | None = None


@dataclass(frozen=True)
class Unknown:
    """What the file does not say, and how the user can tell."""

    what: str
    tell: str


@dataclass(frozen=True)
class Report:
    """The whole examination, the gravest findings first.

    subject: what was examined, and as what it was read
    read:    its parts in the order in which a text goes through them
    measures: numbers without a verdict, such as accuracy on the given examples
    """

    subject: str
    read: tuple[str, ...]
    findings: tuple[Finding, ...]
    unknown: tuple[Unknown, ...]
    measures: Mapping[str, Any]

    def has(self, at_least: Severity) -> bool:
        """Whether there is a finding of this severity or a graver one."""
        return any(SEVERITIES.index(f.severity) <= SEVERITIES.index(at_least) for f in self.findings)

    def verdict(self) -> str:
        """Two sentences."""
        faults, warnings = (
            [f for f in self.findings if f.severity == severity] for severity in ("fault", "warning")
        )
        if not faults and not warnings:
            notes = sum(f.severity == "note" for f in self.findings)
            below = f"{notes} note{'s' * (notes != 1)} below." if notes else "Nothing locks it."
            if self.unknown:
                count = len(self.unknown)
                questions = "1 question is" if count == 1 else f"{count} questions are"
                return f"No fault is seen, but {questions} open, see below."
            return f"Sound. {below}"
        worst = (faults or warnings)[0]
        counts = ", ".join(
            f"{len(found)} {name}{'s' * (len(found) != 1)}"
            for name, found in (("fault", faults), ("warning", warnings))
            if found
        )
        return f"{counts}; the first to mend: {worst.what} Cure: {worst.cure}"

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "subject": self.subject,
            "verdict": self.verdict(),
            "read": list(self.read),
            "findings": [asdict(finding) for finding in self.findings],
            "unknown": [asdict(each) for each in self.unknown],
            "measures": dict(self.measures),
        }


def by_severity(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The gravest first; among equals what was measured to cost most, then the order of the checks."""
    return tuple(
        sorted(
            findings,
            key=lambda f: (SEVERITIES.index(f.severity), 0.0 if f.cost is None else -abs(f.cost.difference)),
        )
    )
