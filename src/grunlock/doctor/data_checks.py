"""What labelled examples show: what each fault costs, whether probabilities are honest, what is cut off."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grunlock.doctor.encoded import LabelledIds
from grunlock.doctor.findings import Cost, Finding
from grunlock.doctor.foreign import ForeignModel
from grunlock.doctor.structure_checks import mended
from grunlock.doctor.twin import hindrances, logits
from grunlock.objectives.calibration import fit_temperature
from grunlock.objectives.intervals import mean_interval
from grunlock.objectives.metrics import evaluate
from grunlock.runtime.probabilities import probabilities
from grunlock.seeding import generator
from grunlock.shapes import FloatArray, IntArray

Doubles = NDArray[np.float64]
LEAST_TO_CALIBRATE = 100
MISCALIBRATED = 0.05  # expected calibration error that is worth a finding, if a temperature mends some of it
UNKNOWN_SHARE, CUT_SHARE = 0.1, 0.1
UNUSED_SHARE = 0.5


def with_costs(
    findings: list[Finding], model: ForeignModel, data: LabelledIds
) -> tuple[list[Finding], dict[str, Any], FloatArray]:
    """The findings with what was measured, the measures, and the model's logits as it is."""
    as_it_is = logits(model, data.texts)
    measured = []
    for finding in findings:
        better = mended(model, finding.check)
        if better is None or hindrances(better):
            measured.append(finding)
        else:
            measured.append(
                replace(finding, cost=accuracy_cost(as_it_is, logits(better, data.texts), data.targets))
            )
    scores = evaluate(probabilities(as_it_is, 1.0), data.targets, _names(data, as_it_is), resamples=1000)
    interval = scores.intervals["accuracy"]
    measures = {
        "examples": len(data.targets),
        "accuracy": scores.accuracy,
        "accuracy_interval": [interval.low, interval.high],
        "nll": scores.nll,
        "ece": scores.ece,
        "unknown_tokens": data.unknown,
        "texts_cut": data.cut,
    }
    return measured, measures, as_it_is


def _names(data: LabelledIds, found: FloatArray) -> tuple[str, ...]:
    more = tuple(str(k) for k in range(len(data.labels), found.shape[1]))
    return data.labels + more


def accuracy_cost(before: FloatArray, after: FloatArray, targets: IntArray) -> Cost:
    """Paired over the examples."""
    was, now = before.argmax(axis=1) == targets, after.argmax(axis=1) == targets
    interval = mean_interval(now.astype(np.float64) - was, seed=0)
    return Cost("accuracy", float(was.mean()), float(now.mean()), interval.low, interval.high, len(targets))


def _nll(found: FloatArray, targets: IntArray, temperature: Doubles) -> Doubles:
    scaled = found.astype(np.float64) / temperature[:, None]
    highest = scaled.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(scaled - highest).sum(axis=1)) + highest[:, 0]
    result: Doubles = log_sum - scaled[np.arange(len(targets)), targets]
    return result


def calibration(model: ForeignModel, found: FloatArray, data: LabelledIds) -> list[Finding]:
    """Miscalibration that a temperature mends, judged on examples that did not choose it: two halves."""
    if len(data.targets) < LEAST_TO_CALIBRATE:
        return []
    halves = generator(0, "doctor", "halves").permutation(len(data.targets)) % 2
    temperature = np.empty(len(data.targets))
    for half in (0, 1):
        fitted = fit_temperature(found[halves != half], data.targets[halves != half])
        temperature[halves == half] = fitted
    before, after = (
        _nll(found, data.targets, np.ones(len(temperature))),
        _nll(found, data.targets, temperature),
    )
    names = _names(data, found)
    ece = evaluate(probabilities(found, 1.0), data.targets, names, resamples=0).ece
    mended_ece = evaluate(
        probabilities(found, temperature[:, None].astype(np.float32)), data.targets, names, resamples=0
    ).ece
    interval = mean_interval(after - before, seed=0)
    if ece < MISCALIBRATED or mended_ece > ece - MISCALIBRATED / 2 or interval.high >= 0:
        return []
    mean = float(fit_temperature(found, data.targets))
    cost = Cost("nll", float(before.mean()), float(after.mean()), interval.low, interval.high, len(after))
    return [
        Finding(
            "miscalibration",
            "warning",
            f"Probabilities are {'too sure' if mean > 1 else 'not sure enough'}.",
            model.head[-1].name if model.head else model.where,
            f"expected calibration error {ece:.3f}; with a temperature of {mean:.2f} it is "
            f"{mended_ece:.3f}, judged on examples that did not choose it",
            "A threshold on such a probability promises another error rate than it keeps.",
            f"divide logits by {mean:.2f} in front of the softmax",
            "Guo et al. 2017, On Calibration of Modern Neural Networks",
            cost,
        )
    ]


