"""grunlock evaluate"""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from grunlock.cli.options import LabelColumn, Model, TextColumn

MAX_CONFUSIONS = 10


def evaluate_command(
    model: Model,
    data: Annotated[str | None, typer.Argument(help="Labelled file; without it the run's own split.")] = None,
    split: Annotated[str, typer.Option(help="Which split of the run: test or valid.")] = "test",
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON document.")] = False,
) -> None:
    """Measure a model: accuracy, macro F1, NLL, ECE with intervals, per class, confusions."""
    from grunlock.evaluation import evaluate_file, evaluate_run

    if data is None:
        result = evaluate_run(model, split)
    else:
        result = evaluate_file(model, data, text_column=text_column, label_column=label_column)
    if as_json:
        typer.echo(json.dumps(result.to_dict(), ensure_ascii=False))
    else:
        show_evaluation(result.to_dict(), Console())
