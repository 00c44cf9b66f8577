"""grunlock compress"""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from grunlock.cli.export import UnicodeName
from grunlock.cli.tune import parse_size
from grunlock.errors import RunError

console = Console()


def compress_command(
    run: Annotated[Path, typer.Argument(help="Run folder with its data.")],
    max_size: Annotated[str | None, typer.Option(metavar="500KB", help="Of the model file.")] = None,
    max_flash: Annotated[
        str | None,
        typer.Option(
            metavar="200KB", help="Instead: of what export --to c --int8 makes of it, without code."
        ),
    ] = None,
    unicode: Annotated[
        UnicodeName | None, typer.Option(help="Of that export, with --max-flash. [default: full]")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file; else RUN/model-SIZE.grunlock.")
    ] = None,
) -> None:
    """Make a model fit into so many bytes, in the way that is best on validation."""
    from grunlock.artifact import save
    from grunlock.compression import compress, size_of
    from grunlock.export.c import flash_bytes

    size = _one_size(max_size, max_flash, unicode)
    measure = (
        size_of if max_flash is None else partial(flash_bytes, unicode=(unicode or UnicodeName.full).value)
    )
    with console.status("trying sizes"):
        found = compress(
            run, parse_size(size), lambda sentence: console.print(f"[dim]{sentence}"), measure=measure
        )
    path = output or run / f"model-{size.replace(' ', '')}.grunlock"
    sha256 = save(found.artifact, path)
    for name, value in (
        ("model", path),
        ("bytes", f"{found.num_bytes:,}{'' if max_flash is None else ' of constants in C'}"),
        ("accuracy", f"{found.after.accuracy:.4f} on validation, before {found.before.accuracy:.4f}"),
        ("nll", f"{found.after.nll:.4f} on validation, before {found.before.nll:.4f}"),
        ("sha256", sha256),
    ):
        console.print(f"{name:<9} {value}", highlight=False, markup=False, soft_wrap=True)


def _one_size(max_size: str | None, max_flash: str | None, unicode: UnicodeName | None) -> str:
    given = [size for size in (max_size, max_flash) if size is not None]
    if len(given) != 1:
        raise RunError(
            "A model is made smaller for its file or for flash memory.",
            got="--max-size and --max-flash" if given else "neither --max-size nor --max-flash",
            expected="one of them",
        )
    if unicode is not None and max_flash is None:
        raise RunError("A model file has all characters.", where="--unicode", expected="with --max-flash")
    return given[0]
