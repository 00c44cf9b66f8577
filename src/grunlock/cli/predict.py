"""grunlock predict"""

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from grunlock.cli.options import Model, PredictionPrecision, ReadingOverrides, TextColumn
from grunlock.errors import DataError, StorageError

if TYPE_CHECKING:
    from grunlock.evaluation import Answer


def predict_command(
    model: Model,
    data: Annotated[str | None, typer.Argument(help="File with texts or series.")] = None,
    text: Annotated[
        list[str] | None, typer.Option("--text", "-t", help="A text given here; may be repeated.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to this .csv or .jsonl file.")
    ] = None,
    text_column: TextColumn = None,
    overrides: ReadingOverrides = None,
    precision: PredictionPrecision = "float32",
    sets: Annotated[
        float | None,
        typer.Option(
            "--sets", metavar="COVERAGE", help="Also the labels that hold the true one so often: 0.9."
        ),
    ] = None,
    max_error: Annotated[
        float | None,
        typer.Option(
            metavar="RATE", help="No label where the model is not sure enough to err so seldom: 0.05."
        ),
    ] = None,
) -> None:
    """Predict labels with probabilities, one line per text or series, in order."""
    from grunlock.artifact import load
    from grunlock.evaluation import Promises, predict_file, predict_texts
    from grunlock.files import atomic_file

    if (data is None) == (not text):
        raise DataError("Give either a file or texts.", expected="grunlock predict RUN FILE, or --text TEXT")
    if data is None and (text_column or overrides):
        raise DataError(
            "A column and --set say how to read a file, and none is given.",
            expected="grunlock predict RUN FILE --set data.encoding=gb18030",
        )
    promises = Promises(sets, max_error)
    predictions: Iterable[Answer]
    if data is not None:
        predictions = predict_file(model, data, text_column, overrides or (), precision, promises)
    else:
        predictions = predict_texts(load(model, precision), text or [], promises)
    if output is None:
        for prediction in predictions:
            _print_line(prediction)
        return
    write = {".csv": _write_csv, ".jsonl": _write_jsonl}.get(output.suffix)
    if write is None:
        raise DataError("Unknown kind of output.", got=output, expected="a file ending in .csv or .jsonl")
    with atomic_file(output) as file:
        lines = io.TextIOWrapper(file, encoding="utf-8", newline="")
        write(lines, predictions)
        lines.flush()
        lines.detach()


def _print_line(prediction: "Answer") -> None:
    text_in_one_line = " ".join(_example(prediction).split())
    try:
        label_set = [] if prediction.label_set is None else [", ".join(prediction.label_set)]
        cells = [prediction.label, f"{prediction.probability:.4f}", *label_set, text_in_one_line]
        typer.echo("\t".join(cells))
    except BrokenPipeError:
        raise  # a reader such as `head` has enough
    except OSError as error:
        raise StorageError(
            "The predictions cannot be written to standard output.",
            got=error.strerror,
            cure="free some space, or write a file with -o, which appears only when it is whole",
        ) from error


def _example(prediction: "Answer") -> str:
    from grunlock.evaluation import Prediction

    return prediction.text if isinstance(prediction, Prediction) else prediction.series


def _write_csv(file: TextIO, predictions: "Iterable[Answer]") -> None:
    from grunlock.evaluation import Prediction

    writer = csv.writer(file)
    for row, prediction in enumerate(predictions):
        if row == 0:
            kind = "text" if isinstance(prediction, Prediction) else "series"
            extra = [] if prediction.label_set is None else ["label_set"]
            writer.writerow([kind, "label", "probability", *extra])
        cells = [_example(prediction), prediction.label, f"{prediction.probability:.6f}"]
        if prediction.label_set is not None:  # as JSON: a label may hold any separator
            cells.append(json.dumps(prediction.label_set, ensure_ascii=False))
        writer.writerow(cells)


def _write_jsonl(file: TextIO, predictions: "Iterable[Answer]") -> None:
    for prediction in predictions:
        fields = {name: value for name, value in vars(prediction).items() if value is not None}
        file.write(json.dumps(fields, ensure_ascii=False) + "\n")
