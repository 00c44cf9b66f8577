"""C text of constant arrays, spread over files so that no compiler has to take a very long one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grunlock.errors import ExportError

C_TYPES = {
    np.dtype(np.float32): "float",
    np.dtype(np.int8): "int8_t",
    np.dtype(np.uint8): "uint8_t",
    np.dtype(np.uint16): "uint16_t",
    np.dtype(np.uint32): "uint32_t",
}
LONG_ARRAY = 1 << 16  # values; a longer one gets a file of its own
LINE_VALUES = 12
MOST_LOW_BITS = 25  # that four bytes hold, wherever they begin
LOWS_BEHIND = 3  # bytes that may be read with the last ones

Macro = int | float
Array = NDArray[Any]


@dataclass
class Constants:
    """What the generated files will say.

    macros:    GRUNLOCK_* of model_weights.h, without the prefix
    num_bytes: of all arrays
    """

    macros: dict[str, Macro]
    num_bytes: int = 0
    _files: dict[str, list[str]] = field(default_factory=dict)

    def begin(self, file: str, included: str) -> None:
        """What is defined from now on goes to this file, which includes a header."""
        about = f'/* Generated: pure data. */\n#include "{included}"'
        self._main = self._files.setdefault(file, [about])

    def array(self, name: str, values: Array, *, public: bool = False) -> str:
        """Define an array and give its name back. Dimensions stay; there is never none at all.

        public: a header declares it; of what it does not, only a long array leaves its file, under our prefix

        Raises ExportError for infinite numbers and NaN, which C has no constants for.
        """
        values = np.ascontiguousarray(values)
        if values.dtype == np.float32:
            require_finite(name, values)
        if values.size == 0:
            values = np.zeros((1, *values.shape[1:]), values.dtype)
        self.num_bytes += values.nbytes
        is_long = values.size > LONG_ARRAY
        file = f"model_weights_{name.removeprefix('grunlock_')}.c"
        name = f"grunlock_data_{name}" if is_long and not public else name
        declared = f"const {C_TYPES[values.dtype]} {name}{dimensions(values)}"
        definition = f"{declared} = {initializer(values)};"
        if is_long:
            about = "/* Generated: one long array. */\n#include <stdint.h>"
            self._files[file] = [about, f"extern {declared};", definition]
            self._main += [] if public else [f"extern {declared};"]
        else:
            self._main.append(definition if public else f"static {definition}")
        return name

    def define(self, text: str) -> None:
        """A definition that is no plain array."""
        self._main.append(text)

    def files(self) -> Mapping[str, str]:
        """Each file's text."""
        return {name: "\n\n".join(parts) + "\n" for name, parts in self._files.items()}


def require_finite(name: str, values: Array) -> None:
    if not np.isfinite(values).all():
        raise ExportError(
            "A number of the model is not finite.",
            where=name,
            expected="finite numbers only",
            cure="train the model again, with a smaller optim.lr",
        )


def dimensions(values: Array) -> str:
    return "".join(f"[{size}]" for size in values.shape)


def initializer(values: Array) -> str:
    """Nested braces; every float is written so that C reads the same number."""
    if values.ndim > 1:
        return "{\n" + ",\n".join(initializer(row) for row in values) + "}"
    words = numbers(values)
    lines = (", ".join(words[i : i + LINE_VALUES]) for i in range(0, len(words), LINE_VALUES))
    return "{" + ",\n ".join(lines) + "}"


def numbers(values: Array) -> list[str]:
    if values.dtype == np.float32:
        return [f"{text}f" for text in values.astype("U16").tolist()]  # shortest that reads back the same
    suffix = "u" if values.dtype == np.uint32 else ""
    return [f"{value}{suffix}" for value in values.tolist()]


def c_string(text: str) -> str:
    """A C string literal of the text's UTF-8; octal escapes cannot run into what follows."""
    escaped = "".join(
        chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}"
        for byte in text.encode()
    )
    return f'"{escaped}"'


def rising_numbers(constants: Constants, name: str, values: Array) -> None:
    """A grunlock_numbers of rising whole numbers below 2**32, in as few bytes as its form allows."""
    values = np.asarray(values, np.int64)
    highest = int(values[-1]) if len(values) else 0

    def size(low_bits: int) -> int:
        return len(values) * low_bits // 8 + 4 * ((highest >> low_bits) + 2)

    low_bits = min(range(1, MOST_LOW_BITS + 1), key=size)
    highs = values >> low_bits
    num_highs = int(highs[-1]) + 1 if len(values) else 0
    starts = np.searchsorted(highs, np.arange(num_highs + 1)).astype(np.uint32)
    bits = (values[:, None] >> np.arange(low_bits)) & 1
    lows = np.packbits(bits.astype(np.bool_).reshape(-1), bitorder="little")
    own_starts = constants.array(f"{name}_starts", starts)
    own_lows = constants.array(f"{name}_lows", np.append(lows, np.zeros(LOWS_BEHIND, np.uint8)))
    parts = braced([own_starts, own_lows, num_highs, low_bits])
    constants.define(f"const grunlock_numbers grunlock_{name} = {parts};")


def braced(items: Iterable[object]) -> str:
    return "{" + ", ".join(map(str, items)) + "}"
