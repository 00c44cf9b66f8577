"""grunlock demo: the main job on real data that ships with the package."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from grunlock.cli.options import Overrides, RecipeName

console = Console()
MAX_SHOWN_LABELS = 3
# Better than the plain default on this set's validation split; see benchmarks/LOG.md.
DEMO_SETTINGS = ("embedding.ngrams.buckets=16384",)
EXAMPLES = (
    "I still have not received my new card, can you check where it is?",
    "Why was I charged twice for the same purchase?",
    "How do I change the PIN of my card?",
)


def demo_command(
    recipe: RecipeName = "default",
    overrides: Overrides = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run, replaced.")] = Path(
        "runs/demo"
    ),
) -> None:
    """Train on BANKING77 (77 intents of bank customers), then compare with a linear model."""
    from grunlock.evaluation import evaluate_run
    from grunlock.recipe import read_recipe
    from grunlock.training.progress import ProgressBar
    from grunlock.training.run import RunOptions, train

    settings = overrides or (DEMO_SETTINGS if recipe == "default" else ())
    chosen = read_recipe(recipe, settings)
    described = " ".join([chosen.name, *(f"--set {setting}" for setting in settings)])
    console.print(
        "[bold]BANKING77[/bold]: 13,083 questions of bank customers in 77 classes (PolyAI, CC-BY-4.0)"
    )
    with resources.as_file(resources.files("grunlock.data").joinpath("samples/banking77")) as folder:
        with ProgressBar(console) as bar:
            options = RunOptions(listeners=(bar,), overwrite=True)
            result = train(folder, chosen, output, options=options)
        console.print("training the linear baseline on the same texts ...")
        baseline = _baseline_accuracy(folder)
    test = evaluate_run(output, "test")
    interval = test.intervals["accuracy"]
    table = Table(title=f"test accuracy, {test.num_examples} questions")
    table.add_column("model")
    table.add_column("accuracy", justify="right")
    table.add_row(
        f"grunlock, recipe {described}",
        f"{test.accuracy:.4f} ({interval.low:.4f} to {interval.high:.4f})",
    )
    table.add_row("linear SVM on TF-IDF n-grams", f"{baseline:.4f}")
    console.print(table)
    _show_predictions(output, EXAMPLES)
    console.print(f"run      {result.folder}  (recipe, history, checkpoint, metrics)", soft_wrap=True)
    console.print(f"model    {result.folder / 'model.grunlock'}", soft_wrap=True)
    console.print(f'try      grunlock predict {output} --text "..."', soft_wrap=True)


def _baseline_accuracy(folder: Path) -> float:
    from grunlock.comparison.linear import linear_accuracy
    from grunlock.data.sources import read_texts
    from grunlock.recipe.text_options import TextDataOptions

    splits = []
    for name in ("train", "test"):
        texts: list[str] = []
        labels: list[str] = []
        for chunk in read_texts(folder / f"{name}.tsv.gz", TextDataOptions(), labels="required").chunks():
            texts += [str(text) for text in chunk.texts]
            labels += [str(label) for label in chunk.labels or ()]
        splits.append((texts, labels))
    (train_texts, train_labels), (test_texts, test_labels) = splits
    return linear_accuracy(train_texts, train_labels, test_texts, test_labels)


def _show_predictions(run: Path, texts: Sequence[str]) -> None:
    from grunlock.artifact import load
    from grunlock.evaluation import predict_texts

    table = Table(title="predictions, calibrated probabilities")
    table.add_column("text")
    table.add_column("labels")
    for prediction in predict_texts(load(run), texts):
        best = sorted(prediction.probs.items(), key=lambda item: -item[1])[:MAX_SHOWN_LABELS]
        table.add_row(prediction.text, "\n".join(f"{p:.3f} {label}" for label, p in best))
    console.print(table)
