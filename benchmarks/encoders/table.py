"""Figures of the runs that are done, as JSON and Markdown.

What is more than noise: training again with other seeds would move a mean. Let s be the standard deviation
over seeds, pooled over all encoders of the set (three seeds say little of a single one's), with d degrees of
freedom, and k the number of encoders beside the gru. A difference of two means, of n and m seeds, is more
than noise if it is larger than

    margin = t(1 - 0.05 / 2k, d) * s * sqrt(1/n + 1/m)        t: quantile of Student's distribution

The division by k is Bonferroni's, because the best of k is chosen. The examples of the test split are a
sample as well; how far that alone moves an accuracy p is its standard error, sqrt(p (1 - p) / examples).
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.encoders.plan import SUBJECT, DataSet
from benchmarks.encoders.store import Record
from scipy.stats import t as student

ERROR_RATE = 0.05  # of calling noise a difference, per set
HEAD = ("encoder", "test accuracy, %", "parameters", "epochs", "training, s", "µs a prediction")

NOTE = """Written by `python -m benchmarks.encoders table`; figures by seed are in encoders.json.

- Test accuracy: mean ± standard deviation over seeds. **Bold**: the best mean, if it is ahead of the gru
  (the gru: of the second) by more than other seeds could explain, as benchmarks/encoders/table.py judges it.
- Training: seconds on one thread of a quiet machine, validation included, as many whole epochs as fit the
  budget; the learning rate's schedule ends with the last of them.
- µs a prediction: from text or values to probabilities, one example at a time, one thread, median.
- Parameters include embeddings. Nothing is tuned, neither per set nor per encoder."""


@dataclass(frozen=True)
class Row:
    """An encoder on a set. Accuracies are shares of 1, by seed."""

    encoder: str
    seeds: tuple[int, ...]
    test_accuracies: tuple[float, ...]
    valid_accuracies: tuple[float, ...]
    test_macro_f1s: tuple[float, ...]
    num_test: int
    parameters: int
    epochs: int
    paced_seconds: float  # epochs times an epoch's seconds as measured in the stage pace
    wall_seconds: float  # mean over seeds, beside other workers
    microseconds: float | None  # None: not measured yet

    @property
    def mean(self) -> float:
        return statistics.fmean(self.test_accuracies)

    @property
    def sd(self) -> float | None:
        return statistics.stdev(self.test_accuracies) if len(self.test_accuracies) > 1 else None


def make_row(encoder: str, runs: Mapping[int, Record], pace: Record, latency: Record | None) -> Row:
    """Of an encoder's runs by seed, at least one."""
    records = list(runs.values())
    first = records[0]
    return Row(
        encoder=encoder,
        seeds=tuple(runs),
        test_accuracies=tuple(record["test_accuracy"] for record in records),
        valid_accuracies=tuple(record["valid_accuracy"] for record in records),
        test_macro_f1s=tuple(record["test_macro_f1"] for record in records),
        num_test=first["num_test"],
        parameters=first["parameters"],
        epochs=first["epochs"],
        paced_seconds=first["epochs"] * pace["seconds_per_epoch"],
        wall_seconds=statistics.fmean(record["wall_seconds"] for record in records),
        microseconds=None if latency is None else latency["microseconds"],
    )


def noise_margin(rows: Sequence[Row], one: Row, other: Row) -> float | None:
    """See the module. None where no encoder has two seeds."""
    spreads = [(len(row.seeds) - 1, row.sd) for row in rows]
    freedom = sum(degrees for degrees, sd in spreads if sd is not None)
    if freedom == 0 or len(rows) < 2:
        return None
    pooled = math.sqrt(sum(degrees * sd**2 for degrees, sd in spreads if sd is not None) / freedom)
    quantile = float(student.ppf(1 - ERROR_RATE / (2 * (len(rows) - 1)), freedom))
    return quantile * pooled * math.sqrt(1 / len(one.seeds) + 1 / len(other.seeds))


def clear_winner(rows: Sequence[Row]) -> str | None:
    """The best encoder if it is ahead of the gru, or the gru ahead of the second, by more than noise."""
    subject = next((row for row in rows if row.encoder == SUBJECT), None)
    if subject is None or len(rows) < 2:
        return None
    best, second = sorted(rows, key=lambda row: -row.mean)[:2]
    other = second if best is subject else subject
    margin = noise_margin(rows, best, other)
    return best.encoder if margin is not None and best.mean - other.mean > margin else None


def section(data_set: DataSet, rows: Sequence[Row]) -> dict[str, Any]:
    """A set's part of the JSON document."""
    subject = next((row for row in rows if row.encoder == SUBJECT), None)
    return {
        "set": data_set.name,
        "base": data_set.base,
        "budget_seconds": data_set.budget_seconds,
        "max_epochs": data_set.max_epochs,
        "clear_winner": clear_winner(rows),
        "encoders": [
            {
                **asdict(row),
                "mean": row.mean,
                "sd": row.sd,
                "ahead_of_gru": None if subject is None else row.mean - subject.mean,
                "noise_margin": None if subject in (None, row) else noise_margin(rows, row, subject),
            }
            for row in rows
        ],
    }


def markdown(sections: Iterable[tuple[DataSet, Sequence[Row]]], commits: Sequence[str]) -> str:
    return "\n".join(
        [
            "# Encoders, each for the same time of training",
            "",
            NOTE,
            "",
            f"Commits of the runs: {', '.join(commits)}.",
            *(line for data_set, rows in sections for line in _set_lines(data_set, rows)),
            "",
        ]
    )


def _set_lines(data_set: DataSet, rows: Sequence[Row]) -> list[str]:
    winner = clear_winner(rows)
    return [
        "",
        f"## {data_set.name}",
        "",
        _facts(data_set, rows),
        "",
        f"| {' | '.join(HEAD)} |",
        f"|---|{'---:|' * (len(HEAD) - 1)}",
        *(f"| {' | '.join(_cells(row, bold=row.encoder == winner))} |" for row in rows),
    ]


def _facts(data_set: DataSet, rows: Sequence[Row]) -> str:
    best = max(rows, key=lambda row: row.mean)
    error = math.sqrt(best.mean * (1 - best.mean) / best.num_test)
    facts = [
        f"Budget {data_set.budget_seconds:g} s, at most {data_set.max_epochs} epochs",
        f"{best.num_test:,} test examples, standard error of the best accuracy {100 * error:.1f} points",
    ]
    subject = next((row for row in rows if row.encoder == SUBJECT), None)
    margin = None if subject is None else noise_margin(rows, subject, subject)
    if margin is not None:
        facts.append(f"differences from the gru up to {100 * margin:.1f} points may be noise of seeds")
    return "; ".join(facts) + "."


def _cells(row: Row, bold: bool) -> tuple[str, ...]:
    accuracy = f"{100 * row.mean:.1f}" + ("" if row.sd is None else f" ± {100 * row.sd:.1f}")
    return (
        row.encoder,
        f"**{accuracy}**" if bold else accuracy,
        f"{row.parameters:,}",
        str(row.epochs),
        f"{row.paced_seconds:.3g}",
        "" if row.microseconds is None else f"{row.microseconds:,.0f}",
    )
