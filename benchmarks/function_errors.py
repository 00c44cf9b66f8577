"""The largest errors of the kernels' sigmoid and tanh: all float32 numbers, all instruction sets here.

    python -m benchmarks.function_errors --out benchmarks/results/function_errors.json

Run it in the checkout's root; it takes some ten minutes on two cores. Errors are in units in the last
place of the right result, which numpy computes in float64. "normal" are results that are normal
numbers, "denormal" the others that are not 0.
"""

import argparse
import json
import platform
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from itertools import product
from pathlib import Path

import numpy as np
from tests.parity.native_cases import kernel, usable_kernels
from tests.parity.native_functions import FUNCTIONS, NUM_PATTERNS, Worst, patterns, right, worst

from grunlock import __version__
from grunlock.kernels.library import native_library

CHUNK = 2**18  # patterns at a time: they stay in the level 2 cache
LEAST_NORMAL = 2.0**-126


def largest_errors(name: str, function: str, share: int) -> dict[str, object]:
    """share: 1 for every pattern, n for every n-th chunk of them."""
    found = {"normal": Worst(0.0, 0.0), "denormal": Worst(0.0, 0.0)}
    with kernel(name, threads=1):
        for first in range(0, NUM_PATTERNS, CHUNK * share):
            x = patterns(first, first + CHUNK)
            denormal = np.abs(right(function, x)) < LEAST_NORMAL
            parts = {"normal": x} if not denormal.any() else {"normal": x[~denormal], "denormal": x[denormal]}
            for kind, part in parts.items():
                found[kind] = max(found[kind], worst(function, part), key=lambda each: each.ulp)
    return {"kernel": name, "function": function, **{kind: asdict(each) for kind, each in found.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument("--share", type=int, default=1, help="every n-th part of the patterns only")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    library = native_library()
    if library is None:
        parser.error("the compiled kernels are not installed")
    start = time.monotonic()
    with ProcessPoolExecutor(options.processes) as pool:
        jobs = [
            pool.submit(largest_errors, name, function, options.share)
            for name, function in product(usable_kernels(), FUNCTIONS)
        ]
        results = [job.result() for job in jobs]
    report = {
        "what": "largest error in units in the last place, over all float32 bit patterns",
        "patterns": NUM_PATTERNS // options.share,
        "version": __version__,
        "compiler": library.compiler,
        "machine": platform.machine(),
        "seconds": round(time.monotonic() - start),
        "results": results,
    }
    text = json.dumps(report, indent=2)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
