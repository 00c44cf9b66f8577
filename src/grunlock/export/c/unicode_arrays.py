"""Tables of characters as C arrays: unicode_tables.c."""

import numpy as np

from grunlock.export.c.constants import Array, Constants, rising_numbers
from grunlock.export.c.unicode_tables import LAST, UnicodeTables

LONG = 7  # a decomposition of so many units, or more, has their number in front
MOST_UNITS = 1 << 13
MOST_SECONDS = 1 << 6
FIRST_SECOND = 0x300  # no character below ends a pair; grunlock_unicode.c skips the search


def unicode_arrays(constants: Constants, tables: UnicodeTables) -> None:
    """Define the arrays and their sizes.

    Raises ValueError where a newer Unicode outgrows a field.
    """
    constants.array("grunlock_class_runs", _packed_runs(tables.class_runs), public=True)
    constants.array("grunlock_mark_runs", _packed_runs(tables.mark_runs), public=True)
    constants.macros |= {
        "CLASS_RUNS": len(tables.class_runs),
        "MARK_RUNS": len(tables.mark_runs),
        "CASE_RUNS": len(tables.case_runs),
    }
    rows = ",\n ".join(f"{{{first}u, {n}, {step}, {shift}}}" for first, n, step, shift in tables.case_runs)
    if rows:
        constants.define(f"const grunlock_case_run grunlock_case_runs[GRUNLOCK_CASE_RUNS] = {{\n {rows}}};")
    constants.num_bytes += 12 * len(tables.case_runs)
    _decompositions(constants, tables.decompositions)
    _pairs(constants, tables.pairs)


def _packed_runs(runs: tuple[tuple[int, int], ...]) -> Array:
    return np.array([start << 8 | own_class for start, own_class in runs], np.uint32)


def _decompositions(constants: Constants, decompositions: dict[int, str]) -> None:
    """Texts share their units: one that is part of another has none of its own."""
    texts = {text: _units(text) for text in decompositions.values()}
    stored, places = b"", {}
    for text in sorted(texts, key=lambda each: (-len(texts[each]), each)):
        units = texts[text]
        wanted = _bytes([len(units), *units] if len(units) >= LONG else units)
        start = stored.find(wanted)
        while start > 0 and start % 2:
            start = stored.find(wanted, start + 1)
        if start < 0:
            start, stored = len(stored), stored + wanted
        places[text] = start // 2 << 3 | min(len(units), LONG)
    if len(stored) // 2 > MOST_UNITS:
        raise ValueError(f"{len(stored) // 2} units of decompositions, at most {MOST_UNITS}")
    characters = sorted(decompositions)
    rising_numbers(constants, "decomposed", np.array(characters))
    found = [places[decompositions[c]] for c in characters]
    constants.array("grunlock_decompositions", np.array(found, np.uint16), public=True)
    all_units = np.frombuffer(stored, "<u2").astype(np.uint16)
    constants.array("grunlock_decomposition_units", all_units, public=True)


def _units(text: str) -> list[int]:
    return list(np.frombuffer(text.encode("utf-16-le"), "<u2").tolist())


def _bytes(units: list[int]) -> bytes:
    return np.array(units, "<u2").tobytes()


def _pairs(constants: Constants, pairs: dict[tuple[int, int], int]) -> None:
    seconds = sorted({second for _, second in pairs})
    if len(seconds) > MOST_SECONDS or any(second < FIRST_SECOND for second in seconds):
        raise ValueError(f"{len(seconds)} characters end a pair, the first {min(seconds):#x}")
    place = {second: i for i, second in enumerate(seconds)}
    keys = {first << 6 | place[second]: whole for (first, second), whole in pairs.items()}
    rising_numbers(constants, "second_characters", np.array(seconds))
    rising_numbers(constants, "pairs", np.array(sorted(keys)))
    wholes = [keys[key] for key in sorted(keys)]
    assert max(wholes, default=0) < LAST
    constants.array("grunlock_composed", np.array(wholes, np.uint32), public=True)
