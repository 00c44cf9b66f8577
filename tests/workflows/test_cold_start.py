"""Serving needs numpy, tokenizers and little else: a trained model answers where torch cannot be imported."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from grunlock.artifact import load

ROOT = Path(__file__).parents[2]
FORBIDDEN = ("torch", "duckdb", "sklearn", "scipy", "pandas", "pytorch_optimizer", "schedulefree")

SERVING = """
import importlib.abc, json, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in FORBIDDEN:
            raise ModuleNotFoundError(f"{name} is not there", name=name)

FORBIDDEN = set(sys.argv[2:])
sys.meta_path.insert(0, Absent())
import grunlock
model = grunlock.load(sys.argv[1])
texts = ["the red house", "a green car"]
probs = model.predict_proba(texts).tolist()
loaded = sorted({name.partition(".")[0] for name in sys.modules} & FORBIDDEN)
print(json.dumps({"labels": model.predict(texts), "probs": probs, "loaded": loaded}))
"""


def python(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def test_a_model_answers_without_what_training_needs(model: Path) -> None:
    done = python("-c", SERVING, model / "model.grunlock", *FORBIDDEN)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    answer = json.loads(done.stdout)
    assert answer["loaded"] == []
    assert answer["labels"] == ["red", "green"]
    here = load(model).predict_proba(["the red house", "a green car"])
    np.testing.assert_allclose(answer["probs"], here, atol=1e-6)


@pytest.mark.parametrize("command", ["import torch", "import grunlock.training.run"])
def test_the_hook_would_catch_torch(command: str, model: Path) -> None:
    done = python("-c", SERVING.replace("import grunlock\n", f"{command}\n"), model, *FORBIDDEN)
    assert done.returncode == 1
    assert "torch is not there" in done.stderr


def test_the_command_line_predicts_without_torch(model: Path) -> None:
    code = SERVING.partition("import grunlock")[0] + (
        "sys.argv[1:] = ['predict', sys.argv[1], '--text', 'the red house']\n"
        "from grunlock.cli.main import main\nmain()\n"
    )
    done = python("-c", code, model, *FORBIDDEN)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("red\t")


@pytest.mark.parametrize(
    "use",
    [
        "import grunlock; grunlock.GRUClassifier",
        "import grunlock; grunlock.layers",
        "sys.argv[1:] = ['train', 'x.csv']; from grunlock.cli.main import main; main()",
        "sys.argv[1:] = ['demo']; from grunlock.cli.main import main; main()",
    ],
)
def test_what_training_needs_is_named(use: str, model: Path) -> None:
    code = SERVING.partition("import grunlock")[0] + use
    done = python("-c", code, model, *FORBIDDEN)
    assert done.returncode == 1
    assert "a library that is not installed" in done.stderr
    assert 'pip install "grunlock[train]"' in done.stderr


def test_the_benchmark_ends_in_one_json_line(model: Path) -> None:
    done = python(ROOT / "benchmarks" / "cold_start.py", model, "--runs", "1")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["runs"] == 1
    assert result["median_ms"] >= result["min_ms"] > 0
    assert result["labels"] == 3
    assert {"processor", "cpus", "python", "grunlock", "numpy"} <= set(result["machine"])
