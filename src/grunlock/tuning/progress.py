"""A listener that shows how much of the budget is used, and one line per trial."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from grunlock.tuning.results import TrialRecord
from grunlock.tuning.tune import Budget


class SearchProgress:
    """Use as a context manager around the search."""

    def __init__(self, console: Console, budget: Budget) -> None:
        self._console = console
        self._budget = budget
        self._started = time.monotonic()
        self._progress = Progress(
            TextColumn("[bold]searching"),
            BarColumn(),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task("", total=1.0, state="trial 0")

    def __call__(self, trial: TrialRecord, best: bool) -> None:
        line = _line(trial) + ("  best" if best else "")
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)
        self._progress.update(
            self._task, completed=self._used(trial.number + 1), state=f"{trial.number + 1} trials"
        )

    def _used(self, trials: int) -> float:
        shares = []
        if self._budget.trials is not None:
            shares.append(trials / self._budget.trials)
        if self._budget.minutes is not None:
            shares.append((time.monotonic() - self._started) / (60 * self._budget.minutes))
        return min(1.0, max(shares))

    def __enter__(self) -> "SearchProgress":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


def _line(trial: TrialRecord) -> str:
    last = max(trial.reported, default=0)
    value = trial.objectives[0] if trial.objectives else trial.reported.get(last)
    shown = "-     " if value is None else f"{value:.4f}"
    accuracy = trial.metrics.get("accuracy")
    if accuracy is not None and accuracy != value:  # the value is something else
        shown += f"  {100 * accuracy:.2f} %"
    steps = f"{last:>3} epochs" if last else ""
    state = "" if trial.state == "complete" else f"  {trial.state.replace('_', ' ')}"
    return f"trial {trial.number:>4}  {shown}  {trial.seconds:6.1f} s  {steps:<12}{trial.origin:<7}{state}"
