"""Where a fuzzer's choices come from: a seed, or the bytes that a coverage-guided engine gives."""

import random
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Draw(Protocol):
    def number(self, low: int, high: int) -> int:
        """From low to high, both included."""
        ...

    def some_bytes(self, count: int) -> bytes: ...


class Seeded:
    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def number(self, low: int, high: int) -> int:
        return self._random.randint(low, high)

    def some_bytes(self, count: int) -> bytes:
        return self._random.randbytes(count)


class Guided:
    """provider: atheris.FuzzedDataProvider"""

    def __init__(self, provider: Any) -> None:
        self._provider = provider

    def number(self, low: int, high: int) -> int:
        found: int = self._provider.ConsumeIntInRange(low, high)
        return found

    def some_bytes(self, count: int) -> bytes:
        found: bytes = self._provider.ConsumeBytes(count)
        return found.ljust(count, b"\0")


def chosen(draw: Draw, values: Sequence[T]) -> T:
    return values[draw.number(0, len(values) - 1)]


def one_in(draw: Draw, every: int) -> bool:
    return draw.number(1, every) == 1
