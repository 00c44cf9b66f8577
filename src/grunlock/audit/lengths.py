"""How long the texts are, which rows are empty or too long, and how many would be cut."""

from dataclasses import dataclass

import numpy as np

from grunlock.audit.findings import Example, Finding, Severity, counted
from grunlock.audit.rows import FaultKind, LabelledTexts
from grunlock.data.splits import SplitName
from grunlock.recipe.text_options import TextDataOptions
from grunlock.shapes import IntArray

QUANTILES = {"median": 0.5, "p95": 0.95, "p99": 0.99}
NOTABLE_CUT = 0.05  # share of texts that are cut, from which a longer limit may pay
OUTLIER = 20  # times the 99th percentile


@dataclass(frozen=True)
class Lengths:
    """characters, tokens: minimum, quantiles and maximum, by name. num_cut: texts longer than max_tokens."""

    split: SplitName
    size: int
    characters: dict[str, int]
    tokens: dict[str, int]
    max_tokens: int | None
    num_cut: int


def measure_lengths(
    data: LabelledTexts, num_characters: IntArray, num_tokens: IntArray, max_tokens: int | None
) -> tuple[Lengths, ...]:
    found = []
    for split in data.present:
        rows = data.in_split(split)
        cut = 0 if max_tokens is None else int((num_tokens[rows] > max_tokens).sum())
        sizes = _distribution(num_characters[rows]), _distribution(num_tokens[rows])
        found.append(Lengths(split, int(rows.sum()), *sizes, max_tokens, cut))
    return tuple(found)


def _distribution(values: IntArray) -> dict[str, int]:
    quantiles = {name: int(np.quantile(values, q, method="lower")) for name, q in QUANTILES.items()}
    return {"min": int(values.min()), **quantiles, "max": int(values.max())}


def length_findings(
    lengths: tuple[Lengths, ...], data: LabelledTexts, num_characters: IntArray, max_examples: int
) -> list[Finding]:
    findings = []
    cut = [found for found in lengths if found.num_cut >= NOTABLE_CUT * found.size]
    if cut:
        told = ", ".join(f"{found.num_cut / found.size:.1%} of {found.split}" for found in cut)
        findings.append(
            Finding(
                "cut_texts",
                "note",
                f"{told} have more than {cut[0].max_tokens} tokens and are cut there by the recipe",
                sum(found.num_cut for found in cut),
                f"--set text.max_tokens={max(found.tokens['p95'] for found in cut)}, or text.cut=middle to "
                "keep both ends",
            )
        )
    usual = int(np.quantile(num_characters, 0.99))
    outliers = np.flatnonzero(num_characters > OUTLIER * max(usual, 1))
    if len(outliers):
        outliers = outliers[np.argsort(-num_characters[outliers], kind="stable")]
        findings.append(
            Finding(
                "very_long_texts",
                "note",
                f"{counted(len(outliers), 'text is', 'texts are')} more than {OUTLIER} times as long as 99% "
                f"of them ({usual:,} characters)",
                len(outliers),
                "check for an unclosed quote or a whole file in one row",
                tuple(
                    Example((data.row(row),), f"{num_characters[row]:,} characters")
                    for row in outliers[:max_examples].tolist()
                ),
            )
        )
    return findings


def fault_findings(data: LabelledTexts, options: TextDataOptions, max_examples: int) -> list[Finding]:
    """Rows that training refuses, or treats as `options` say."""
    drop = "--set data.empty_texts=drop, or keep to learn from them as empty"
    treated = {
        "refuse": "training refuses them",
        "drop": "they are dropped",
        "keep": "they are kept as empty",
    }
    empty: Severity = "error" if options.empty_texts == "refuse" else "note"
    limit = f"more than {options.max_text_bytes:,} bytes (data.max_text_bytes)"
    told: dict[FaultKind, tuple[str, Severity, str, str]] = {
        "unlabelled": ("unlabelled", "error", "{} no label", "give them a label or remove them"),
        "not_unicode": (
            "not_unicode",
            "error",
            "{} half a character, which is no Unicode",
            "correct or remove them",
        ),
        "too_long": ("too_long", "error", "{} " + limit, "check for an unclosed quote, or raise the limit"),
        "empty": ("empty_texts", empty, "{} no text; " + treated[options.empty_texts], drop),
    }
    findings = []
    for kind, (check, severity, message, cure) in told.items():
        rows = data.faults.get(kind, [])
        if rows:
            by_split = ", ".join(
                f"{count:,} in {split}"
                for split in data.present
                if (count := sum(r.split == split for r in rows))
            )
            sentence = message.format(counted(len(rows), "row has", "rows have"))
            examples = tuple(Example((row,)) for row in rows[:max_examples])
            findings.append(Finding(check, severity, f"{sentence} ({by_split})", len(rows), cure, examples))
    return findings