def answers(model: ForeignModel, found: FloatArray, data: LabelledIds) -> list[Finding]:
    """Whether it answers better than the most frequent label, and with all classes."""
    given = np.bincount(found.argmax(axis=1), minlength=found.shape[1])
    wanted = np.bincount(data.targets, minlength=found.shape[1])
    accuracy, majority = (
        float((found.argmax(axis=1) == data.targets).mean()),
        float(wanted.max() / wanted.sum()),
    )
    findings = []
    if accuracy <= majority and len(data.targets) >= 2 * found.shape[1]:
        findings.append(
            Finding(
                "no_better_than_one_label",
                "warning",
                "It answers no better than always the most frequent label.",
                model.where,
                f"accuracy {accuracy:.4f}, the most frequent label's share {majority:.4f}",
                "Either nothing was learned, or texts become other ids, or labels another order, than in "
                "training.",
                "check --vocab, --labels and --padding; then mend what is found above",
            )
        )
    never = [_names(data, found)[k] for k in np.flatnonzero((given == 0) & (wanted > 0))]
    if never and given.max() < len(data.targets):
        findings.append(
            Finding(
                "class_never_answered",
                "warning",
                "Classes are never answered.",
                model.where,
                f"{len(never)} of {found.shape[1]}: {', '.join(never[:5])}",
                "Their texts are all errors.",
                "class weights in training, or more examples of these classes",
            )
        )
    return findings


def reading(model: ForeignModel, data: LabelledIds) -> list[Finding]:
    """What of the texts the model gets to see, and what of its vocabulary it needs."""
    findings = []
    if data.unknown is not None and data.unknown >= UNKNOWN_SHARE:
        findings.append(
            Finding(
                "unknown_words",
                "warning",
                "Many words are unknown to the model.",
                "vocabulary",
                f"{data.unknown:.1%} of the tokens",
                "They all share one vector.",
                "check that texts are split as in training (--split); or train with characters or n-grams",
            )
        )
    if data.cut >= CUT_SHARE:
        findings.append(
            Finding(
                "cut_texts",
                "warning",
                "Many texts are cut off.",
                f"--max-length {data.texts.ids.shape[1]}",
                f"{data.cut:.1%} of them",
                "What stands behind the limit cannot be read.",
                "a larger limit, or keep beginning and end: text.cut=middle of grunlock (Sun 2019)",
            )
        )
    return findings + _oversized(model, data)


def _oversized(model: ForeignModel, data: LabelledIds) -> list[Finding]:
    if model.embedding is None:
        return []
    rows = len(model.embedding.weight)
    used = len(np.unique(data.texts.ids[data.texts.real()]))
    if rows < 1000 or used > (1 - UNUSED_SHARE) * rows:
        return []
    return [
        Finding(
            "unused_vocabulary",
            "note",
            "Most of the vocabulary is not used by these texts.",
            model.embedding.name,
            f"{used:,} of {rows:,} rows, "
            f"{model.embedding.weight.nbytes * (rows - used) / rows / 2**20:.1f} MiB unused",
            "Rows take memory; those that training did not meet either are noise when they come.",
            "text.min_count=2 in training, or grunlock compress afterwards",
        )
    ]
