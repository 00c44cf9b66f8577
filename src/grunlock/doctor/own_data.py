"""Our own models on their validation split, and texts without a model: what in the data locks a GRU."""

from pathlib import Path
from typing import Any

import numpy as np

from grunlock.artifact import Artifact
from grunlock.audit import AuditOptions, AuditReport, audit
from grunlock.data.prepared import is_prepared, open_prepared
from grunlock.doctor.findings import Finding, Report, Severity, by_severity
from grunlock.doctor.gates import NUM_STEPS, Doubles
from grunlock.evaluation.files import evaluate_file, evaluate_run
from grunlock.objectives.metrics import EvaluationResult
from grunlock.recipe import Recipe
from grunlock.runtime.network import embed
from grunlock.shapes import sequence_major_rows
from grunlock.text import DistinctTokens, TextFrontEnd
from grunlock.text.token_kinds import UNKNOWN_ID

ECE_WORTH_SAYING = 0.1
LEAST_EXAMPLES = 200
MOST_MEASURED = 64  # examples whose gates are watched
MOST_EXAMPLES = 5000
UNKNOWN_SHARE = 0.2
SEVERITY: dict[str, Severity] = {"error": "fault", "warning": "warning", "note": "note"}
AUDIT_SOURCE = "grunlock audit, which shows the rows"


def valid_vectors(artifact: Artifact, where: Path) -> Doubles | None:
    """[B, NUM_STEPS, D] what the first layer reads of a run's validation examples, one after another; None if
    they are too few."""
    store = open_prepared(where / "data").valid
    batch = store.batch(np.arange(min(MOST_MEASURED, store.num_examples)))
    vectors, index = embed(artifact.weights, batch.inputs)
    rows = vectors[index][sequence_major_rows(batch.layout.batch_sizes)].astype(np.float64)
    count = len(rows) // NUM_STEPS
    return rows[: count * NUM_STEPS].reshape(count, NUM_STEPS, -1) if count else None


def own_data_findings(
    artifact: Artifact, where: Path, data: Path | None
) -> tuple[list[Finding], dict[str, Any]]:
    """Scores on a given file, or on the run's own validation split if its data are still there."""
    scores = _scores(where, data)
    if scores is None:
        return [], {}
    measures = {
        "examples": scores.num_examples,
        "accuracy": scores.accuracy,
        "nll": scores.nll,
        "ece": scores.ece,
    }
    found = [*_calibration(scores), *_classes(scores, where)]
    if data is None:
        unknown = _unknown_share(artifact, where)
        measures |= {} if unknown is None else {"unknown_tokens": unknown}
        found += [] if unknown is None or unknown < UNKNOWN_SHARE else [_unknown_words(unknown)]
    return found, measures


def _unknown_share(artifact: Artifact, where: Path) -> float | None:
    """Of the tokens of the validation split, those that stand for any unknown word; None if n-grams tell them
    apart."""
    if not isinstance(artifact.front_end, TextFrontEnd) or artifact.front_end.ngrams is not None:
        return None
    store = open_prepared(where / "data").valid
    tokens = store.batch(np.arange(min(MOST_EXAMPLES, store.num_examples))).inputs
    assert isinstance(tokens, DistinctTokens)
    return float((tokens.vocab_ids[tokens.inverse] == UNKNOWN_ID).mean())


def _unknown_words(share: float) -> Finding:
    return Finding(
        "unknown_words",
        "warning",
        "Many words of the validation split are unknown to the model.",
        "tokenizer.json",
        f"{share:.1%} of the tokens",
        "They all share one vector.",
        "--set embedding.ngrams={}, or text.tokens=bpe, or vectors that know them: grunlock vectors",
    )


def _scores(where: Path, data: Path | None) -> EvaluationResult | None:
    if data is not None:
        return evaluate_file(where, data)
    return evaluate_run(where, "valid") if is_prepared(where / "data") else None


def _calibration(scores: EvaluationResult) -> list[Finding]:
    if scores.num_examples < LEAST_EXAMPLES or scores.ece < ECE_WORTH_SAYING:
        return []
    return [
        Finding(
            "miscalibration",
            "warning",
            "Probabilities are not honest on these examples.",
            "calibration.json",
            f"expected calibration error {scores.ece:.3f} on {scores.num_examples:,} texts",
            "A threshold on such a probability promises another error rate than it keeps.",
            "train with data.calibration_fraction=0.5, and answer with predict_or_abstain",
            "Guo et al. 2017, On Calibration of Modern Neural Networks",
        )
    ]


def _classes(scores: EvaluationResult, where: Path) -> list[Finding]:
    missed = [each.label for each in scores.classes if each.support >= 5 and each.recall == 0]
    if not missed:
        return []
    return [
        Finding(
            "class_never_answered",
            "warning",
            "Classes are never answered rightly.",
            str(where),
            f"{len(missed)} of {len(scores.classes)}: {', '.join(missed[:5])}",
            "Their texts are all errors.",
            "--set loss.class_weights=balanced, or more examples of these classes",
        )
    ]


def examine_data(path: Path, recipe: Recipe, *, quick: bool = False) -> Report:
    """Labelled texts without a model, in the doctor's words. Raises DataError as `grunlock.audit`."""
    report = audit(str(path), recipe=recipe, options=AuditOptions(cross_validation=not quick))
    findings = [_from_audit(report, i) for i in range(len(report.findings))]
    lengths = report.facts["lengths"]
    measures = {
        "lengths": lengths,
        "writing_systems": report.facts["writing_systems"],
        "sizes": dict(report.sizes),
    }
    read = [
        f"{split}: {size:,} texts, {lengths[split]['tokens']['median']:,} tokens at the median, "
        f"{lengths[split]['tokens']['max']:,} at most"
        for split, size in report.sizes.items()
    ]
    return Report(f"labelled texts: {path}", tuple(read), by_severity(findings), (), measures)


def _from_audit(report: AuditReport, i: int) -> Finding:
    found = report.findings[i]
    rows = [row for example in found.examples[:1] for row in example.rows[:1]]
    where = f"{rows[0].place}, row {rows[0].number}" if rows else "the whole set"
    why = {
        "error": "Training refuses it, or a score measured on these data cannot be trusted.",
        "warning": "It costs accuracy or biases a measure.",
        "note": "Worth knowing.",
    }
    return Finding(
        found.check,
        SEVERITY[found.severity],
        found.message[0].upper() + found.message[1:].rstrip(".") + ".",
        where,
        f"{found.count:,} concerned",
        why[found.severity],
        found.cure,
        AUDIT_SOURCE,
    )
