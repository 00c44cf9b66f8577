"""Texts that give their label away: the label's own words in them, or one token that settles the class.

Both may be the nature of a task ("who" asks for a person). They are reported because they may also come from
how the data were collected, and then the model that learns them fails in use.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from grunlock.audit.findings import Example, Finding, Severity
from grunlock.audit.tokens import Kind, normalise
from grunlock.shapes import IntArray

LABEL_WORDS = re.compile(r"[^\W_]+")
SHORTEST_WORD = 3  # letters of a label's word, where words have spaces between them
OFTEN, LESS_OFTEN = 0.3, 0.03  # share of a class's texts, and of others', that hold its label's words
MIN_TEXTS = 20  # that hold a token, for its class to be no accident
PURITY = 0.98  # share of the texts with a token that have its class
COVERED = 0.5  # share of the class's texts that hold it
ALMOST_ALL = 0.95
FEWER_OTHERS = 10  # times fewer texts of other classes than by chance

CsrMatrix = Any


@dataclass(frozen=True)
class LabelWords:
    """A label whose words all stand in texts of its own: shares of its texts and of the other classes'."""

    label: int
    own: float
    others: float


@dataclass(frozen=True)
class TellingToken:
    """A token that settles a class.

    num_texts: that hold it. purity: share of these with the class. covered: share of the class that holds it
    """

    token: str
    label: int
    num_texts: int
    purity: float
    covered: float


def label_words(
    texts: Sequence[str], targets: IntArray, labels: Sequence[str], kind: Kind
) -> tuple[LabelWords, ...]:
    """Labels that occur in texts of their class much more than elsewhere.

    texts: [M] distinct ones; targets: [M]. Labels without a word of at least SHORTEST_WORD letters (two
    characters where there are no spaces) are passed over, as are those without texts.
    """
    patterns = [_pattern(label, kind) for label in labels]
    if not any(patterns):
        return ()
    normal = [normalise(text) for text in texts]
    found = []
    for k, pattern in enumerate(patterns):
        own = targets == k
        if not pattern or not own.any() or own.all():
            continue
        holds = np.fromiter((_holds(text, pattern) for text in normal), np.bool_, len(normal))
        shares = float(holds[own].mean()), float(holds[~own].mean())
        if shares[0] >= OFTEN and shares[1] <= LESS_OFTEN:
            found.append(LabelWords(k, *shares))
    return tuple(sorted(found, key=lambda words: -words.own))


def _pattern(label: str, kind: Kind) -> list[tuple[str, re.Pattern[str]]]:
    """The words of a label, each with what it must match in a text."""
    words = [word for word in LABEL_WORDS.findall(normalise(label)) if not word.isdigit()]
    if kind == "characters":
        return [(word, re.compile(re.escape(word))) for word in words if len(word) > 1]
    return [(word, re.compile(rf"\b{re.escape(word)}\b")) for word in words if len(word) >= SHORTEST_WORD]


def _holds(text: str, pattern: list[tuple[str, re.Pattern[str]]]) -> bool:
    return all(word in text for word, _ in pattern) and all(found.search(text) for _, found in pattern)


def telling_tokens(
    counts: CsrMatrix, names: Sequence[str], targets: IntArray, num_classes: int
) -> tuple[TellingToken, ...]:
    """Tokens whose presence nearly determines the class; the one that covers most of each class.

    counts: [M, tokens], stored where a text holds a token; names: [tokens].
    """
    from scipy.sparse import csr_matrix

    frequency = np.bincount(counts.indices, minlength=counts.shape[1])
    often = np.flatnonzero(frequency >= MIN_TEXTS)
    sizes = np.bincount(targets, minlength=num_classes)
    if not len(often):
        return ()
    ones = np.ones(len(targets), np.float32)
    one_hot = csr_matrix((ones, (targets, np.arange(len(targets)))), (num_classes, len(targets)))
    held = counts[:, often]
    held.data = np.ones(len(held.data), np.float32)
    of_class = np.asarray((one_hot @ held).todense())  # [K, often]
    purity = of_class / frequency[often]
    covered = of_class / np.maximum(1, sizes)[:, None]
    by_chance = sizes / len(targets)
    telling = (purity >= PURITY) & (covered >= COVERED)
    telling &= (1 - purity) * FEWER_OTHERS <= (1 - by_chance)[:, None]
    found = []
    for k in np.flatnonzero(telling.any(axis=1)).tolist():
        best = int(np.where(telling[k], covered[k], -1).argmax())
        token = names[often[best]]
        shares = float(purity[k, best]), float(covered[k, best])
        found.append(TellingToken(token, k, int(frequency[often[best]]), *shares))
    return tuple(sorted(found, key=lambda token: -token.covered))


def leakage_findings(
    words: Sequence[LabelWords], tokens: Sequence[TellingToken], labels: Sequence[str], max_examples: int
) -> list[Finding]:
    findings = []
    if words:
        best = words[0]
        findings.append(
            Finding(
                "label_in_text",
                _severity(best.own),
                f"the words of {_labels(len(words))} stand in texts of that class much more than elsewhere: "
                f"{labels[best.label]!r} in {best.own:.1%} of its own, in {best.others:.2%} of the others",
                len(words),
                "make sure that the label was not copied into the text; if it was, cut it out",
                tuple(
                    Example(
                        note=f"{labels[word.label]}: {word.own:.1%} of its texts, {word.others:.2%} of others"
                    )
                    for word in words[:max_examples]
                ),
            )
        )
    if tokens:
        widest = tokens[0]
        findings.append(
            Finding(
                "telling_token",
                _severity(widest.covered),
                f"a single token settles {_labels(len(tokens))}: of {widest.num_texts:,} texts with "
                f"{widest.token!r} {widest.purity:.1%} have this label, {widest.covered:.1%} of "
                f"{labels[widest.label]!r}",
                len(tokens),
                "make sure that such tokens belong to the task and not to how the texts were collected",
                tuple(
                    Example(
                        note=f"{token.token!r} → {labels[token.label]}: {token.purity:.1%} of "
                        f"{token.num_texts:,} texts, {token.covered:.1%} of the class"
                    )
                    for token in tokens[:max_examples]
                ),
            )
        )
    return findings


def _severity(share: float) -> Severity:
    return "error" if share >= ALMOST_ALL else "warning"


def _labels(count: int) -> str:
    return "one label" if count == 1 else f"{count} labels"
