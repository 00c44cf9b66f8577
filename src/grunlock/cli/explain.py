"""grunlock explain"""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from grunlock.cli.options import Model, ReadingOverrides
from grunlock.cli.options import TextColumn as TextColumnOption
from grunlock.errors import ExplanationError

if TYPE_CHECKING:
    from grunlock.artifact import Artifact
    from grunlock.explanation import CorpusExplanation, Examples, Explained, Faithfulness
    from grunlock.shapes import FloatArray

FAITHFULNESS_EXAMPLES = 200
CORPUS_TEXTS = 2_000


def explain_command(
    model: Model,
    example: Annotated[
        str | None,
        typer.Argument(help="A text; with --row, --corpus or --faithfulness, and for series, a file."),
    ] = None,
    text: Annotated[list[str] | None, typer.Option("--text", "-t", help="A text; may be repeated.")] = None,
    row: Annotated[
        list[int] | None,
        typer.Option("--row", metavar="N", min=1, help="Explain this example of the file; may be repeated."),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option("--class", metavar="LABEL", help="The class to explain; else the most probable one."),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar="NAME",
            help="exact, integrated_gradients, occlusion, gradient_x_input, random or all; may be repeated.",
        ),
    ] = None,
    corpus: Annotated[
        bool,
        typer.Option(
            "--corpus", help="What speaks for each class, over a file or the run's validation split."
        ),
    ] = False,
    faithfulness: Annotated[
        bool,
        typer.Option(
            "--faithfulness",
            help="Which method is most faithful, over a file or the run's validation split.",
        ),
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=f"Examples of a set; else {FAITHFULNESS_EXAMPLES} with --faithfulness, "
            f"{CORPUS_TEXTS} with --corpus.",
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Rows of each table.")] = 10,
    html: Annotated[Path | None, typer.Option("--html", help="Write one page to this file as well.")] = None,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Write every number to this file as well.")
    ] = None,
    text_column: TextColumnOption = None,
    overrides: ReadingOverrides = None,
    seed: Annotated[int, typer.Option(help="Of samples and of the random control.")] = 0,
) -> None:
    """Say why a model answers as it does: what each token gave to each logit."""
    from grunlock.cli.explain_tables import show_corpus, show_explained, show_faithfulness
    from grunlock.explanation import Explainer

    console = Console(markup=False, highlight=False)
    columns = [] if text_column is None else [f"data.text_column={json.dumps(text_column)}"]
    reading = [*columns, *(overrides or [])]
    _check_question(example, text, row, corpus or faithfulness, reading)
    _refuse_ignored(corpus, faithfulness, label, method, limit)
    if corpus or faithfulness:
        examples = _examples(model, example, reading)
        of_corpus = _corpus(examples, limit or CORPUS_TEXTS, top, seed) if corpus else None
        chosen = None if method is None or "all" in method else method
        of_methods = _scores(examples, limit or FAITHFULNESS_EXAMPLES, chosen, seed) if faithfulness else None
        if of_corpus is not None:
            show_corpus(of_corpus, console)
        if of_methods is not None:
            show_faithfulness(of_methods, console)
        _write([], of_corpus, of_methods, html, json_path, top, console)
        return
    artifact, inputs = _inputs(model, example, text, row, reading)
    explainer = Explainer(artifact, seed=seed)
    methods = method or ["exact"]
    methods = list(explainer.methods) if "all" in methods else methods
    found = []
    for each in inputs:
        found.append(explainer.explain(each, methods, label))
        show_explained(found[-1], console, top)
    _write(found, None, None, html, json_path, top, console)


def _corpus(examples: "Examples", limit: int, top: int, seed: int) -> "CorpusExplanation":
    from grunlock.explanation import explain_corpus

    some = examples.some(limit, seed)
    with _progress() as progress:
        task = progress.add_task("explaining", total=len(some.inputs))
        return explain_corpus(some, top=top, progress=lambda done: progress.update(task, completed=done))


def _scores(examples: "Examples", limit: int, methods: list[str] | None, seed: int) -> "Faithfulness":
    from grunlock.explanation import faithfulness

    some = examples.some(limit, seed)
    with _progress() as progress:
        task = progress.add_task("hiding tokens", total=len(some.inputs))
        return faithfulness(
            some, methods, seed=seed, progress=lambda done: progress.update(task, completed=done)
        )


