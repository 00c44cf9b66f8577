"""A written folder, compiled by the system's C compiler and asked from Python."""

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from grunlock.errors import ExportError
from grunlock.export.c.folder import CExport
from grunlock.shapes import FloatArray

COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-std=c99", "-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math")
MESSAGE_CHARACTERS = 2000
ERRORS = {
    1: "nothing to answer: no token, no step or no value at all",
    2: "longer than the export's max_steps",
    3: "no valid text, or a value that is infinite or too far from those of training",
}


def find_compiler() -> str:
    """The C compiler of $CC or of the path. Raises ExportError if there is none."""
    wanted = os.environ.get("CC")
    for name in [wanted] if wanted else COMPILERS:
        found = shutil.which(name)
        if found is not None:
            return found
    raise ExportError(
        "There is no C compiler to try the export with.",
        where="$CC" if wanted else "PATH",
        got=wanted,
        expected="cc, gcc or clang",
        cure="install one (on Debian: apt install gcc), or name it in $CC",
    )


class CModel:
    """An export as this machine compiles it, for one thread at a time. library: the C interface itself.

    Raises ExportError without a compiler, and if the sources do not compile.
    """

    def __init__(self, export: CExport, flags: Sequence[str] = FLAGS) -> None:
        self._export = export
        with tempfile.TemporaryDirectory(prefix="grunlock-c-") as built:
            library = Path(built) / "model.so"
            _compile(export, flags, library)
            self.library = ctypes.CDLL(str(library))  # what is loaded outlives its file
        self._state = (ctypes.c_uint32 * (export.state_bytes // 4))()
        self._function("init")(self._state)

    @property
    def size_bytes(self) -> int:
        """Of the constant arrays."""
        return self._export.const_bytes

    @property
    def state_bytes(self) -> int:
        """Of memory."""
        return self._export.state_bytes

    def probabilities(self, inputs: Sequence[str] | Sequence[FloatArray]) -> FloatArray:
        """[n, K], one input at a time. Raises ExportError for an input that the C model refuses."""
        result = np.empty((len(inputs), len(self._export.labels)), np.float32)
        for i, item in enumerate(inputs):
            if isinstance(item, str):
                pieces = item.encode("utf-8", "surrogatepass")
                self._function("step_text")(self._state, pieces, ctypes.c_size_t(len(pieces)))
            else:
                self._read_steps(np.asarray(item, np.float32))
            error = self._function("finish")(self._state, result[i].ctypes.data_as(ctypes.c_void_p))
            if error:
                raise ExportError("The C model refuses an input.", where=f"input {i}", got=ERRORS[error])
        return result

    def _function(self, name: str) -> Callable[..., int]:
        found: Callable[..., int] = getattr(self.library, f"{self._export.prefix}_{name}")
        return found

    def _read_steps(self, series: FloatArray) -> None:
        steps = np.ascontiguousarray(series).reshape(-1, self._export.channels)
        for step in steps:
            self._function("step_values")(self._state, step.ctypes.data_as(ctypes.c_void_p))


def _compile(export: CExport, flags: Sequence[str], library: Path) -> None:
    sources = [str(export.folder / name) for name in export.sources]
    command = [find_compiler(), *flags, "-fPIC", "-shared", *sources, "-o", str(library)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        message = result.stderr.strip()[:MESSAGE_CHARACTERS]
        raise ExportError("The written sources do not compile.", where=export.folder, got=message)
