"""All that the generated files of a C export will say, before anything is written."""

from dataclasses import dataclass

from grunlock.export.c.constants import Constants, c_string
from grunlock.export.c.layout import keeping, needs_steps
from grunlock.export.c.macros import DEFAULTS
from grunlock.export.c.network_part import network_part
from grunlock.export.c.series_part import series_part
from grunlock.export.c.text_part import text_part
from grunlock.export.c.unicode_tables import UnicodeRange
from grunlock.export.portable import PortableModel
from grunlock.text import TextFrontEnd


@dataclass(frozen=True)
class COptions:
    """As those of write_c."""

    int8: bool
    max_steps: int
    unicode: UnicodeRange
    peek: bool = True


def contents_of(model: PortableModel, options: COptions) -> Constants:
    """Arrays and macros. Raises ExportError for numbers that are not finite and for too many words."""
    constants = Constants({**DEFAULTS, "INT8": int(options.int8)})
    constants.begin("model_weights.c", "grunlock_weights.h")
    macros = constants.macros
    weights = model.tokens if model.tokens is not None else model.projection and model.projection[0]
    if isinstance(model.front_end, TextFrontEnd):
        assert weights is not None
        network_part(constants, model, weights.shape[1])
        text_part(constants, model, model.front_end, options.unicode)
    else:
        size = model.front_end.num_features if weights is None else len(weights)
        network_part(constants, model, size)
        series_part(constants, model, model.front_end)
    is_text = model.kind == "text"
    macros["READS_TEXT"] = int(is_text)
    macros |= keeping(macros, is_text=is_text)
    macros["HAS_PEEK"] *= int(options.peek)
    if needs_steps(macros):
        limit = min(options.max_steps, int(macros["MAX_TOKENS"]) or options.max_steps)
        macros["MAX_STEPS"] = -(-limit // 4) * 4  # so that arrays of 2 bytes end where one of 4 may begin
    if macros["CUT_MIDDLE"]:
        tail = int(macros["MAX_TOKENS"]) // 2 * int(macros["BYTES_OF_TOKEN"])
        macros["TAIL_BYTES"] = tail // 4 * 4 + 4 + int(macros["BYTES_MORE"])
    constants.begin("model_weights.c", "grunlock_weights.h")
    labels = ",\n ".join(map(c_string, model.labels))
    constants.define(f"const char *const grunlock_labels[GRUNLOCK_NUM_CLASSES] = {{\n {labels}}};")
    constants.num_bytes += sum(len(label.encode()) + 1 for label in model.labels)
    return constants
