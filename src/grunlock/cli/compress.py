"""grunlock compress"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from grunlock.cli.tune import parse_size

console = Console()


def compress_command(
    run: Annotated[Path, typer.Argument(help="Run folder with its data.")],
    max_size: Annotated[str, typer.Option(metavar="500KB", help="Of the model file.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file; else RUN/model-SIZE.grunlock.")
    ] = None,
) -> None:
    """Make a model fit into so many bytes, in the way that is best on validation."""
    from grunlock.artifact import save
    from grunlock.compression import compress

    with console.status("trying sizes"):
        found = compress(run, parse_size(max_size), lambda sentence: console.print(f"[dim]{sentence}"))
    path = output or run / f"model-{max_size.replace(' ', '')}.grunlock"
    sha256 = save(found.artifact, path)
    for name, value in (
        ("model", path),
        ("bytes", f"{found.num_bytes:,}"),
        ("accuracy", f"{found.after.accuracy:.4f} on validation, before {found.before.accuracy:.4f}"),
        ("nll", f"{found.after.nll:.4f} on validation, before {found.before.nll:.4f}"),
        ("sha256", sha256),
    ):
        console.print(f"{name:<9} {value}", highlight=False, markup=False, soft_wrap=True)
