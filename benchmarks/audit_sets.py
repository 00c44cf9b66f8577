"""What `grunlock audit` finds on known sets, and what it costs: a process each, one after another.

    python benchmarks/audit_sets.py DATA trec6 imdb tnews    # folders in DATA with train and test files

CPU seconds stand beside wall seconds, because they depend less on what else the machine does. The traps below
are known from other counts of the same files; a set whose trap is not found fails. Prints one JSON line last.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TRAPS = {
    "tnews": ("duplicates_across_splits", "924 distinct texts"),
    "imdb": ("duplicates_across_splits", "123 distinct texts"),
    "20ng_stripped": ("empty_texts", "49 rows have no text"),
}


def audit_in_a_process(folder: Path) -> dict[str, Any]:
    """Seconds, megabytes and findings of one audit."""
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "audit.json"
        command = [sys.executable, "-m", "grunlock", "audit", str(folder), "--json", str(path)]
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        if os.waitstatus_to_exitcode(status) != 0:
            raise SystemExit(f"{folder}: the audit failed")
        report = json.loads(path.read_text(encoding="utf-8"))
    return {
        "set": folder.name,
        "rows": sum(report["sizes"].values()),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "wall_seconds": round(seconds, 1),
        "peak_megabytes": round(used.ru_maxrss / 1024),
        "findings": {
            f"{f['severity']} {f['check']} {i}": f["message"] for i, f in enumerate(report["findings"])
        },
    }


def check_trap(result: dict[str, Any]) -> None:
    if result["set"] in TRAPS:
        check, words = TRAPS[result["set"]]
        if not any(check in name and words in message for name, message in result["findings"].items()):
            raise SystemExit(f"{result['set']}: {check} does not say {words!r}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("sets", nargs="+")
    arguments = parser.parse_args()
    results = []
    for name in arguments.sets:
        result = audit_in_a_process(arguments.data / name)
        print(
            f"{name}: {result['rows']:,} rows, {result['cpu_seconds']} s CPU, {result['wall_seconds']} s, "
            f"{result['peak_megabytes']} MB",
            flush=True,
        )
        for finding, message in result["findings"].items():
            print(f"    {finding.rpartition(' ')[0]}: {message}", flush=True)
        check_trap(result)
        results.append(result)
    print(json.dumps(results, ensure_ascii=False))


if __name__ == "__main__":
    main()
