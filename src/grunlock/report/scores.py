"""How good a model is: scores, classes, confusions, the worst errors, how honest its probabilities are."""

from pathlib import Path
from typing import Any

from grunlock.evaluation.worst import WrongAnswer, worst_errors
from grunlock.objectives.reliability import reliability
from grunlock.objectives.selective import risk_coverage
from grunlock.report import figures
from grunlock.report.about import command
from grunlock.report.evaluated import Answers, Evaluated, raw_texts
from grunlock.report.figures import Line
from grunlock.report.page import (
    Cell,
    Chart,
    Example,
    Examples,
    Paragraph,
    Part,
    Section,
    Table,
    cells,
    own,
    section,
)
from grunlock.report.words import LONGEST_TEXT, count, cut, number, percent, plural, reach, share
from grunlock.training.run_folder import RunFolder

MOST_ERRORS = 20
MOST_CONFUSIONS = 10
HEIGHT_OF_CLASS, MOST_HEIGHT = 26, 620
METRIC_NAMES = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1, the mean over classes",
    "nll": "NLL, nats per example",
    "ece": "ECE, the mean gap between probability and truth",
    "brier": "Brier score",
}


def verdict_on(found: Evaluated) -> tuple[str, ...]:
    """Accuracy with its interval, and what else matters most."""
    scores = found.scores
    interval = scores["intervals"]["accuracy"]
    first = (
        f"{percent(scores['accuracy'], 1)} of {scores['num_examples']:,} {found.name} examples are "
        "answered right "
        f"(95 % interval {reach(interval['low'], interval['high'], 1)})."
    )
    confused = confusions(scores)
    second = f"Its probabilities are off by {100 * scores['ece']:.1f} points on average (ECE)"
    if not confused:
        return first, second + "."
    times, right, answer = confused[0]
    return first, f"{second}; most often {right!r} is taken for {answer!r}, {plural(times, 'time')}."


def confusions(scores: dict[str, Any]) -> list[tuple[int, str, str]]:
    """(times, right label, answer), the most frequent first."""
    labels = [row["label"] for row in scores["classes"]]
    pairs = [
        (times, labels[i], labels[j])
        for i, row in enumerate(scores["confusion"])
        for j, times in enumerate(row)
        if i != j and times
    ]
    return sorted(pairs, key=lambda pair: (-pair[0], pair[1:]))


def score_sections(found: Evaluated) -> list[Section | None]:
    parts: list[Part] = [_scores(found)]
    if found.gone is not None:
        parts.append(Paragraph(f"Reliability and single errors are left out. {found.gone}"))
    return [
        section("scores", "Scores", parts),
        section("classes", "Classes and confusions", [_matrix(found), _confusions(found), _classes(found)]),
        _errors(found),
        section("honesty", "Are the probabilities honest?", _honesty(found)),
    ]


def _scores(found: Evaluated) -> Table:
    rows = [
        cells(words, number(found.scores[name]), f"{interval['low']:.4f} to {interval['high']:.4f}")
        for name, words in METRIC_NAMES.items()
        if (interval := found.scores["intervals"].get(name)) is not None
    ]
    caption = (
        f"On {found.scores['num_examples']:,} {found.name} examples; bootstrap intervals over the "
        "examples, not over "
        "training runs."
    )
    return Table(caption, ("score", "value", "95 % interval"), tuple(rows), sorts=False)


def _matrix(found: Evaluated) -> Chart:
    labels = found.labels
    there = [row for row in found.scores["classes"] if row["support"]]
    worst = min(there, key=lambda row: (row["recall"], row["label"]))
    height = min(MOST_HEIGHT, max(320, 150 + HEIGHT_OF_CLASS * len(labels)))
    large = (
        ""
        if len(labels) <= 3 * figures.MOST_CELL_TEXTS
        else " There are too many classes for names: see the tables."
    )
    caption = (
        "Rows are the right classes, columns the answers; the stronger the colour, the larger the "
        "share of the row. "
        f"{worst['label']!r} is found least often, in {percent(worst['recall'], 1)} of its examples.{large}"
    )
    return Chart(figures.matrix(found.scores["confusion"], labels), caption, None, height)


def _confusions(found: Evaluated) -> Table | None:
    pairs = confusions(found.scores)
    rows = [cells(own(right), own(answer), count(times)) for times, right, answer in pairs[:MOST_CONFUSIONS]]
    left = (
        f" {len(pairs) - MOST_CONFUSIONS:,} rarer pairs are left out." if len(pairs) > MOST_CONFUSIONS else ""
    )
    caption = f"What is taken for what.{left}"
    return Table(caption, ("right class", "answer", "times"), tuple(rows)) if rows else None


def _classes(found: Evaluated) -> Table:
    rows = [
        cells(
            own(row["label"]),
            share(row["precision"], 1),
            share(row["recall"], 1),
            share(row["f1"], 1),
            count(row["support"]),
        )
        for row in found.scores["classes"]
    ]
    caption = "Precision: of the answers, so many are right. Recall: of the examples, so many are found."
    return Table(caption, ("class", "precision", "recall", "F1", "examples"), tuple(rows))


