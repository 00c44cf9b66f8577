"""A listener that shows a progress bar on the terminal, and one line per epoch."""

from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from grunlock.training.events import (
    DataProgress,
    EpochDone,
    Event,
    PretrainEpochDone,
    RunStarted,
    StepDone,
    WideFitted,
)


class ProgressBar:
    """Use as a context manager around the run."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f} steps"),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task("starting", total=1, state="")
        self._epochs = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, DataProgress):
            self._progress.update(self._task, description=f"{event.activity} {event.rows:,} rows")
        elif isinstance(event, RunStarted):
            self._epochs = event.epochs
            for note in event.notes:
                self._console.print(f"[dim]{escape(note)}", highlight=False, soft_wrap=True)
            if event.step:
                self._console.print(f"resumed after step {event.step}")
            self._progress.update(self._task, total=event.total_steps, completed=event.step)
        elif isinstance(event, StepDone):
            state = f"loss {event.train_loss:.3f}" + (" skipped" if event.skipped else "")
            description = f"epoch {event.epoch + 1}/{self._epochs}"
            self._progress.update(self._task, completed=event.step, state=state, description=description)
        elif isinstance(event, EpochDone):
            self._console.print(
                f"epoch {event.epoch:>3}/{self._epochs}  train loss {event.train_loss:.4f}  "
                f"valid loss {event.valid_loss:.4f}  accuracy {event.valid_accuracy:.4f}  "
                f"{event.seconds:5.1f} s{'  best' if event.best else ''}"
                f"{f'  {event.skipped_steps} steps skipped' if event.skipped_steps else ''}",
                highlight=False,
                soft_wrap=True,
            )

        elif isinstance(event, PretrainEpochDone):
            self._console.print(
                f"epoch {event.epoch:>3}/{self._epochs}  train loss {event.train_loss:.4f}  "
                f"valid loss {event.valid_loss:.4f}  perplexity {event.valid_perplexity:,.1f}  "
                f"{event.seconds:5.1f} s{'  best' if event.best else ''}",
                highlight=False,
                soft_wrap=True,
            )
        elif isinstance(event, WideFitted):
            self._console.print(
                f"wide path: on validation the linear model {event.linear_accuracy:.4f}, the network "
                f"{event.network_accuracy:.4f}; added with weight "
                f"{' and '.join(f'{weight:.2f}' for weight in event.weights)}",
                highlight=False,
                soft_wrap=True,
            )

    def __enter__(self) -> "ProgressBar":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
