"""Which labels are probably wrong: confident learning (Northcutt, Jiang & Chuang 2021, arXiv 1911.00068).

Written after the paper's section 3. Needs probabilities from a model that has not seen the example.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grunlock.audit.findings import Example, Finding
from grunlock.audit.rows import LabelledTexts
from grunlock.shapes import IntArray

NOTABLE_NOISE = 0.01  # estimated share of wrong labels, from which it is a warning
ABLE = 0.85  # accuracy, below which most suspects are the model's own errors


@dataclass(frozen=True)
class LabelErrors:
    """S suspects, the surest first.

    rows:        [S] positions in what was judged
    suggested:   [S] class that the model is confident of
    confidence:  [S] 0-1, its probability of that class
    noise_share: estimated share of wrong labels among all that were judged
    accuracy:    0-1, of the model against the given labels
    num_judged:  examples
    """

    rows: IntArray
    suggested: IntArray
    confidence: NDArray[np.float64]
    noise_share: float
    accuracy: float
    num_judged: int


def find_label_errors(probs: NDArray[np.float64], targets: IntArray) -> LabelErrors:
    """Examples that the confident joint counts off its diagonal.

        (1)  t_j = mean of p_j over the examples labelled j          how sure the model is of its class j
        (2)  confident classes of an example = {j : p_j >= t_j}; its class = the likeliest of them, if any
        (3)  C[i, j] = examples labelled i whose class is j           the confident joint
        (4)  Q[i, j] = C[i, j] / sum of C[i] * examples labelled i    each row as large as its class

    probs: [M, K], out of sample; targets: [M]. The share of wrong labels is Q off its diagonal, over M.
    Suspects are the examples counted off the diagonal in (3), by p of their class minus p of the given.
    """
    num_examples, num_classes = probs.shape
    sizes = np.bincount(targets, minlength=num_classes)
    of_label = probs[np.arange(num_examples), targets]
    thresholds = np.bincount(targets, of_label, num_classes) / np.maximum(sizes, 1)
    confident = (probs >= thresholds) & (sizes > 0)
    likeliest = np.where(confident, probs, -1.0).argmax(axis=1)
    counted = confident.any(axis=1)
    joint = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(joint, (targets[counted], likeliest[counted]), 1)
    of_row = joint.sum(axis=1)
    wrong = (of_row - np.diag(joint)) / np.maximum(of_row, 1) * sizes
    suspects = np.flatnonzero(counted & (likeliest != targets))
    suggested = likeliest[suspects]
    confidence = probs[suspects, suggested]
    ranked = np.argsort(of_label[suspects] - confidence, kind="stable")
    return LabelErrors(
        suspects[ranked],
        suggested[ranked],
        confidence[ranked],
        float(wrong.sum() / num_examples),
        float((probs.argmax(axis=1) == targets).mean()),
        num_examples,
    )


def label_error_findings(
    found: LabelErrors, judged: IntArray, data: LabelledTexts, labels: Sequence[str], max_examples: int
) -> list[Finding]:
    """judged: rows of `data` that stand at the positions which `found` names."""
    if not len(found.rows):
        return []
    able = found.accuracy >= ABLE
    verdict = (
        f"and up to {found.noise_share:.1%} of them may be wrong"
        if able
        else "so little that most suspects are errors of its own"
    )
    shown = zip(
        judged[found.rows[:max_examples]].tolist(),
        found.suggested[:max_examples].tolist(),
        found.confidence[:max_examples].tolist(),
        strict=True,
    )
    return [
        Finding(
            "label_errors",
            "warning" if able and found.noise_share >= NOTABLE_NOISE else "note",
            f"{len(found.rows):,} of {found.num_judged:,} labels are suspect: a linear model of other texts "
            f"is confident of another class. It agrees with {found.accuracy:.1%} of all labels, {verdict}",
            len(found.rows),
            "look at them from the top and correct the labels that are wrong",
            tuple(
                Example((data.row(row),), f"suggested {labels[suggested]}, confidence {confidence:.2f}")
                for row, suggested, confidence in shown
            ),
        )
    ]
