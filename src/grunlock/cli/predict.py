"""grunlock predict"""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from grunlock.cli.options import ClusterAddress, Model, PredictionPrecision, ReadingOverrides, TextColumn
from grunlock.errors import DataError, StorageError

if TYPE_CHECKING:
    from grunlock.evaluation import Answer

PartFormat = Literal["parquet", "csv", "jsonl"]


def predict_command(
    model: Model,
    data: Annotated[str | None, typer.Argument(help="File with texts or series.")] = None,
    text: Annotated[
        list[str] | None, typer.Option("--text", "-t", help="A text given here; may be repeated.")
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="Write to this .csv or .jsonl file; with --cluster to this folder, which may be s3://... or "
            "gs://...",
        ),
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
    cluster: ClusterAddress = None,
    format: Annotated[
        PartFormat | None,
        typer.Option(help="Of the parts in the folder, with --cluster.  [default: parquet]"),
    ] = None,
    skip_damaged_files: Annotated[
        bool,
        typer.Option(
            "--skip-damaged-files",
            help="With --cluster: leave out Parquet and .gz files that cannot be read to their end.",
        ),
    ] = False,
) -> None:
    """Predict labels with probabilities, one line per text or series, in order."""
    from grunlock.artifact import load
    from grunlock.evaluation import Promises, predict_file, predict_texts

    if (data is None) == (not text):
        raise DataError("Give either a file or texts.", expected="grunlock predict RUN FILE, or --text TEXT")
    if data is None and (text_column or overrides):
        raise DataError(
            "A column and --set say how to read a file, and none is given.",
            expected="grunlock predict RUN FILE --set data.encoding=gb18030",
        )
    promises = Promises(sets, max_error)
    if cluster is not None:
        from grunlock.cli.predict_cluster import predict_on_cluster
        from grunlock.scale.predict.job import BatchRequest

        source, folder = _for_cluster(data, output)
        rest = text_column, tuple(overrides or ()), precision, promises, skip_damaged_files
        predict_on_cluster(cluster, BatchRequest(model, source, folder, format or "parquet", *rest))
        return
    if format is not None or skip_damaged_files:
        raise DataError(
            "--format and --skip-damaged-files are for prediction on a cluster.",
            cure="give --cluster, or auto",
        )
    predictions: Iterable[Answer]
    if data is not None:
        predictions = predict_file(model, data, text_column, overrides or (), precision, promises)
    else:
        predictions = predict_texts(load(model, precision), text or [], promises)
    if output is not None:
        _write(Path(output), predictions)
        return
    for prediction in predictions:
        _print_line(prediction)


def _for_cluster(data: str | None, output: str | None) -> tuple[str, str]:
    """The file and the folder, which a cluster needs."""
    if data is None:
        raise DataError(
            "A cluster reads files, and only texts are given.",
            got="--text",
            cure="give a file, or leave out --cluster",
        )
    if output is None:
        raise DataError("A cluster writes to a folder, and none is given.", cure="-o FOLDER")
    return data, output


def _write(output: Path, predictions: "Iterable[Answer]") -> None:
    from grunlock.evaluation import write_csv, write_jsonl
    from grunlock.files import atomic_file

    write = {".csv": write_csv, ".jsonl": write_jsonl}.get(output.suffix)
    if write is None:
        raise DataError("Unknown kind of output.", got=output, expected="a file ending in .csv or .jsonl")
    with atomic_file(output) as file:
        lines = io.TextIOWrapper(file, encoding="utf-8", newline="")
        write(lines, predictions)
        lines.flush()
        lines.detach()


def _print_line(prediction: "Answer") -> None:
    from grunlock.evaluation import example_of

    text_in_one_line = " ".join(example_of(prediction).split())
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
