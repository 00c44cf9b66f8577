"""`grunlock unlock` as a user runs it, on several sets: is the artifact better than the linear model?

    python benchmarks/unlock_sets.py ../shared/data/{trec6,sst2,banking77,waimai_10k,atis} --minutes 5
    python benchmarks/unlock_sets.py ../shared/data/trec6 --minutes 5 --max-size 500KB --max-latency 0.2ms

Everything is judged from outside the process that unlocks: its time by the clock, the model's size by the
file system, its answers and their time by another process that loads the model. One JSON line per set. Every
call looks at the test splits: log it in benchmarks/LOG.md. Run on a quiet machine.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from grunlock.data.texts import labelled_splits
from grunlock.machine import commit, machine
from grunlock.recipe import read_recipe
from grunlock.recipe.text_options import TextDataOptions

LOOK = """
import json, statistics, sys, time
import grunlock
texts, labels = json.load(sys.stdin)
model = grunlock.load(sys.argv[1])
right = [predicted == label for predicted, label in zip(model.predict(texts), labels)]
def seconds(text):
    started = time.perf_counter()
    model.predict_proba([text])
    return time.perf_counter() - started
quickest = [min(seconds(text) for _ in range(5)) for text in texts[:500]]
print(json.dumps({"accuracy": sum(right) / len(right), "latency": statistics.median(quickest)}))
"""


def unlocked(source: Path, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Run it, then look at what it left."""
    limits = [f"--{name.replace('_', '-')}={value}" for name in ("max_size", "max_latency")
              if (value := getattr(options, name)) is not None]  # fmt: skip
    sets = [f"--set={setting}" for setting in options.set]
    command = [sys.executable, "-m", "grunlock", "unlock", str(source), "--minutes", str(options.minutes)]
    started = time.monotonic()
    done = subprocess.run(
        [*command, "--seed", str(options.seed), "-o", str(folder), *limits, *sets],
        capture_output=True,
        text=True,
    )
    seconds = time.monotonic() - started
    found: dict[str, Any] = {
        "set": source.name,
        "minutes": options.minutes,
        "options": [*limits, *sets, f"--seed={options.seed}"],
        "wall_seconds": round(seconds, 1),
    }
    if done.returncode:
        return {**found, "failed": done.stderr.strip()}
    final = json.loads((folder / "stages" / "final.json").read_text(encoding="utf-8"))
    return {
        **found,
        "test": final["facts"]["accuracies"],
        "verdicts": final["facts"]["verdicts"],
        "int8": final["facts"]["int8"],
        "stations": stations(folder),
        "model_bytes": (folder / "model.grunlock").stat().st_size,
        "from_outside": look(source, folder),
    }


def stations(folder: Path) -> list[dict[str, Any]]:
    """The road, as far as validation goes."""
    names = ("linear", "usual", "search", "seeds")
    stages = [json.loads((folder / "stages" / f"{name}.json").read_text(encoding="utf-8")) for name in names]
    return [station for stage in stages for station in stage["stations"]]


def look(source: Path, folder: Path) -> dict[str, float]:
    """Accuracy on the test file and the median seconds of one prediction, by a process of its own."""
    reading = read_recipe(folder).data
    assert isinstance(reading, TextDataOptions)
    test = labelled_splits(str(source), None, None, reading)["test"]
    given = json.dumps([list(test.texts), list(test.labels)])
    seen = subprocess.run(
        [sys.executable, "-c", LOOK, str(folder)], input=given, capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(seen.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sources", type=Path, nargs="+")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--max-size")
    parser.add_argument("--max-latency")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="append to this file as well")
    options = parser.parse_args()
    for source in options.sources:
        with tempfile.TemporaryDirectory() as folder:
            found = unlocked(source, Path(folder) / source.name, options)
        line = json.dumps({**found, "commit": commit(), "processor": machine()["processor"]})
        print(line, flush=True)
        if options.out is not None:
            with options.out.open("a", encoding="utf-8") as file:
                file.write(line + "\n")


if __name__ == "__main__":
    main()