def _errors(found: Evaluated) -> Section | None:
    if found.answers is None:
        return None
    title = "The worst errors"
    wrong = worst_errors(found.answers.probs, found.answers.targets, found.labels, MOST_ERRORS)
    if not wrong:
        return section("errors", title, [Paragraph(f"There is none on the {found.name} split.")])
    raw = raw_texts(found.run, found.split)
    num_wrong = round(found.scores["num_examples"] * (1 - found.scores["accuracy"]))
    lead = (
        f"{len(wrong)} of {plural(num_wrong, 'wrong answer')}, those that give the right label the "
        "lowest probability. "
        "Each is an error of the model, or of the label."
    )
    if raw.texts is None:
        return section(
            "errors", title, [Paragraph(lead), Paragraph(f"No text is shown: {raw.gone}."), _bare(wrong)]
        )
    items = [_example(found, each, raw.texts[each.example]) for each in wrong]
    return section("errors", title, [Paragraph(lead), Examples(tuple(items))])


def _example(found: Evaluated, each: WrongAnswer, text: str) -> Example:
    facts = (
        f"labelled {each.label!r} (given {percent(each.of_label, 1)}), answered {each.predicted!r} with "
        f"{percent(each.probability, 1)}; example {each.example} of the split"
    )
    shown = text
    if len(text) > LONGEST_TEXT:
        shown = cut(text, LONGEST_TEXT)
        facts += f"; cut here, {len(text):,} characters in all"
    line = command("grunlock", "explain", _model_of(found), "--text", text)
    return Example(shown, facts, line if len(text) <= LONGEST_TEXT else None)


def _model_of(found: Evaluated) -> Path:
    """The one that gave these answers: of validation that from before it learned these examples."""
    before = RunFolder(found.run).before_refit
    return before if found.split == "valid" and before.is_file() else found.run


def _bare(wrong: tuple[WrongAnswer, ...]) -> Table:
    rows = [
        cells(
            count(each.example),
            own(each.label),
            own(each.predicted),
            share(each.probability, 1),
            share(each.of_label, 1),
        )
        for each in wrong
    ]
    columns = ("example", "label", "answer", "its probability", "that of the label")
    return Table("Examples by their place in the split, from 0.", columns, tuple(rows))


def _honesty(found: Evaluated) -> list[Part | None]:
    if found.answers is None:
        return [_sets(found), _abstention(found)]
    return [_reliability(found.answers), _selective(found.answers), _sets(found), _abstention(found)]


def _reliability(answers: Answers) -> Chart:
    found = reliability(answers.probs, answers.targets)
    worst = max(found.bins, key=lambda each: abs(each.accuracy - each.confidence))
    towards = "surer than it is right" if worst.confidence > worst.accuracy else "righter than it is sure"
    caption = (
        f"Where the model says 90 %, is it right in 90 of 100? ECE {100 * found.ece:.1f} points; "
        "the largest gap is at "
        f"{percent(worst.confidence, 0)}, where it is {towards}: {percent(worst.accuracy, 0)} right."
    )
    rows = [
        cells(
            share(each.confidence, 1),
            share(each.accuracy, 1),
            reach(each.low, each.high, 1),
            count(each.num_examples),
        )
        for each in found.bins
    ]
    columns = ("mean probability", "right", "95 % interval", "examples")
    drawn = figures.diagonal(
        [100 * each.confidence for each in found.bins],
        [100 * each.accuracy for each in found.bins],
        [100 * each.low for each in found.bins],
        [100 * each.high for each in found.bins],
        [each.num_examples for each in found.bins],
    )
    return Chart(
        drawn, caption, Table("Bins of as many examples each; Wilson intervals.", columns, tuple(rows)), 380
    )


SHOWN_COVERAGES = (0.5, 0.7, 0.8, 0.9, 0.95, 1.0)


def _selective(answers: Answers) -> Chart:
    found = risk_coverage(answers.probs, answers.targets)
    caption = (
        f"Answering only the surest 80 % leaves {percent(found.error_at(0.8), 1)} errors instead of "
        f"{percent(found.error[-1], 1)} (area under the curve {found.area:.4f}, the best possible "
        f"{found.best_area:.4f})."
    )
    rows = [cells(share(each, 0), share(found.error_at(each))) for each in SHOWN_COVERAGES]
    curve = Line(
        "error", [100 * each for each in found.coverage], [100 * each for each in found.error], stepped=True
    )
    drawn = figures.lines([curve], "answered, %, the surest first", "wrong among them, %", rangemode="tozero")
    return Chart(
        drawn,
        caption,
        Table("At least so many answered.", ("answered", "wrong among them"), tuple(rows)),
        300,
    )


def _sets(found: Evaluated) -> Table | None:
    rows = [
        cells(
            share(row["promised_coverage"], 0),
            row["method"],
            share(row["coverage"]),
            "all labels" if row["all_labels"] else number(row["mean_size"], ".2f"),
        )
        for row in found.scores.get("sets", ())
    ]
    caption = (
        f"Sets of labels: promised, and kept on the {found.name} examples. The promise is one on average."
    )
    return (
        Table(caption, ("promised to hold the right label", "by", "hold it", "labels in a set"), tuple(rows))
        if rows
        else None
    )


def _abstention(found: Evaluated) -> Table | None:
    rows = [
        cells(
            share(row["max_error"], 0),
            share(row["answered_fraction"]) if row["can_promise"] else Cell("cannot promise", order=-1.0),
            "" if row["error"] is None else share(row["error"]),
        )
        for row in found.scores.get("abstention", ())
    ]
    caption = f"Answers only where sure: promised, and kept on the {found.name} examples."
    return (
        Table(caption, ("promised error, at most", "answered", "wrong among them"), tuple(rows))
        if rows
        else None
    )
