"""The architecture, enforced: imports point down, siblings stay apart, light parts stay light."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "grunlock"

# Bottom to top. A module may import rows below its own, and its own package.
ROWS = [
    {"errors", "_version"},
    {"shapes", "seeding", "files", "machine", "recipe"},
    {"kernels", "parallel", "series", "text"},
    {"layers", "runtime", "data", "objectives", "optim"},
    {"models"},
    {"artifact"},
    {"evaluation"},
    {"training"},
    {
        "audit",
        "estimator",
        "benchmark",
        "compression",
        "distillation",
        "explanation",
        "export",
        "pretraining",
        "tuning",
    },
    {"comparison", "doctor", "serving"},
    {"unlock"},
    {"report", "scale"},
    {"cli"},
]
ROW_OF = {name: row for row, names in enumerate(ROWS) for name in names}
MAX_LINES = 400
WITHOUT_TORCH = [
    "grunlock",
    "grunlock.artifact",
    "grunlock.audit",
    "grunlock.cli.main",
    "grunlock.comparison.cd_diagram",
    "grunlock.comparison.expected_best",
    "grunlock.comparison.stochastic_order",
    "grunlock.comparison.verdict",
    "grunlock.doctor",
    "grunlock.data.series",
    "grunlock.evaluation",
    "grunlock.explanation",
    "grunlock.explanation.exact",
    "grunlock.export.onnx",
    "grunlock.export.web",
    "grunlock.kernels",
    "grunlock.kernels.pool",
    "grunlock.kernels.scan",
    "grunlock.kernels.window",
    "grunlock.recipe",
    "grunlock.runtime.classifier",
    "grunlock.runtime.series_classifier",
    "grunlock.runtime.streaming",
    "grunlock.series",
    "grunlock.serving",
    "grunlock.serving.app",
    "grunlock.text.front_end",
]


def imported_parts(path: Path) -> Iterator[tuple[str, int]]:
    """Yield (part of the package, line) for each import in `path`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write the import in full"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            head, _, rest = name.partition(".")
            if head == PACKAGE.name and rest:
                yield rest.split(".")[0], node.lineno


def upward_imports(package: Path) -> list[str]:
    found = []
    for path in sorted(package.rglob("*.py")):
        importer = path.relative_to(package).with_suffix("").parts[0]
        if importer in ("__init__", "__main__"):
            continue  # the public surface may name anything
        for imported, line in imported_parts(path):
            if imported != importer and ROW_OF[imported] >= ROW_OF[importer]:
                found.append(f"{path}:{line}: {importer} may not import {imported}")
    return found


def test_imports_only_point_down() -> None:
    assert upward_imports(PACKAGE) == []


def test_an_upward_import_would_be_caught(tmp_path: Path) -> None:
    (tmp_path / "layers").mkdir()
    (tmp_path / "layers" / "gru.py").write_text("from grunlock.models.classifier import SequenceClassifier\n")
    (tmp_path / "runtime.py").write_text("import grunlock.data.store\n")  # a sibling
    assert len(upward_imports(tmp_path)) == 2


def test_files_stay_readable() -> None:
    long = {str(p): n for p in PACKAGE.rglob("*.py") if (n := len(p.read_text().splitlines())) > MAX_LINES}
    assert long == {}


@pytest.mark.parametrize("module", WITHOUT_TORCH)
def test_no_torch_where_none_is_needed(module: str) -> None:
    check = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
