"""grunlock vectors"""

from pathlib import Path
from typing import Annotated, Literal

import typer

MAX_WORDS = 200_000


def vectors_command(
    model: Annotated[Path, typer.Argument(help="Folder with a Hugging Face Transformer and its tokenizer.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .npz file to write.")],
    words: Annotated[
        list[str] | None,
        typer.Option(help="Texts whose words get vectors, as for train or .txt; may be repeated."),
    ] = None,
    size: Annotated[int, typer.Option(min=1, help="Of each vector.")] = 128,
    how: Annotated[
        Literal["run", "embeddings"],
        typer.Option(help="run: what the Transformer makes of each word; embeddings: its input embeddings."),
    ] = "run",
) -> None:
    """Write static word vectors out of a Transformer, for --set embedding.vectors=FILE."""
    from grunlock.distillation.static_vectors import words_of, write_vectors

    found = [word for source in words or () for word in words_of(source, MAX_WORDS)]
    count = write_vectors(model, found, size, output, how)
    typer.echo(f"{count:,} words, {size} numbers each: {output}")
    typer.echo(f"next      grunlock train DATA --set embedding.vectors={output} --set embedding.size={size}")
