"""The tables of docs/results.md out of benchmarks/results/accuracy.jsonl.

python benchmarks/accuracy_table.py
"""

import json
import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RECORDS = Path(__file__).parent / "results" / "accuracy.jsonl"
LINEAR = "linear"


def records() -> dict[str, dict[str, list[dict[str, Any]]]]:
    """By set and row; of a seed that was run twice the last."""
    found: dict[str, dict[str, dict[Any, dict[str, Any]]]] = defaultdict(lambda: defaultdict(dict))
    for line in RECORDS.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        found[record["set"]][record["row"]][record.get("seed")] = record
    return {name: {row: list(seeds.values()) for row, seeds in rows.items()} for name, rows in found.items()}


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation in percent."""
    mean = f"{100 * statistics.mean(values):.1f}"
    return mean if len(values) < 2 else f"{mean} ± {100 * statistics.stdev(values):.1f}"


def line(name: str, row: str, runs: Sequence[dict[str, Any]], linear: float | None) -> str:
    test = [run["test"]["float32"] for run in runs]
    beside = "" if linear is None else f"{100 * (statistics.mean(test) - linear):+.1f}"
    timed = [run["seconds"] for run in runs if run["seconds"] is not None]
    seconds = f"{statistics.mean(timed):.0f}" if timed else ""
    small = [run["small"]["test"] for run in runs if "small" in run]
    # Beside the same seeds' models as they were trained.
    whole = [run["test"]["float32"] for run in runs if "small" in run]
    lost = f"{100 * (statistics.mean(small) - statistics.mean(whole)):+.1f}" if small else ""
    size = f"{statistics.mean(run['bytes'] for run in runs) / 1e6:.1f}"
    cells = [
        name,
        row,
        spread(test),
        beside,
        spread([run["valid"] for run in runs]),
        str(len(runs)),
        seconds,
        size,
        lost,
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    print("| set | row | test | to the SVM | validation | seeds | seconds | MB | in 1 MB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, rows in records().items():
        linear = None
        if LINEAR in rows:
            (record,) = rows[LINEAR]
            linear = record["test"]["float32"]
            print(f"| {name} | linear SVM | {100 * linear:.1f} | | | | {record['seconds']:.0f} | | |")
        for row, runs in rows.items():
            if row != LINEAR:
                print(line(name, row, runs, linear))


if __name__ == "__main__":
    main()
