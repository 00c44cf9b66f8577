"""Options that several verbs share, worded once."""

import os
from pathlib import Path
from typing import Annotated

import typer

from grunlock.kernels.stack import InferencePrecision

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one value of the recipe; may be repeated."),
]
ReadingOverrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="How to read the file, such as data.encoding=gb18030; may be repeated.",
    ),
]
RecipeName = Annotated[
    str, typer.Option("--recipe", "-r", help="A built-in recipe, a TOML file or a run folder.")
]
Space = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        "-r",
        help="A search space: built-in, a TOML file, or any recipe with --set ranges. If not given: "
        "search; small, where size or latency is limited; for .npz and .ts search_series.",
    ),
]
Model = Annotated[Path, typer.Argument(help="A run folder or a model.grunlock file.")]
PredictionPrecision = Annotated[
    InferencePrecision,
    typer.Option(
        help="Of the products in recurrent layers. bfloat16 and int8 are faster and change numbers slightly."
    ),
]
TextColumn = Annotated[str | None, typer.Option("--text-column", help="Column with the texts.")]
ClusterAddress = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="ADDRESS",
        help="Run on a Ray cluster: HOST:PORT of its head node, or auto: the one of this machine, else one "
        "that is started here.",
    ),
]
TrialCpus = Annotated[
    float | None,
    typer.Option(
        "--trial-cpus", help="With --cluster: processors of each training, such as 2 or 0.5; 1 if not given."
    ),
]
TrialGpus = Annotated[
    float | None, typer.Option("--trial-gpus", help="With --cluster: GPUs of each training; else none.")
]
SharedStorage = Annotated[
    str | None,
    typer.Option(
        "--shared",
        metavar="URI",
        help="With --cluster: a storage that every node reaches, such as s3://BUCKET/FOLDER, where nodes do "
        "not see the folder of the results.",
    ),
]
LabelColumn = Annotated[str | None, typer.Option("--label-column", help="Column with the labels.")]


def given_besides(context: typer.Context, *allowed: str) -> str:
    """What stands on the command line besides these parameters, as in "data, --recipe"; empty if nothing."""
    found = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name is not None and parameter.name not in allowed and _is_given(context, parameter.name)
    ]
    return ", ".join(found)


def given_among(context: typer.Context, *names: str) -> str:
    """Which of these parameters stand on the command line, as in "--workers, --drain"; empty if none."""
    return ", ".join(
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name in names and _is_given(context, parameter.name)
    )


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def usual_recipes(data: str) -> tuple[str, str]:
    """The recipe where none is named, and the plain one beside it: for texts, or for .npz and .ts."""
    from grunlock.data.series.sources import holds_series

    return ("series", "seed_series") if holds_series(data) else ("default", "seed")


def speaks_for_all() -> bool:
    """Whether this process may say what all processes of its group know: rank 0 of torchrun's, or one that
    nobody started together with others."""
    together = "WORLD_SIZE" in os.environ and "MASTER_ADDR" in os.environ
    return not together or os.environ.get("RANK", "0") == "0"
