"""Write a trained model as a folder of C99: sources as they stand, this model's arrays, how to build it."""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from grunlock.errors import ExportError
from grunlock.export.c.budget import NO_BUDGET, Budget, refuse_unless_within
from grunlock.export.c.constants import Constants, Macro
from grunlock.export.c.contents import COptions, contents_of
from grunlock.export.c.layout import bytes_of_step, needs_steps, peek_bytes, state_bytes
from grunlock.export.c.macros import header
from grunlock.export.c.names import PREFIX, check_prefix, renamed, renamed_files
from grunlock.export.c.readme import readme
from grunlock.export.c.refusals import refuse_unless_in_c
from grunlock.export.c.unicode_tables import UnicodeRange
from grunlock.export.portable import PortableModel
from grunlock.files import storage_guard, write_atomically

DEFAULT_STEPS = 1000
OURS = ("grunlock_*.[ch]", "model_weights*.[ch]", "unicode_tables.c")  # but for another prefix
SOURCES = "sources"
HEADERS_ALWAYS = (
    "grunlock_model.h",
    "grunlock_weights.h",
    "grunlock_math.h",
    "grunlock_product.h",
    "grunlock_cell.h",
    "grunlock_encoder.h",
    "grunlock_pool.h",
)
TEXT_PARTS = ("reading", "unicode", "cut", "tokens", "numbers", "ngrams", "wide")


@dataclass(frozen=True)
class CExport:
    """A written folder.

    const_bytes: of all arrays: what the model takes of a flash memory, beside some code
    state_bytes: what an application has to set aside, for inputs of up to max_steps
    peek_bytes:  of these, what grunlock_peek needs
    step_bytes:  of these, for each of max_steps
    max_steps:   None where an input may be of any length
    sources:     what has to be compiled, without main.c
    prefix:      of all names in C
    """

    folder: Path
    labels: tuple[str, ...]
    reads_text: bool
    channels: int
    int8: bool
    unicode: UnicodeRange
    const_bytes: int
    state_bytes: int
    peek_bytes: int
    step_bytes: int
    max_steps: int | None
    sources: tuple[str, ...]
    prefix: str


def write_c(
    model: PortableModel,
    folder: Path,
    *,
    int8: bool = False,
    max_steps: int = DEFAULT_STEPS,
    unicode: UnicodeRange = "full",
    budget: Budget = NO_BUDGET,
    peek: bool = True,
    prefix: str = PREFIX,
) -> CExport:
    """Write sources, weights, Makefile, an example program and a README into a folder.

    int8:      weights and states as whole numbers of 8 bits
    max_steps: the longest input, in tokens or steps, where the model has to keep its steps; of texts that are
        cut anyway no more is kept
    unicode:   the characters of texts that become what they are in Python; others stay as they come
    budget:    of constants and of memory
    peek:      whether the model answers before the end too, if it can
    prefix:    of all names, so that several models fit into one program

    Raises ExportError, before anything is written, for a part that the C sources do not have, and for a model
    that is larger than the budget; StorageError if the folder cannot be written.
    """
    refuse_unless_in_c(model, max_steps)
    check_prefix(prefix)
    options = COptions(int8, max_steps, unicode, peek)
    constants = contents_of(model, options)
    refuse_unless_within(budget, model, options, constants)
    texts = _sources(constants, is_text=model.kind == "text")
    compiled = sorted(name for name in texts if name.endswith(".c"))
    export = _described(folder, model, options, constants, prefix, tuple(compiled))
    texts = renamed_files({**texts, "main.c": _source("main.c")}, prefix)
    listed = " \\\n  ".join(export.sources)
    texts["Makefile"] = _source("Makefile").replace(PREFIX, prefix).replace("@SOURCES@", listed)
    texts["README.md"] = readme(export)
    _write(folder, texts, prefix)
    return export


def _sources(constants: Constants, *, is_text: bool) -> dict[str, str]:
    """What has to be compiled, and its headers, by file name."""
    copied = _copied(constants.macros, is_text=is_text)
    texts = {name: _source(name) for name in copied} | dict(constants.files())
    return texts | {"model_weights.h": header(constants.macros, is_text=is_text)}


def _described(
    folder: Path,
    model: PortableModel,
    options: COptions,
    constants: Constants,
    prefix: str,
    sources: tuple[str, ...],
) -> CExport:
    macros, is_text = constants.macros, model.kind == "text"
    limited = needs_steps(macros)
    return CExport(
        folder=folder,
        labels=model.labels,
        reads_text=is_text,
        channels=int(macros["NUM_CHANNELS"]),
        int8=options.int8,
        unicode=options.unicode,
        const_bytes=constants.num_bytes,
        state_bytes=state_bytes(macros, is_text=is_text),
        peek_bytes=peek_bytes(macros),
        step_bytes=bytes_of_step(macros) if limited else 0,
        max_steps=int(macros["MAX_STEPS"]) if limited else None,
        sources=tuple(renamed(name, prefix) for name in sources),
        prefix=prefix,
    )


def _copied(macros: dict[str, Macro], *, is_text: bool) -> list[str]:
    """The hand-written files that this model needs."""
    product = "grunlock_product_int8.c" if macros["INT8"] else "grunlock_product.c"
    files = [*HEADERS_ALWAYS, product, "grunlock_encoder.c", "grunlock_pool.c", "grunlock_model.c"]
    files += ["grunlock_cell.c"] if macros["NUM_LAYERS"] else []
    files += ["grunlock_norm.h", "grunlock_norm.c"] if macros["NORM"] or macros["STEM_NORM"] else []
    files += ["grunlock_stem.h", "grunlock_stem.c"] if macros["STEM_LAYERS"] else []
    parts = TEXT_PARTS if is_text else ("series",)
    idle = {"ngrams": not macros["NGRAMS"], "wide": not macros["WIDE"]}
    files += [f"grunlock_{part}.h" for part in parts]
    return files + [f"grunlock_{part}.c" for part in parts if not idle.get(part)]


def _source(name: str) -> str:
    return (resources.files("grunlock.export.c") / SOURCES / name).read_text(encoding="utf-8")


def _write(folder: Path, texts: dict[str, str], prefix: str) -> None:
    if folder.exists() and not folder.is_dir():
        raise ExportError("A file has the name of the folder.", where=folder, cure="give another name")
    with storage_guard(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for pattern in (
            OURS if prefix == PREFIX else (f"{prefix}_*.[ch]",)
        ):  # of an earlier export; *.c may be all that somebody compiles
            for path in folder.glob(pattern):
                if path.name not in texts:
                    path.unlink()
    for name, text in texts.items():
        write_atomically(folder / name, text)
