"""How a run learned: loss and accuracy by epoch, learning rate and gradients by step, the learning anew."""

from pathlib import Path
from typing import Any

from grunlock.report import figures
from grunlock.report.figures import MOST_POINTS, Line
from grunlock.report.page import Chart, Paragraph, Part, Section, Table, cells, section
from grunlock.report.results import reading
from grunlock.report.words import count, duration, number, percent, plural, share
from grunlock.training.events import EVENT_NAMES, EpochDone, StepDone
from grunlock.training.history import read_history
from grunlock.training.run_folder import RunFolder


def curves_section(path: Path) -> Section | None:
    run = RunFolder(path)
    with reading(run.history):
        history = read_history(run.history)
    epochs = [record for record in history if record["event"] == EVENT_NAMES[EpochDone]]
    steps = [record for record in history if record["event"] == EVENT_NAMES[StepDone]]
    if not steps:
        return None
    parts: list[Part] = []
    if epochs:
        parts += [_loss(epochs), _accuracy(epochs)]
    parts += [_rate(steps), _gradients(steps)]
    anew = [record for record in read_history(run.refit.history) if record["event"] == EVENT_NAMES[StepDone]]
    if anew:
        parts.append(_refit(anew))
    if max(len(steps), len(anew)) > MOST_POINTS:
        parts.append(
            Paragraph(f"Curves by step show {MOST_POINTS:,} steps, evenly spread, of {len(steps):,}.")
        )
    return section("learning", "How it learned", parts)


def best_epoch(epochs: list[dict[str, Any]]) -> int:
    """The last one that was the best so far."""
    return max(
        (int(record["epoch"]) for record in epochs if record["best"]), default=int(epochs[-1]["epoch"])
    )


def _loss(epochs: list[dict[str, Any]]) -> Chart:
    best = best_epoch(epochs)
    chosen = next(record for record in epochs if record["epoch"] == best)
    x = [record["epoch"] for record in epochs]
    drawn = figures.lines(
        [
            Line("training, regularisers on", x, [record["train_loss"] for record in epochs], both=True),
            Line("validation", x, [record["valid_loss"] for record in epochs], both=True),
        ],
        "epoch",
        "loss, nats per example",
        marked={"best": best},
    )
    caption = (
        f"Epoch {best} of {epochs[-1]['epoch']} is the best: validation loss "
        f"{chosen['valid_loss']:.4f}, before calibration."
    )
    rows = [
        cells(
            count(record["epoch"]),
            number(record["train_loss"]),
            number(record["valid_loss"]),
            share(record["valid_accuracy"]),
            share(record["valid_macro_f1"]),
            number(record["seconds"], ".1f"),
        )
        for record in epochs
    ]
    columns = ("epoch", "training loss", "validation loss", "accuracy", "macro F1", "seconds")
    spent = duration(sum(record["seconds"] for record in epochs))
    return Chart(drawn, caption, Table(f"All epochs, {spent} in all.", columns, tuple(rows)))


def _accuracy(epochs: list[dict[str, Any]]) -> Chart:
    best = best_epoch(epochs)
    chosen = next(record for record in epochs if record["epoch"] == best)
    x = [record["epoch"] for record in epochs]
    drawn = figures.lines(
        [
            Line("accuracy", x, [100 * record["valid_accuracy"] for record in epochs], both=True),
            Line("macro F1", x, [100 * record["valid_macro_f1"] for record in epochs], both=True),
        ],
        "epoch",
        "validation, %",
        marked={"best": best},
    )
    caption = (
        f"Validation accuracy at the best epoch: {percent(chosen['valid_accuracy'])}, of the network alone."
    )
    return Chart(drawn, caption, None, 300)


def _rate(steps: list[dict[str, Any]]) -> Chart:
    highest = max(steps, key=lambda record: record["lr"])
    curve = Line("learning rate", [record["step"] for record in steps], [record["lr"] for record in steps])
    drawn = figures.lines([curve], "step", "learning rate", rangemode="tozero")
    caption = f"The learning rate is highest at step {highest['step']:,}: {highest['lr']:.3g}."
    return Chart(drawn, caption, None, 240)


def _gradients(steps: list[dict[str, Any]]) -> Chart:
    clipped = [record for record in steps if record["clipped"] and record["grad_norm"] is not None]
    num_clipped = sum(bool(record["clipped"]) for record in steps)
    skipped = sum(bool(record["skipped"]) for record in steps)
    series = [Line("norm", [record["step"] for record in steps], [record["grad_norm"] for record in steps])]
    if clipped:
        series.append(
            Line(
                "clipped",
                [record["step"] for record in clipped],
                [record["grad_norm"] for record in clipped],
                marks=True,
            )
        )
    caption = (
        f"Norm of the gradients before clipping: {plural(num_clipped, 'step')} of {len(steps):,} clipped, "
        f"{skipped:,} skipped because a gradient was not finite."
    )
    scale: dict[str, Any] = {"type": "log", "dtick": "D2", "tickformat": ".3~g"}
    return Chart(figures.lines(series, "step", "gradient norm", **scale), caption, None, 280)


def _refit(steps: list[dict[str, Any]]) -> Chart:
    curve = Line("loss", [record["step"] for record in steps], [record["train_loss"] for record in steps])
    caption = (
        f"Learning anew with the validation examples, {len(steps):,} steps: loss of each step's "
        "examples. It has no "
        "validation scores; those above are of the model before."
    )
    return Chart(figures.lines([curve], "step", "training loss, nats"), caption, None, 260)
