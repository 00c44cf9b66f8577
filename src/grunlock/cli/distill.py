"""grunlock distill"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from grunlock.cli.options import Overrides
from grunlock.errors import DataError

if TYPE_CHECKING:
    from grunlock.distillation.teachers import Teacher

console = Console()


def distill_command(
    data: Annotated[str, typer.Argument(help="Labelled texts, as for train.")],
    teacher: Annotated[
        list[str] | None,
        typer.Option(
            help="A run folder or model.grunlock; a file of probabilities or logits (.csv, .jsonl, .npz); "
            "or a folder with a Hugging Face sequence classifier. May be repeated: their mean teaches."
        ),
    ] = None,
    folds: Annotated[
        int, typer.Option(min=0, help="Teach with an ensemble of the student's own kind, cross-fitted.")
    ] = 0,
    models_per_fold: Annotated[int, typer.Option(min=1, help="Of that ensemble.")] = 1,
    transfer: Annotated[
        str | None, typer.Option(help="Texts without labels to learn from as well: a table, or .txt.")
    ] = None,
    synthetic: Annotated[
        int, typer.Option(min=0, help="New texts to make of each training text; needs embedding.vectors.")
    ] = 0,
    min_confidence: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Of the teacher, for a transfer text to be used.")
    ] = 0.0,
    recipe: Annotated[str, typer.Option("--recipe", "-r", help="The student's.")] = "default",
    overrides: Overrides = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder; else distilled/DATA. Goes on if it was stopped."),
    ] = None,
    valid: Annotated[str | None, typer.Option(help="Validation file, if apart.")] = None,
    test: Annotated[str | None, typer.Option(help="Test file, if apart.")] = None,
) -> None:
    """Train a student on a teacher's probabilities, beside the labels and on texts that have none."""
    import hashlib
    import json

    from grunlock.cli.train import show_result
    from grunlock.distillation.distill import Lesson, Notices, distill
    from grunlock.recipe import read_recipe
    from grunlock.training.progress import ProgressBar
    from grunlock.training.run import RunOptions

    settings = list(overrides or ())
    if not any(each.partition("=")[0].startswith("distillation") for each in settings):
        settings.append("distillation={}")
    chosen = read_recipe(recipe, settings)
    folder = output or Path("distilled") / re.sub(r"[^\w.-]+", "-", Path(data).name or Path(data).parent.name)
    lesson = Lesson(
        teachers=tuple(_open_teacher(path) for path in teacher or ()),
        folds=folds,
        models_per_fold=models_per_fold,
        transfer=transfer,
        synthetic=synthetic,
        min_confidence=min_confidence,
    )
    with ProgressBar(console) as bar:
        notices = Notices(training=lambda i, count: _say(f"teacher {i + 1} of {count}"), note=_say)
        run = distill(
            data,
            chosen,
            folder,
            lesson,
            valid=valid,
            test=test,
            notices=notices,
            options=RunOptions(listeners=(bar,)),
        )
    with run.artifact.open("rb") as model:
        sha256 = hashlib.file_digest(model, "sha256").hexdigest()
    show_result(run.path, json.loads(run.metrics.read_text(encoding="utf-8")), sha256)


def _open_teacher(path: str) -> "Teacher":
    """The teacher that stands at a path, whatever kind it is."""
    from grunlock.artifact import ARTIFACT_NAME
    from grunlock.distillation.answer_files import read_answers
    from grunlock.distillation.hugging_face import HuggingFaceTeacher
    from grunlock.distillation.teachers import FileTeacher, ModelTeacher

    found = Path(path)
    if not found.exists():
        raise DataError(
            "There is no such teacher.", where=path, expected="a model, a file of answers or a folder"
        )
    if found.is_dir():
        return ModelTeacher(found) if (found / ARTIFACT_NAME).is_file() else HuggingFaceTeacher(found)
    if found.suffix == Path(ARTIFACT_NAME).suffix:
        return ModelTeacher(found)
    return FileTeacher(read_answers(found))


def _say(sentence: str) -> None:
    console.print(sentence, highlight=False, markup=False, soft_wrap=True)
