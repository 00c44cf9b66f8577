"""An installation with and without its compiled kernels, as a user meets it.

That it can be built is checked by scripts/check_install.sh.
"""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from grunlock.kernels import library
from tests.workflows.conftest import CommandLine

ROOT = Path(__file__).parents[2]

WITHOUT_KERNELS = """
import json, sys, warnings
from pathlib import Path

from grunlock.kernels import library
library.LIBRARY_PATH = Path("nowhere") / "libgrunlock_native.so"
import grunlock

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    grunlock.read_recipe("tiny")
    before_use = len(caught)
    labels = grunlock.load(sys.argv[1]).predict(["the red house", "a green car"])
    library.native_library()
    library.native_library()
    messages = [str(w.message) for w in caught]
print(json.dumps({"labels": labels, "before_use": before_use, "messages": messages}))
"""


def test_without_compiled_kernels_everything_works_and_says_so_once(model: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_KERNELS, str(model / "model.grunlock")]
    environment = {k: v for k, v in os.environ.items() if k != library.KERNEL_VARIABLE}
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["labels"] == ["red", "green"]
    assert answer["before_use"] == 0
    assert len(answer["messages"]) == 1
    assert "install a C++ compiler" in answer["messages"][0]


def test_doctor_says_what_it_can_do(grunlock: CommandLine) -> None:
    done = grunlock("doctor")
    assert (done.code, done.err) == (0, "")
    assert "grunlock doctor --kernels" in done.out


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.delenv(library.KERNEL_VARIABLE, raising=False)
    monkeypatch.delenv(library.THREADS_VARIABLE, raising=False)
    monkeypatch.setattr(library, "_choice", None)
    return monkeypatch


def test_doctor_reports_missing_kernels(
    grunlock: CommandLine, fresh: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fresh.setattr(library, "LIBRARY_PATH", tmp_path / "libgrunlock_native.so")
    done = grunlock("doctor", "--kernels")
    assert (done.code, done.err) == (0, "")
    assert "reference: the package was installed without its compiled kernels" in done.out
    assert "cure     install a C++ compiler" in done.out
    report = json.loads(grunlock("doctor", "--kernels", "--json").out)
    assert (report["kernel"], report["library"], report["threads"]) == ("reference", None, None)


@pytest.mark.skipif(not library.LIBRARY_PATH.is_file(), reason="installed without compiled kernels")
def test_doctor_reports_the_kernel_in_use(grunlock: CommandLine, fresh: pytest.MonkeyPatch) -> None:
    done = grunlock("doctor", "--kernels")
    assert (done.code, done.err) == (0, "")
    report = json.loads(grunlock("doctor", "--kernels", "--json").out)
    assert f"{report['kernel']}: the most capable one that the library and this CPU have" in done.out
    assert f"threads  {report['threads']}: " in done.out
    assert [row["name"] for row in report["kernels"] if row["used"]] == [report["kernel"]]
    rows = {row["name"]: row for row in report["kernels"]}
    assert rows[report["kernel"]]["compiled"]
    assert rows[report["kernel"]]["supported"]
    assert Path(report["library"]).is_file()


def test_doctor_refuses_an_unknown_kernel(grunlock: CommandLine, fresh: pytest.MonkeyPatch) -> None:
    fresh.setenv("GRUNLOCK_KERNEL", "sse9")
    done = grunlock("doctor", "--kernels")
    assert done.code == 1
    assert "GRUNLOCK_KERNEL" in done.err
    assert "sse9" in done.err


def test_build_tools_have_exact_versions() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]
    assert build["requires"]
    assert all("==" in requirement for requirement in build["requires"])
