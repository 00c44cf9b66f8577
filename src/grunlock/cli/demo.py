"""grunlock demo: the whole road on real data that ships with the package."""

import shutil
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from grunlock.cli.unlock import show_unlocked, tell_stage

console = Console()
MAX_SHOWN_LABELS = 3
# Better than without on this set's validation split; see benchmarks/LOG.md.
DEMO_SETTINGS = ("embedding.ngrams.buckets=16384",)
EXAMPLES = (
    "I still have not received my new card, can you check where it is?",
    "Why was I charged twice for the same purchase?",
    "How do I change the PIN of my card?",
)


def demo_command(
    minutes: Annotated[float, typer.Option(help="Of the clock, for everything.")] = 2.0,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder, replaced.")] = Path("runs/demo"),
) -> None:
    """Unlock BANKING77 (77 intents of bank customers): from the usual GRU to the best one, with a verdict."""
    from grunlock.tuning.progress import SearchProgress
    from grunlock.tuning.tune import Budget
    from grunlock.unlock import UnlockSettings, unlock

    console.print(
        "[bold]BANKING77[/bold]: 13,083 questions of bank customers in 77 classes (PolyAI, CC-BY-4.0)"
    )
    if any((output / name).is_file() for name in ("unlock.json", "run.json")):  # an older demo
        shutil.rmtree(output)
    with resources.as_file(resources.files("grunlock.data").joinpath("samples/banking77")) as folder:
        settings = UnlockSettings(source=str(folder), overrides=DEMO_SETTINGS, minutes=minutes)
        with SearchProgress(console, Budget(minutes=minutes)) as progress:
            result = unlock(settings, output, listen=tell_stage, listen_trial=progress)
    _show_predictions(output, EXAMPLES)
    show_unlocked(result)


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
