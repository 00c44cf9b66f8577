"""The `grunlock` command: gathers the verbs, turns our errors into messages and exit codes.

Exit codes: 0 done, 1 an error of ours (its message on stderr), 2 wrong usage, 3 the doctor found a fault,
130 stopped by the user.
"""

import gc
import sys
from typing import Annotated

import typer
from rich.console import Console

from grunlock._version import __version__
from grunlock.cli import (
    ablate,
    audit,
    bench,
    compress,
    demo,
    distill,
    doctor,
    duel,
    evaluate,
    explain,
    export,
    lr_range,
    predict,
    pretrain,
    recipe,
    report,
    serve,
    train,
    tune,
    unlock,
    vectors,
)
from grunlock.cli.options import speaks_for_all
from grunlock.errors import GrunlockError, RunInterruptedError, missing_library

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Gated recurrent classifiers, unlocked: train, evaluate and use them.",
)
app.command(name="unlock")(unlock.unlock_command)
app.command(name="train")(train.train_command)
app.command(name="audit")(audit.audit_command)
app.command(name="evaluate")(evaluate.evaluate_command)
app.command(name="predict")(predict.predict_command)
app.command(name="explain")(explain.explain_command)
app.command(name="tune")(tune.tune_command)
app.command(name="duel")(duel.duel_command)
app.command(name="ablate")(ablate.ablate_command)
app.command(name="distill")(distill.distill_command)
app.command(name="pretrain")(pretrain.pretrain_command)
app.command(name="lr-range")(lr_range.lr_range_command)
app.command(name="compress")(compress.compress_command)
app.command(name="export")(export.export_command)
app.command(name="serve")(serve.serve_command)
app.command(name="report")(report.report_command)
app.command(name="vectors")(vectors.vectors_command)
app.command(name="recipe")(recipe.recipe_command)
app.command(name="demo")(demo.demo_command)
app.command(name="bench")(bench.bench_command)
app.command(name="doctor")(doctor.doctor_command)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"grunlock {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of the command itself; each verb has its own."""


def command() -> None:
    """The process of a command: what main does, and a quick end."""
    try:
        main()
    finally:
        gc.freeze()  # on leaving Python would look for cycles among the million objects of torch: a second


def main() -> None:
    """Run the command line. Errors that are not ours keep their traceback: they are bugs."""
    try:
        try:
            app()
        except ModuleNotFoundError as error:
            raise missing_library(error) or error from error
    except GrunlockError as error:
        if speaks_for_all() or not error.shared:
            Console(stderr=True, soft_wrap=True).print(str(error), style="red", markup=False, highlight=False)
        sys.exit(130 if isinstance(error, RunInterruptedError) else 1)
