"""grunlock vectors"""

import tempfile
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

MAX_WORDS = 200_000
console = Console()


def vectors_command(
    model: Annotated[
        Path | None,
        typer.Argument(help="Folder with a Hugging Face Transformer and its tokenizer; or --texts instead."),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The .npz file to write.")] = Path(
        "vectors.npz"
    ),
    texts: Annotated[
        list[str] | None,
        typer.Option(
            help="Texts, as for pretrain, to learn vectors from: which words stand near each other. May be "
            "repeated."
        ),
    ] = None,
    words: Annotated[
        list[str] | None,
        typer.Option(
            help="Texts whose words get vectors of the model, as for train or .txt; may be repeated."
        ),
    ] = None,
    size: Annotated[int, typer.Option(min=1, help="Of each vector.")] = 128,
    how: Annotated[
        Literal["run", "embeddings"],
        typer.Option(help="run: what the Transformer makes of each word; embeddings: its input embeddings."),
    ] = "run",
) -> None:
    """Write static word vectors out of a Transformer or out of texts, for --set embedding.vectors=FILE."""
    _check_usage(model, texts, words)
    if model is None:
        count = _of_texts(texts or [], size, output)
    else:
        from grunlock.distillation.static_vectors import words_of, write_static_vectors

        found = [word for source in words or () for word in words_of(source, MAX_WORDS)]
        count = write_static_vectors(model, found, size, output, how)
    typer.echo(f"{count:,} words, {size} numbers each: {output}")
    typer.echo(f"next      grunlock train DATA --set embedding.vectors={output} --set embedding.size={size}")


def _check_usage(model: Path | None, texts: list[str] | None, words: list[str] | None) -> None:
    from grunlock.errors import RunError

    if (model is None) == (not texts):
        raise RunError(
            "Vectors come out of a Transformer or out of texts.",
            got="neither" if model is None else "both",
            expected="grunlock vectors MODEL, or grunlock vectors --texts FILE",
        )
    if model is None and words:
        raise RunError(
            "--words says which words get vectors of a Transformer.",
            got="--words with --texts",
            cure="leave --words out: all words of the texts get vectors",
        )


def _of_texts(texts: list[str], size: int, output: Path) -> int:
    from grunlock.pretraining.cooccurrence import write_text_vectors

    with tempfile.TemporaryDirectory() as folder, console.status("reading") as status:
        return write_text_vectors(
            texts,
            size,
            output,
            Path(folder),
            progress=lambda activity, done: status.update(f"{activity} {done:,}"),
        )
