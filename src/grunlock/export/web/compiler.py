"""The C sources of a model as WebAssembly, by the C compiler of the package ziglang."""

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from grunlock.errors import ExportError, MissingDependencyError

INSTALL = 'pip install "grunlock[web]"'
OURS = ("grunlock_page.c", "memory.c")
COMPILED = (
    *("-target", "wasm32-freestanding", "-std=c99", "-O3", "-fno-math-errno", "-fno-trapping-math"),
    *("-msimd128", "-mbulk-memory"),
    "-flto",  # without it, this compiler leaves loops scalar
)
LINKED = ("--no-entry", "--strip-all", "--stack-first", "-z", "stack-size=65536")
MESSAGE_CHARACTERS = 2000


def require_compiler() -> None:
    """Raises MissingDependencyError without one."""
    if importlib.util.find_spec("ziglang") is None:
        raise MissingDependencyError(
            "There is no compiler for WebAssembly.",
            where="--to web",
            got="no package ziglang",
            expected="its C compiler, which needs nothing else",
            cure=INSTALL,
        )


def compiled(folder: Path, sources: Sequence[str]) -> bytes:
    """A module of WebAssembly. sources: names in the folder, which has their headers too.

    Raises MissingDependencyError without a compiler, ExportError if the sources do not compile.
    """
    require_compiler()
    own = resources.files("grunlock.export.web") / "sources"
    with tempfile.TemporaryDirectory(prefix="grunlock-web-") as name:
        built = Path(name)
        for source in (*OURS, "string.h"):
            (built / source).write_bytes((own / source).read_bytes())
        included = ("-isystem", str(built), "-I", str(folder))
        objects = []
        for path in [folder / each for each in sources] + [built / each for each in OURS]:
            objects.append(str(built / f"{path.stem}.o"))
            _run(["cc", *COMPILED, *included, "-c", str(path), "-o", objects[-1]], built)
        # Not through the compiler's driver, which first builds a run-time library that nothing here uses.
        module = built / "model.wasm"
        _run(["wasm-ld", *LINKED, *objects, "-o", str(module)], built)
        return module.read_bytes()


def _run(arguments: Sequence[str], folder: Path) -> None:
    # A cache of its own: a shared one has given objects that were built with another model's headers.
    cache = {f"ZIG_{kind}_CACHE_DIR": str(folder / "cache") for kind in ("GLOBAL", "LOCAL")}
    command = [sys.executable, "-m", "ziglang", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | cache)
    if result.returncode != 0:
        message = result.stderr.strip()[:MESSAGE_CHARACTERS]
        raise ExportError(
            "The sources do not compile to WebAssembly.", where=f"ziglang {arguments[0]}", got=message
        )
