"""grunlock pretrain"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from grunlock.cli.options import Overrides, given_besides
from grunlock.errors import RunError

console = Console()


def pretrain_command(
    context: typer.Context,
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            help="Texts without labels: a table, or .txt with a text a line. Of labelled data, as for train, "
            "those of the training split."
        ),
    ] = None,
    recipe: Annotated[str, typer.Option("--recipe", "-r", help="Network and training.")] = "pretrain",
    overrides: Overrides = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the pretrained network.")] = Path(
        "pretrained"
    ),
    resume: Annotated[Path | None, typer.Option(help="Go on with a stopped pretraining.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads to compute with.")] = None,
) -> None:
    """Train embedding and encoder as language models in both directions, for classifiers to start from."""
    besides = given_besides(context, "resume", "threads")
    if (resume is None) == (not texts) or (resume is not None and besides):
        raise RunError(
            "Pretraining needs texts, or --resume alone.",
            got=besides or "nothing",
            expected="grunlock pretrain TEXTS... -o FOLDER, or grunlock pretrain --resume FOLDER",
        )
    import torch

    from grunlock.pretraining.run import pretrain, resume_pretraining
    from grunlock.recipe import read_recipe
    from grunlock.training.progress import ProgressBar

    if threads is not None:
        torch.set_num_threads(threads)
    with ProgressBar(console) as bar:
        if resume is not None:
            folder = resume_pretraining(resume, (bar,))
        else:
            folder = pretrain(texts or [], read_recipe(recipe, overrides or ()), output, (bar,))
    for line in (f"pretrained  {folder}", f"next        grunlock train DATA --set pretrained.path={folder}"):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
