"""Write a trained model as a page that opens from a file: style, scripts and WebAssembly are inside."""

import base64
import tempfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from grunlock.errors import ExportError
from grunlock.export.c.folder import CExport, write_c
from grunlock.export.c.refusals import refuse_unless_in_c
from grunlock.export.portable import PortableModel
from grunlock.export.web.compiler import compiled, require_compiler
from grunlock.files import storage_guard, write_atomically

PAGE, README = "index.html", "README.md"
TEMPLATE = "template"
WEB_STEPS = 5000
MODEL_BEFORE, MODEL_BEHIND = '<script id="model" type="text/plain">', "</script>"


@dataclass(frozen=True)
class WebExport:
    """What was written. page_bytes: of the page; wasm_bytes: of the WebAssembly in it."""

    folder: Path
    page_bytes: int
    wasm_bytes: int


def write_web(
    model: PortableModel, folder: Path, *, int8: bool = False, max_steps: int = WEB_STEPS
) -> WebExport:
    """Write index.html and README.md into a folder. Options are those of write_c.

    Raises, before anything is written, ExportError for series and for what the C sources do not have, and
    MissingDependencyError without a compiler; StorageError if the folder cannot be written.
    """
    refuse_unless_in_page(model, max_steps)
    require_compiler()
    with tempfile.TemporaryDirectory(prefix="grunlock-web-") as name:
        sources = write_c(model, Path(name), int8=int8, max_steps=max_steps)
        wasm = compiled(sources.folder, sources.sources)
    page = page_of(wasm, len(model.labels))
    export = WebExport(folder, len(page.encode()), len(wasm))
    with storage_guard(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / PAGE, page)
    write_atomically(folder / README, _readme(sources, export))
    return export


def refuse_unless_in_page(model: PortableModel, max_steps: int) -> None:
    """Raises ExportError for a model of series, and for what the C sources cannot compute."""
    if model.kind == "series":
        raise ExportError(
            "The page reads texts, and this is a model of series.",
            where="data.kind",
            got="series",
            expected="text",
            cure="export with --to c or --to onnx",
        )
    refuse_unless_in_c(model, max_steps)


def page_of(wasm: bytes, num_classes: int) -> str:
    """The page with a module in it."""
    parts = {
        "@STYLE@": _part("style.css"),
        "@CLASSIFIER@": _part("classifier.js"),
        "@PAGE@": _part("page.js"),
        "@CLASSES@": f"{num_classes:,} classes",
        "@MODEL@": base64.b64encode(wasm).decode(),
    }
    return _filled(_part(PAGE), parts)


def wasm_of(page: str, where: object) -> bytes:
    """The module in a page. Raises ExportError if there is none, or one that is not whole."""
    _, found, rest = page.partition(MODEL_BEFORE)
    text, ends, _ = rest.partition(MODEL_BEHIND)
    try:
        if found and ends:
            return base64.b64decode(text, validate=True)
        fault = "no model"
    except ValueError as error:
        fault = str(error)
    raise ExportError("The page has no model that can be read.", where=where, got=fault)


def _readme(sources: CExport, export: WebExport) -> str:
    steps = sources.max_steps
    return _filled(
        _part(README),
        {
            "@LABELS@": ", ".join(label.replace("|", "\\|") for label in sources.labels),
            "@NUMBERS@": "int8" if sources.int8 else "float32",
            "@PAGE_BYTES@": f"{export.page_bytes:,}",
            "@WASM_BYTES@": f"{export.wasm_bytes:,}",
            "@LENGTH@": "any" if steps is None else f"up to {steps:,} tokens, or cut where training cut it",
        },
    )


def _part(name: str) -> str:
    text = (resources.files("grunlock.export.web") / TEMPLATE / name).read_text(encoding="utf-8")
    return text.rstrip("\n") if name != README else text


def _filled(text: str, parts: dict[str, str]) -> str:
    for mark, value in parts.items():
        text = text.replace(mark, value)
    return text
