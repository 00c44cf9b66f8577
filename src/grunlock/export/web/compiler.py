"""The C sources of a model as WebAssembly, by the C compiler of the package ziglang."""

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from grunlock.errors import ExportError, MissingDependencyError

INSTALL = 'pip install "grunlock[web]"'
OURS = ("grunlock_page.c", "memory.c")
LINKED = ("--no-entry", "--strip-all", "-z,stack-size=65536")
FLAGS = (
    *("-target", "wasm32-freestanding", "-std=c99", "-nostdlib", "-O3"),
    *("-fno-math-errno", "-fno-trapping-math"),
    *("-msimd128", "-mbulk-memory"),
    "-flto",  # without it, this compiler leaves loops scalar
    *(f"-Wl,{option}" for option in LINKED),
)
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
        command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, "-isystem", str(built), "-I", str(folder)]
        _copy(own, (*OURS, "string.h"), built)
        paths = [folder / source for source in sources] + [built / source for source in OURS]
        module = built / "model.wasm"
        # Of its own: the compiler takes files of equal names in two folders for the same, and caches large ones.
        cache = {f"ZIG_{kind}_CACHE_DIR": str(built / "cache") for kind in ("GLOBAL", "LOCAL")}
        result = subprocess.run(
            [*command, *map(str, paths), "-o", str(module)],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | cache,
        )
        if result.returncode != 0:
            message = result.stderr.strip()[:MESSAGE_CHARACTERS]
            raise ExportError("The sources do not compile to WebAssembly.", where=folder, got=message)
        return module.read_bytes()


def _copy(source: Traversable, names: Sequence[str], folder: Path) -> None:
    for name in names:
        (folder / name).write_bytes((source / name).read_bytes())