def _check_question(
    example: str | None,
    text: list[str] | None,
    row: list[int] | None,
    over_set: bool,
    reading: list[str],
) -> None:
    if over_set and (text or row):
        raise ExplanationError(
            "--corpus and --faithfulness are about many examples.",
            got="--text or --row as well",
            expected="a file behind the model, or nothing for the run's validation split",
        )
    if row and example is None:
        raise ExplanationError(
            "Rows are those of a file, and none is given.", expected="grunlock explain RUN FILE --row 1"
        )
    if not over_set and example is None and not text:
        raise ExplanationError(
            "There is nothing to explain.",
            expected='grunlock explain RUN "a text", RUN FILE --row 1, RUN --corpus or RUN --faithfulness',
        )
    if example is not None and text:
        raise ExplanationError("Give one text behind the model, or each with --text.", got="both")
    if reading and (text or (not over_set and not row) or example is None):
        raise ExplanationError(
            "A column and --set say how to read a file, and none is read.",
            expected="grunlock explain RUN FILE --row 1 --set data.encoding=gb18030",
        )


def _refuse_ignored(
    corpus: bool, faithfulness: bool, label: str | None, method: list[str] | None, limit: int | None
) -> None:
    """Options that would change nothing."""
    if label is not None and (corpus or faithfulness):
        raise ExplanationError(
            "One class is explained of single examples.",
            where="--class",
            expected="--corpus lists all classes, --faithfulness judges by the predicted one",
        )
    if method and corpus and not faithfulness:
        raise ExplanationError("--corpus adds up exact shares.", where="--method", got=", ".join(method))
    if limit is not None and not (corpus or faithfulness):
        raise ExplanationError(
            "A limit is one of many examples.", where="--limit", expected="--corpus or --faithfulness as well"
        )


def _examples(model: Path, file: str | None, reading: list[str]) -> "Examples":
    from grunlock.explanation import examples_of_file, validation_examples

    return validation_examples(model) if file is None else examples_of_file(model, file, reading)


def _inputs(
    model: Path, example: str | None, text: list[str] | None, row: list[int] | None, reading: list[str]
) -> tuple["Artifact", list["str | FloatArray"]]:
    """The model and what to explain."""
    from grunlock.artifact import read
    from grunlock.explanation import examples_of_file

    if example is not None and row:
        examples = examples_of_file(model, example, reading)
        beyond = [n for n in row if n > len(examples.inputs)]
        if beyond:
            raise ExplanationError(
                "The file has no such row.",
                where=example,
                got=f"--row {beyond[0]}",
                expected=f"1 to {len(examples.inputs)}, empty texts not counted where training drops them",
            )
        return examples.artifact, [examples.inputs[n - 1] for n in row]
    artifact = read(model)
    if artifact.recipe.data.kind == "series":
        raise ExplanationError(
            "The model reads series, which stand in files.",
            got="a text" if text else example,
            expected="grunlock explain RUN FILE --row 1",
        )
    if example is not None and os.path.isfile(example):  # unlike Path it takes a text of any length
        raise ExplanationError(
            "This is a file, and it is not said which of its texts to explain.",
            got=example,
            expected="--row 1, --corpus or --faithfulness",
            cure=f"--text {example} if these very letters are the text",
        )
    return artifact, list(text or [str(example)])


def _write(
    found: list["Explained"],
    of_corpus: "CorpusExplanation | None",
    of_methods: "Faithfulness | None",
    html: Path | None,
    json_path: Path | None,
    top: int,
    console: Console,
) -> None:
    from grunlock.explanation.page import page
    from grunlock.files import write_atomically

    if html is not None:
        write_atomically(html, page(found, of_corpus, of_methods, top))
        console.print(f"written   {html}", soft_wrap=True)
    if json_path is not None:
        fields = {
            "explanations": [each.to_dict() for each in found],
            "corpus": None if of_corpus is None else of_corpus.to_dict(),
            "faithfulness": None if of_methods is None else of_methods.to_dict(),
        }
        present = {name: value for name, value in fields.items() if value}
        write_atomically(json_path, json.dumps(present, ensure_ascii=False, indent=1))
        console.print(f"written   {json_path}", soft_wrap=True)


def _progress() -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description} {task.completed}/{task.total}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
