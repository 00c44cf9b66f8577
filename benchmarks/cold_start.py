"""Time from starting a Python process to its first prediction, for one artifact.

    python benchmarks/cold_start.py runs/best --runs 5

Each run is a fresh process: interpreter, `import grunlock`, load, predict one text. One untimed process
first fills the disk cache. Also measured: the interpreter alone, which no library can undercut. Prints
one JSON line last.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from grunlock import __version__, load

TEXT = "the quick brown fox jumps over the lazy dog"
FIRST_PREDICTION = """
import sys
import grunlock
probs = grunlock.load(sys.argv[1]).predict_proba([sys.argv[2]])
print(*(f"{p:.6f}" for p in probs[0]))
"""


def seconds_of(code: str, *arguments: str) -> tuple[float, str]:
    """Wall time of a fresh process, and what it printed."""
    command = [sys.executable, "-c", code, *arguments]
    started = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return time.perf_counter() - started, done.stdout


def processor() -> str:
    """The CPU's name; platform.processor() is empty on many Linux systems."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", help="a run folder or a model.grunlock file")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--text", default=TEXT)
    arguments = parser.parse_args()
    model = load(arguments.model)
    expected = model.predict_proba([arguments.text])[0]
    seconds_of(FIRST_PREDICTION, arguments.model, arguments.text)
    times, bare = [], []
    for _ in range(arguments.runs):
        bare.append(1000 * seconds_of("pass")[0])
        seconds, printed = seconds_of(FIRST_PREDICTION, arguments.model, arguments.text)
        np.testing.assert_allclose([float(p) for p in printed.split()], expected, atol=1e-5)
        times.append(1000 * seconds)
        print(f"first prediction {times[-1]:7.1f} ms   interpreter alone {bare[-1]:6.1f} ms")
    path = Path(arguments.model)
    path = path / "model.grunlock" if path.is_dir() else path
    result = {
        "benchmark": "cold_start",
        "runs": arguments.runs,
        "median_ms": round(statistics.median(times), 1),
        "min_ms": round(min(times), 1),
        "max_ms": round(max(times), 1),
        "interpreter_median_ms": round(statistics.median(bare), 1),
        "artifact_bytes": path.stat().st_size,
        "labels": len(model.labels),
        "machine": {
            "processor": processor(),
            "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "system": platform.system(),
            "python": platform.python_version(),
            "numpy": np.__version__,
            "grunlock": __version__,
        },
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
