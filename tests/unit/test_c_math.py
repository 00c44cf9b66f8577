"""The functions of the C sources keep the errors that they state."""

import ctypes
import subprocess
from collections.abc import Callable
from importlib import resources

import numpy as np
import pytest

from grunlock.errors import ExportError
from grunlock.export.c.compiled import find_compiler
from grunlock.shapes import FloatArray

SOURCES = resources.files("grunlock.export.c") / "sources"
FUNCTIONS = ("exp", "sigmoid", "tanh", "log", "sqrt")
LOOPS = '#include "grunlock_math.h"\n' + "".join(
    f"void loop_{name}(const float *x, float *y, int n) {{ int i; for (i = 0; i < n; ++i) "
    f"y[i] = grunlock_{name}(x[i]); }}\n"
    for name in FUNCTIONS
)
HALVES = """
void loop_half(const uint16_t *x, float *y, int n) {
  int i;
  for (i = 0; i < n; ++i) y[i] = grunlock_half(x[i]);
}
"""
STRIDE = 2053  # of all 2**32 bit patterns, every so many
FLAGS = {"as written": ["-O1"], "contracted": ["-O3", "-march=native", "-ffp-contract=fast"]}


@pytest.fixture(scope="module", params=FLAGS)
def math(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    try:
        compiler = find_compiler()
    except ExportError as error:
        pytest.skip(error.what)
    folder = tmp_path_factory.mktemp("math")
    (folder / "loops.c").write_text(LOOPS + HALVES)
    flags = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", *FLAGS[request.param], f"-I{SOURCES}"]
    library = folder / "loops.so"
    subprocess.run([compiler, *flags, "-fPIC", "-shared", folder / "loops.c", "-o", library], check=True)
    return ctypes.CDLL(str(library))


def applied(math: ctypes.CDLL, name: str, x: np.ndarray) -> FloatArray:
    y = np.empty(len(x), np.float32)
    pointers = (array.ctypes.data_as(ctypes.c_void_p) for array in (x, y))
    getattr(math, f"loop_{name}")(*pointers, len(x))
    return y


def finite_floats(lowest: float, highest: float) -> FloatArray:
    """Floats of every size between two, and the two."""
    x = np.arange(0, 2**32, STRIDE, dtype=np.uint32).view(np.float32)
    x = x[np.isfinite(x) & (x >= lowest) & (x <= highest)]
    dense = np.linspace(max(lowest, -100), min(highest, 100), 100_001, dtype=np.float32)
    return np.concatenate([x, dense, np.array([lowest, highest, 0], np.float32).clip(lowest, highest)])


def largest_error(found: FloatArray, exact: np.ndarray) -> float:
    """In units in the last place of the exact value as a float."""
    ulp = np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64)
    return float((np.abs(found.astype(np.float64) - exact) / ulp).max())


TINY = float(np.finfo(np.float32).tiny)
BOUNDS: dict[str, tuple[Callable[..., np.ndarray], float, float, float]] = {
    "exp": (np.exp, -87, 88, 1.5),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), -87, 3.4e38, 2.5),
    "tanh": (np.tanh, -3.4e38, 3.4e38, 2.5),
    "log": (np.log, TINY, 3.4e38, 1),
    "sqrt": (np.sqrt, TINY, 3.4e38, 1),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_errors_are_as_stated(math: ctypes.CDLL, name: str) -> None:
    exact, lowest, highest, bound = BOUNDS[name]
    x = finite_floats(lowest, highest)
    with np.errstate(over="ignore"):
        error = largest_error(applied(math, name, x), exact(x.astype(np.float64)))
    assert error <= bound
    assert error > bound - 1  # what is stated is no wider than it has to be


def test_ends_are_held(math: ctypes.CDLL) -> None:
    x = np.array([-1e30, -100, -88], np.float32)
    assert (applied(math, "exp", x) == applied(math, "exp", np.full(3, -87, np.float32))).all()
    assert (applied(math, "sigmoid", x) < 3e-38).all()
    assert applied(math, "exp", np.array([0], np.float32)) == 1
    assert applied(math, "sqrt", np.array([0], np.float32)) == 0
    assert applied(math, "tanh", np.array([-0.0, 50, -50], np.float32)).tolist() == [0, 1, -1]


def test_every_half_number_is_exact(math: ctypes.CDLL) -> None:
    halves = np.arange(2**16, dtype=np.uint16)
    halves = halves[np.isfinite(halves.view(np.float16))]
    found = applied(math, "half", halves)
    np.testing.assert_array_equal(found, halves.view(np.float16).astype(np.float32))
