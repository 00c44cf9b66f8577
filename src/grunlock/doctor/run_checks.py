"""Our own runs: what their history and their model say."""

from pathlib import Path
from typing import Any

import numpy as np

from grunlock.artifact import Artifact
from grunlock.doctor.findings import Finding
from grunlock.doctor.foreign import Dense, Embedding, ForeignModel, GruLayer, Norm, Padding, Part
from grunlock.errors import DoctorError
from grunlock.recipe.model_options import GruOptions
from grunlock.runtime.norms import under
from grunlock.runtime.recurrent import recurrent_layers
from grunlock.training.history import read_history
from grunlock.training.run_folder import RunFolder

CLIPPED_SHARE = 0.9
STILL_BETTER = 0.03  # of the loss, in the last epoch
OVERFIT = 1.5  # valid loss at the end over the lowest


def describe_artifact(artifact: Artifact, where: Path) -> ForeignModel:
    """Our model in the doctor's words. Raises DoctorError for an encoder that is no GRU."""
    encoder = artifact.recipe.encoder
    if not isinstance(encoder, GruOptions):
        raise DoctorError(
            "The model has no GRU.",
            where=where,
            got=f'encoder.kind = "{encoder.kind}"',
            expected="a GRU",
            cure="grunlock evaluate and grunlock audit know every encoder",
        )
    weights = artifact.weights
    inner = "encoder.inner." if artifact.recipe.chunks is not None else "encoder."
    layers = recurrent_layers(under(weights, inner), encoder)
    norms_left = any(norm is not None for norm, _ in layers) or encoder.cell_norm
    table = weights.get("embedding.tokens.weight")
    parts: list[Part] = [part for part in artifact.recipe.pooling.parts if part in ("last", "max", "mean")]
    return ForeignModel(
        kind="grunlock model",
        where=str(where),
        embedding=None if table is None else Embedding("embedding.tokens", table, padding_id=1),
        layers=tuple(
            GruLayer(f"encoder, layer {i}", layer.directions, layer.reset_after)
            for i, (_, layer) in enumerate(layers)
        ),
        pooling=tuple(parts) or None,
        padding=Padding(gru=False, pooling=False),
        norms=tuple[Norm, ...](),
        head=(Dense("head", weights["head.weight"], weights["head.bias"]),),
        other=tuple(_more_parts(artifact)),
        facts={
            "plain_gru": not norms_left and artifact.recipe.stem is None and artifact.recipe.chunks is None
        },
    )


def _more_parts(artifact: Artifact) -> list[str]:
    """What this description leaves out; checks of single parts do not need it."""
    recipe = artifact.recipe
    parts = {
        "stem": recipe.stem,
        "chunks": recipe.chunks,
        "attention": recipe.attention,
        "wide": recipe.wide,
        "pooling.inputs": recipe.pooling.inputs or None,
        "n-grams": artifact.weights.get("embedding.ngrams.weight"),
    }
    return [name for name, there in parts.items() if there is not None]


def history_findings(run: RunFolder) -> tuple[list[Finding], dict[str, Any]]:
    """Whether training diverged, was cut short, or went on for too long."""
    events = read_history(run.history)
    epochs = [event for event in events if event["event"] == "epoch"]
    if not epochs:
        return [], {}
    steps = [event for event in events if event["event"] == "step"]
    last = epochs[-1]
    measures = {
        "epochs": len(epochs),
        "best_epoch": next((e["epoch"] for e in reversed(epochs) if e["best"]), None),
        "valid_accuracy": last["valid_accuracy"],
        "skipped_steps": last["skipped_steps"],
        "clipped_steps": last["clipped_steps"],
    }
    found = [*_diverged(run, epochs, last), *_clipped(run, last), *_end(run, epochs, events, steps)]
    return found, measures


def _diverged(run: RunFolder, epochs: list[dict[str, Any]], last: dict[str, Any]) -> list[Finding]:
    losses = [epoch["train_loss"] for epoch in epochs]
    lost = any(loss is None for loss in losses)
    if not lost and not last["skipped_steps"]:
        return []
    share = last["skipped_steps"] / max(last["step"], 1)
    return [
        Finding(
            "diverged",
            "fault" if lost or share > 0.01 else "warning",
            "Gradients were not finite.",
            str(run.history),
            f"{last['skipped_steps']:,} of {last['step']:,} steps were skipped",
            "Such steps teach nothing, and the ones before them teach the wrong thing.",
            "train with a smaller --set optim.lr; grunlock lr-range shows which",
        )
    ]


def _clipped(run: RunFolder, last: dict[str, Any]) -> list[Finding]:
    share = last["clipped_steps"] / max(last["step"], 1)
    if share < CLIPPED_SHARE or last["step"] < 50:
        return []
    return [
        Finding(
            "always_clipped",
            "note",
            "Nearly every step was clipped.",
            str(run.history),
            f"{share:.0%} of {last['step']:,} steps",
            "Then the limit sets the length of steps, and the schedule acts through it alone.",
            "--set clip.max_norm with the median of grad_norm in history.jsonl",
        )
    ]


def _end(
    run: RunFolder, epochs: list[dict[str, Any]], events: list[dict[str, Any]], steps: list[dict[str, Any]]
) -> list[Finding]:
    losses = [epoch["valid_loss"] for epoch in epochs if epoch["valid_loss"] is not None]
    if len(losses) < 3:
        return []
    lowest = int(np.argmin(losses))
    stopped = any(event["event"] == "run_done" and event["stopped_early"] for event in events)
    rate = (
        steps[-1]["lr"] / max(step["lr"] for step in steps) if steps and steps[0]["lr"] is not None else 0.0
    )
    gain = losses[-2] - losses[-1]
    better = epochs[-1]["valid_accuracy"] > epochs[-2]["valid_accuracy"]
    if better and lowest == len(losses) - 1 and gain > STILL_BETTER * losses[-2] and not stopped:
        return [
            Finding(
                "still_improving",
                "warning",
                "Training ended while it was still improving.",
                str(run.history),
                f"valid loss {losses[-2]:.4f} to {losses[-1]:.4f} in the last of {len(losses)} epochs, "
                f"learning rate there {rate:.0%} of its peak",
                "The schedule was spent before the model was.",
                f"--set training.epochs={2 * len(losses)}",
            )
        ]
    if lowest == 0 and losses[-1] > OVERFIT * losses[0]:
        return [
            Finding(
                "best_at_first",
                "warning",
                "The first epoch was the best by loss.",
                str(run.history),
                f"valid loss {losses[0]:.4f}, at the end {losses[-1]:.4f}",
                "The model learns its examples by heart after that; the kept weights have seen one epoch.",
                "a smaller --set optim.lr, more dropout (encoder.input_dropout), or fewer epochs",
            )
        ]
    return []
