"""grunlock evaluate"""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from grunlock.cli.options import LabelColumn, Model, PredictionPrecision, ReadingOverrides, TextColumn
from grunlock.errors import RunError

if TYPE_CHECKING:
    from grunlock.evaluation import EarlyCurve
    from grunlock.objectives.metrics import EvaluationResult

MAX_CONFUSIONS = 10
MAX_MATRIX_CLASSES = 12


def evaluate_command(
    model: Model,
    data: Annotated[str | None, typer.Argument(help="Labelled file; without it the run's own split.")] = None,
    split: Annotated[
        str | None, typer.Option(help="Which split of the run, test (the default) or valid.")
    ] = None,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    overrides: ReadingOverrides = None,
    precision: PredictionPrecision = "float32",
    early: Annotated[
        bool, typer.Option("--early", help="Scores against how much was read, and early decisions.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON document.")] = False,
) -> None:
    """Measure a model: accuracy, macro F1, NLL, ECE with intervals, per class, confusions."""
    from grunlock.evaluation import early_curve_file, early_curve_run, evaluate_file, evaluate_run

    result: EarlyCurve | EvaluationResult
    if data is None:
        if text_column or label_column or overrides:
            raise RunError(
                "Columns and --set say how to read a file, and none is given.",
                expected="grunlock evaluate RUN FILE --set data.encoding=gb18030",
            )
        of_run = early_curve_run if early else evaluate_run
        result = of_run(model, split or "test", precision)
    else:
        if split is not None:
            raise RunError(
                "A file and --split contradict each other.",
                got=f"{data} and --split {split}",
                expected="grunlock evaluate RUN FILE, or grunlock evaluate RUN --split valid",
            )
        of_file = early_curve_file if early else evaluate_file
        result = of_file(model, data, text_column, label_column, overrides or (), precision)
    if as_json:
        typer.echo(json.dumps(result.to_dict(), ensure_ascii=False))
    elif early:
        show_early_curve(result.to_dict(), Console(markup=False))
    else:
        show_evaluation(result.to_dict(), Console(markup=False))  # labels may hold brackets


def show_early_curve(result: dict[str, Any], console: Console) -> None:
    """Scores by the share that was read, and what early decisions read and err."""
    title = f"{result['num_examples']} examples of {result['mean_steps']:.1f} steps on average"
    shares = Table(title=title)
    for heading in ("share read", "accuracy", "nll", "ece", "nll at one temperature"):
        shares.add_column(heading, justify="right")
    for row in result["shares"]:
        scores = [f"{row[name]:.4f}" for name in ("accuracy", "nll", "ece", "plain_nll")]
        shares.add_row(f"{row['share']:.1f}", *scores)
    console.print(shares)
    if not result["decisions"]:
        console.print("early decisions need a model trained with data.calibration_fraction")
        return
    decisions = Table(title="early decisions")
    for heading in ("promised error", "share read", "decided", "error", "undecided"):
        decisions.add_column(heading, justify="right")
    for row in result["decisions"]:
        error = "" if row["error"] is None else f"{row['error']:.4f}"
        decided = [f"{row['decided_fraction']:.4f}", error, f"{1 - row['decided_fraction']:.4f}"]
        cells = [f"{row['share_read']:.4f}", *decided] if row["can_promise"] else ["cannot promise"]
        decisions.add_row(f"{row['max_error']:g}", *cells)
    console.print(decisions)


def show_evaluation(result: dict[str, Any], console: Console) -> None:
    """Scores with intervals, the classes, and the most frequent confusions."""
    scores = Table(title=f"{result['num_examples']} examples")
    for heading in ("metric", "value", f"{result['confidence']:.0%} interval"):
        scores.add_column(heading, justify="left" if heading == "metric" else "right")
    for name, interval in result["intervals"].items():
        scores.add_row(name, f"{result[name]:.4f}", f"{interval['low']:.4f} to {interval['high']:.4f}")
    console.print(scores)
    _show_promises(result, console)
    classes = Table(title="classes")
    for heading in ("label", "precision", "recall", "F1", "examples"):
        classes.add_column(heading, justify="left" if heading == "label" else "right")
    for row in result["classes"]:
        shares = [f"{row[name]:.4f}" for name in ("precision", "recall", "f1")]
        classes.add_row(row["label"], *shares, str(row["support"]))
    console.print(classes)
    _show_confusions(result, console)


def _show_promises(result: dict[str, Any], console: Console) -> None:
    """What a model with a calibration split promises, and how it was kept on these examples."""
    if "sets" in result:
        sets = Table(title="sets of labels")
        for heading in ("promised coverage", "by", "coverage", "mean size"):
            sets.add_column(heading, justify="left" if heading == "by" else "right")
        for row in result["sets"]:
            size = "all labels" if row["all_labels"] else f"{row['mean_size']:.2f}"
            sets.add_row(f"{row['promised_coverage']:g}", row["method"], f"{row['coverage']:.4f}", size)
        console.print(sets)
        if any(row["all_labels"] for row in result["sets"]):
            console.print("all labels: there were too few calibration examples for this coverage")
    if "abstention" in result:
        abstention = Table(title="answers only where sure")
        for heading in ("promised error", "answered", "error"):
            abstention.add_column(heading, justify="right")
        for row in result["abstention"]:
            answered = f"{row['answered_fraction']:.4f}" if row["can_promise"] else "cannot promise"
            error = "" if row["error"] is None else f"{row['error']:.4f}"
            abstention.add_row(f"{row['max_error']:g}", answered, error)
        console.print(abstention)


def _show_confusions(result: dict[str, Any], console: Console) -> None:
    labels = [row["label"] for row in result["classes"]]
    counts = result["confusion"]
    if len(labels) <= MAX_MATRIX_CLASSES:
        matrix = Table(title="confusion (rows: true, columns: predicted)")
        for heading in ("", *labels):
            matrix.add_column(heading, justify="right")
        for label, row in zip(labels, counts, strict=True):
            matrix.add_row(label, *(str(count) for count in row))
        console.print(matrix)
        return
    pairs = [
        (counts[true][predicted], labels[true], labels[predicted])
        for true in range(len(labels))
        for predicted in range(len(labels))
        if true != predicted and counts[true][predicted]
    ]
    table = Table(title="most frequent confusions")
    for heading in ("true", "predicted", "times"):
        table.add_column(heading, justify="right" if heading == "times" else "left")
    for count, true, predicted in sorted(pairs, key=lambda pair: (-pair[0], pair[1:]))[:MAX_CONFUSIONS]:
        table.add_row(true, predicted, str(count))
    console.print(table)
