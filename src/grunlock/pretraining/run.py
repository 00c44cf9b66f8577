"""A whole pretraining in a folder that can be resumed at any moment.

In the folder: request.json what was asked, texts/ the prepared texts, history.jsonl, checkpoint.pt, and at
the end what data/pretrained.py describes.
"""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from grunlock.data.pretrained import FACTS, save_pretrained
from grunlock.errors import RecipeError, RunError, RunInterruptedError
from grunlock.files import write_atomically
from grunlock.pretraining.loop import Pretrainer
from grunlock.pretraining.prepare import UnlabelledTexts, prepare_unlabelled
from grunlock.recipe import Recipe, recipe_from_settings
from grunlock.recipe.model_options import GruOptions, LstmOptions
from grunlock.training.checkpoint import (
    CheckpointClock,
    damaged_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from grunlock.training.events import CheckpointWritten, DataProgress, Event, Listener, RunStarted
from grunlock.training.history import History
from grunlock.training.interruption import stop_request

REQUEST, TEXTS, HISTORY, CHECKPOINT = "request.json", "texts", "history.jsonl", "checkpoint.pt"


def pretrain(
    sources: Sequence[str], recipe: Recipe, folder: str | Path, listeners: Sequence[Listener] = ()
) -> Path:
    """Pretrain embedding and encoder of `recipe` on texts into a new folder. Returns the folder.

    Raises RecipeError for a network that cannot be pretrained so, RunError for a folder in use, DataError for
    what cannot be read, and RunInterruptedError after Ctrl-C, when a checkpoint has been written.
    """
    folder = Path(folder)
    check_network(recipe)
    if folder.exists() and any(folder.iterdir()):
        raise RunError(
            "The folder is not empty.",
            where=folder,
            expected="a new or empty folder",
            cure=f"choose another with -o, or go on with: grunlock pretrain --resume {folder}",
        )
    folder.mkdir(parents=True, exist_ok=True)
    paths = [str(Path(source).absolute()) for source in sources]
    asked = {"sources": paths, "recipe": recipe.model_dump(mode="json")}
    write_atomically(folder / REQUEST, json.dumps(asked, indent=1, ensure_ascii=False) + "\n")
    return _run(paths, recipe, folder, listeners)


def resume_pretraining(folder: str | Path, listeners: Sequence[Listener] = ()) -> Path:
    """Go on with a pretraining that was stopped or killed. Raises RunError if none was begun here."""
    folder = Path(folder)
    if not (folder / REQUEST).is_file():
        raise RunError("No pretraining was begun here.", where=folder, expected=f"a folder with {REQUEST}")
    try:
        asked = json.loads((folder / REQUEST).read_text(encoding="utf-8"))
        sources, settings = [str(each) for each in asked["sources"]], dict(asked["recipe"])
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise RunError(
            "The pretraining's own description is damaged.", where=folder / REQUEST, got=error
        ) from error
    return _run(sources, recipe_from_settings(settings), folder, listeners)


def check_network(recipe: Recipe) -> None:
    """Raises RecipeError for states that see what they predict, for an embedding that cannot be tied, and for
    options that this loop would ignore.
    """
    encoder = recipe.encoder
    wanted = {
        "data.kind = text": recipe.data.kind == "text",
        "encoder.kind = gru or lstm": isinstance(encoder, GruOptions | LstmOptions),
        "encoder.num_layers = 1 with two directions": not getattr(encoder, "bidirectional", True)
        or getattr(encoder, "num_layers", 1) == 1,
        "embedding.ngrams off": recipe.embedding is None or recipe.embedding.ngrams is None,
        "stem off": recipe.stem is None,
        "chunks off": recipe.chunks is None,
        "attention off": recipe.attention is None,
        "sam off": recipe.sam is None,
        "optim.kind other than gd": recipe.optim.kind != "gd",
        "schedule.kind other than plateau": recipe.schedule.kind != "plateau",
        "training.ema_decay off": recipe.training.ema_decay is None,
        "training.patience_epochs off": recipe.training.patience_epochs is None,
        "training.bptt_steps off": recipe.training.bptt_steps is None,
    }
    missing = [name for name, given in wanted.items() if not given]
    if missing:
        raise RecipeError(
            "This network cannot be pretrained as a language model.",
            got="a recipe without " + ", ".join(missing),
            expected=", ".join(wanted),
            cure="leave these off while pretraining; the training that starts from it may have them",
        )


def _run(sources: Sequence[str], recipe: Recipe, folder: Path, listeners: Sequence[Listener]) -> Path:
    def tell_all(event: Event) -> None:
        for listen in listeners:
            listen(event)

    data = prepare_unlabelled(
        sources, recipe, folder / TEXTS, lambda activity, done: tell_all(DataProgress(activity, done))
    )
    trainer = Pretrainer(recipe, data)
    state = read_checkpoint(folder / CHECKPOINT)
    if state is not None:
        try:
            trainer.load_state_dict(state)
        except Exception as error:  # optimisers and torch raise whatever a wrong state leads them to
            raise damaged_checkpoint(folder / CHECKPOINT, error) from error
    _fit(trainer, folder, data, listeners)
    _save(trainer, folder, data)
    return folder


def _fit(trainer: Pretrainer, folder: Path, data: UnlabelledTexts, listeners: Sequence[Listener]) -> None:
    training, step = trainer.recipe.training, trainer.progress.step
    clock = CheckpointClock(training.checkpoint_every_seconds, training.checkpoint_every_steps)
    with ExitStack() as stack:
        history = stack.enter_context(History(folder / HISTORY, step, trainer.progress.epoch))
        stop = stack.enter_context(stop_request())

        def tell(event: Event) -> None:
            everyone: tuple[Listener, ...] = (history, *listeners)
            for listen in everyone:
                listen(event)

        def checkpoint() -> None:
            write_checkpoint(folder / CHECKPOINT, trainer.state_dict())
            tell(CheckpointWritten(trainer.progress.step))
            clock.written()

        def after_step() -> None:
            if stop.requested or clock.due(trainer.progress.step):
                checkpoint()
            if stop.requested:
                raise RunInterruptedError(
                    f"Stopped after step {trainer.progress.step} of {trainer.derived.total_steps}.",
                    where=folder,
                    cure=f"go on with: grunlock pretrain --resume {folder}",
                )

        size = f"{data.counts.sum():,} tokens in {data.train.num_examples:,} pieces"
        note = f"{size}; vocabulary of {data.front_end.vocab_size:,} {data.front_end.tokens}"
        tell(RunStarted(trainer.derived.epochs, trainer.derived.total_steps, step, (note,)))
        trainer.fit(tell, after_step)
        checkpoint()


def _save(trainer: Pretrainer, folder: Path, data: UnlabelledTexts) -> None:
    assert trainer.best_weights is not None  # set at the end of the first epoch
    weights = {
        name: value.numpy().astype("float32")
        for name, value in trainer.best_weights.items()
        if name.startswith(("embedding.", "encoder."))
    }
    about: dict[str, Any] = {"progress": asdict(trainer.progress), "tokens_seen": int(data.counts.sum())}
    save_pretrained(folder, data.front_end, trainer.recipe, weights, about)
    assert (folder / FACTS).is_file()
