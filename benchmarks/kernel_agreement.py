"""How much of the allowed error the compiled GRU layers use: many drawn cases against the oracle in float64.

    python -m benchmarks.kernel_agreement --minutes 5 --out benchmarks/results/kernel_agreement.json

Run it in the checkout's root. Cases and bounds are those of tests/parity/test_native_agreement.py. Each
case is solved by every instruction set on two threads, in float32 or, every other one, with products in
bfloat16; the same bits are demanded of one thread. Written are, for each, the cases that used most of what
is allowed: 1 is all of it. A case beyond it is printed with its seed at once, and the exit status is 1.
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from random import Random

import torch
from tests.parity.native_cases import (
    Case,
    draw_case,
    draw_problem,
    for_bfloat16,
    kernel,
    solve,
    usable_kernels,
)
from tests.parity.native_tolerance import MARGIN, Oracle

from grunlock import __version__
from grunlock.kernels import autograd
from grunlock.kernels.library import native_library

PRECISIONS = ("float32", "bfloat16")
MOST_WORK = [3e5, 3e6, 3e7, 3e8]  # multiply-adds of a forward; the larger, the rarer
KEPT = 3  # cases of each kind in the report


def drawn_cases(first_seed: int) -> Iterator[tuple[int, Case]]:
    for seed in count(first_seed):
        random = Random(seed)
        yield seed, draw_case(random, random.choices(MOST_WORK, [8, 8, 4, 1])[0])


def ratios_of(case: Case, precision: str) -> Iterator[tuple[str, float]]:
    """Kernels and the largest share of the allowed error; infinite where the number of threads matters."""
    problem = draw_problem(case)
    oracle = Oracle(case, problem)
    for name in usable_kernels():
        with kernel(name, threads=1):
            alone = solve(autograd.gru_layer, problem, precision=precision)
        with kernel(name, threads=2):
            found = solve(autograd.gru_layer, problem, precision=precision)
        same = all(torch.equal(found[result], value) for result, value in alone.items())
        yield name, max(oracle.ratios(found, precision).values()) if same else float("inf")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0, help="of the first case; each has the next one")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    library = native_library()
    if library is None:
        parser.error("the compiled kernels are not installed")
    torch.set_num_threads(1)
    worst: dict[tuple[str, str, bool], list[tuple[float, int, Case]]] = {}
    failures = 0
    end = time.monotonic() + 60 * options.minutes
    for seed, any_case in drawn_cases(options.seed):
        precision = PRECISIONS[seed % 2]
        case = any_case if precision == "float32" else for_bfloat16(any_case)
        for name, ratio in ratios_of(case, precision):
            kept = worst.setdefault((name, precision, case.norm), [])
            kept.append((ratio, seed, case))
            kept.sort(key=lambda each: -each[0])
            del kept[KEPT:]
            if not ratio <= 1:
                failures += 1
                print(f"seed {seed}, {name}, {precision}: {ratio:.3g} of what is allowed: {case}", flush=True)
        if time.monotonic() > end:
            break
    report = {
        "what": "largest error of values and gradients as a share of what is allowed",
        "margin": MARGIN,
        "first_seed": options.seed,
        "last_seed": seed,
        "beyond": failures,
        "version": __version__,
        "compiler": library.compiler,
        "machine": platform.machine(),
        "results": [
            {
                "kernel": name,
                "precision": precision,
                "layer_norm": norm,
                "worst": [
                    {"ratio": round(ratio, 4), "seed": seed, "case": str(case)} for ratio, seed, case in kept
                ],
            }
            for (name, precision, norm), kept in sorted(worst.items())
        ],
    }
    text = json.dumps(report, indent=2)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")
    print(text)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
