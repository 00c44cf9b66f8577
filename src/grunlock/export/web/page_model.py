"""A written page's WebAssembly, run from Python as a browser runs it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from grunlock.errors import ExportError, MissingDependencyError
from grunlock.export.c.compiled import ERRORS
from grunlock.export.web.compiler import INSTALL
from grunlock.export.web.page import PAGE, wasm_of
from grunlock.shapes import FloatArray

if TYPE_CHECKING:
    from wasmtime import Func, Memory, Store


class PageModel:
    """Answers of a page, for one thread at a time: all that the page's scripts ask the model is asked here.

    Raises ExportError for a folder without a page that can be read, MissingDependencyError without wasmtime.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, path = folder, folder / PAGE
        if not path.is_file():
            raise ExportError("There is no exported page here.", where=folder, got=f"no {PAGE}")
        page = path.read_bytes()
        self.size_bytes = len(page)
        self._store, self._functions, self._memory = _opened(wasm_of(page.decode(), path), path)
        self._call("start")
        self.labels = tuple(self._label(number) for number in range(self._call("num_classes")))

    def probabilities(self, inputs: Sequence[str]) -> FloatArray:
        """[n, K], one text at a time. Raises ExportError for a text that the page refuses."""
        result = np.empty((len(inputs), len(self.labels)), np.float32)
        for i, text in enumerate(inputs):
            written = _as_browsers_encode(text)
            place = self._call("room", len(written))
            self._memory.write(self._store, written, place)
            error = self._call("answer", len(written))
            if error:
                raise ExportError("The page refuses a text.", where=f"text {i}", got=ERRORS[error])
            found = self._call("probabilities")
            values = self._memory.read(self._store, found, found + result.itemsize * len(self.labels))
            result[i] = np.frombuffer(values, "<f4")
        return result

    def num_tokens(self) -> int:
        """Of the last text."""
        return self._call("num_tokens")

    def _call(self, name: str, *arguments: int) -> int:
        return int(self._functions[name](self._store, *arguments) or 0)

    def _label(self, number: int) -> str:
        start = end = self._call("label", number)
        while self._memory.read(self._store, end, end + 1) != b"\0":
            end += 1
        return bytes(self._memory.read(self._store, start, end)).decode()


def _opened(wasm: bytes, where: Path) -> "tuple[Store, dict[str, Func], Memory]":
    try:
        import wasmtime
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "Running a page's WebAssembly needs a library that is not installed.",
            where=where,
            got=f"no module {error.name}",
            cure=INSTALL,
        ) from error
    store = wasmtime.Store()
    try:
        module = wasmtime.Module(store.engine, wasm)
        exports = wasmtime.Instance(store, module, []).exports(store)
    except wasmtime.WasmtimeError as error:
        raise ExportError("The page's WebAssembly is damaged.", where=where, got=error) from error
    names = ("start", "room", "answer", "probabilities", "num_tokens", "num_classes", "label")
    functions = {name: exports[f"grunlock_page_{name}"] for name in names}
    return store, functions, exports["memory"]  # type: ignore[return-value]


def _as_browsers_encode(text: str) -> bytes:
    """UTF-8, with U+FFFD for each half of a surrogate pair."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
