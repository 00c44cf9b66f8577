"""Instructions that an exported C model takes for one more token or step, counted by valgrind.

    python -m benchmarks.edge.instructions

Counts are the same however busy the machine is. A program reads one input of n steps and one of 2n; the
difference, over n, is what a step takes, start and end of an input left out. Beside it stand the
multiply-adds, one for each weight that a step reads: an instruction does up to 8 of float32 (AVX2) or 4
(SSE2), and 16 or 8 of int8. Models are untrained; their sizes matter, and what is read. valgrind knows no
AVX-512, so code is compiled for x86-64-v3, which has AVX2, or x86-64, which has SSE2.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.edge.runs import RESULTS, keep
from rich.console import Console
from rich.table import Table
from tests.parity.c_models import series_artifact, text_artifact

from grunlock.artifact import Artifact
from grunlock.export.c import CExport, write_c
from grunlock.export.c.compiled import find_compiler
from grunlock.export.portable import PortableModel, portable

STEPS = 64
FORWARD, BOTH = "encoder.bidirectional=false", "encoder.bidirectional=true"
PLAIN = ["wide=off", "text.max_tokens=off"]
SIZES = [(32, FORWARD), (64, FORWARD), (128, FORWARD), (128, BOTH)]
COLUMNS = ("input", "units", "directions", "numbers", "instructions a step", "multiply-adds", "ratio")
PROGRAM = """\
#include <stdlib.h>
#include "grunlock_model.h"

static grunlock_state state;
static float probabilities[GRUNLOCK_NUM_CLASSES];

int main(int count, char **arguments) {
  int steps = atoi(arguments[count - 1]), i;
  grunlock_init(&state);
  for (i = 0; i < steps; ++i) {
    READ;
  }
  return grunlock_finish(&state, probabilities);
}
"""
READ_TEXT = 'grunlock_step_text(&state, i % 2 ? "cat " : "unlock ", i % 2 ? 4 : 7)'
READ_SERIES = "float values[2] = {(float)(i % 5), (float)(i % 3)}; grunlock_step_values(&state, values)"


def instructions(program: Path, steps: int) -> int:
    """Of one run."""
    with tempfile.TemporaryDirectory() as folder:
        out = f"--callgrind-out-file={folder}/out"
        command = ["valgrind", "--tool=callgrind", out, str(program), str(steps)]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    found = re.search(r"Collected : (\d+)", told)
    assert found is not None, told
    return int(found[1])


def compiled(export: CExport, arch: str) -> Path:
    program, source = export.folder / "count", export.folder / "count.c"
    source.write_text(PROGRAM.replace("READ", READ_TEXT if export.reads_text else READ_SERIES))
    sources = [str(export.folder / name) for name in export.sources]
    flags = [
        "-std=c99",
        "-O3",
        f"-march={arch}",
        "-ffp-contract=fast",
        "-fno-math-errno",
        "-fno-trapping-math",
    ]
    command = [find_compiler(), *flags, f"-I{export.folder}", str(source), *sources, "-o", str(program)]
    subprocess.run(command, check=True)
    return program


def multiply_adds(model: PortableModel) -> int:
    """Of a step: each weight of every direction of every layer once."""
    return sum(
        direction.weight_ih.size + direction.weight_hh.size
        for _, layer in model.layers
        for direction in layer.directions
    )


def record(kind: str, artifact: Artifact, int8: bool, arch: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        model = portable(artifact, "a model")
        export = write_c(model, Path(folder), int8=int8, max_steps=2 * STEPS)
        program = compiled(export, arch)
        a_step = (instructions(program, 2 * STEPS) - instructions(program, STEPS)) / STEPS
    return {
        "input": kind,
        "precision": "int8" if int8 else "float32",
        "instructions": round(a_step),
        "multiply_adds": multiply_adds(model),
        "arch": arch,
    }


def table(rows: list[dict[str, Any]]) -> Table:
    shown = Table(*COLUMNS)
    for row in rows:
        about = row["input"], str(row["units"]), str(row["directions"]), row["precision"]
        ratio = row["instructions"] / row["multiply_adds"]
        shown.add_row(*about, f"{row['instructions']:,}", f"{row['multiply_adds']:,}", f"{ratio:.2f}")
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--arch", default="x86-64-v3", help="what gcc's -march takes")
    parser.add_argument("--out", type=Path, default=RESULTS / "edge_instructions.jsonl")
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        sys.exit("This needs valgrind (on Debian: apt install valgrind).")
    rows = []
    for units, direction in SIZES:
        size = [f"encoder.hidden_size={units}", direction]
        models = {
            "text": text_artifact([*PLAIN, *size, f"embedding.size={units}"]),
            "series": series_artifact(size),
        }
        for kind, artifact in models.items():
            for int8 in (False, True):
                row = record(kind, artifact, int8, options.arch)
                rows.append({**row, "units": units, "directions": 1 + (direction == BOTH)})
                keep(options.out, rows[-1])
    Console(width=120).print(table(rows))


if __name__ == "__main__":
    main()
