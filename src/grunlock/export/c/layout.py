"""What the C sources keep in memory: which members grunlock_state has, and its size on every target.

Every member is of 4 bytes or an array of a multiple of 4, and none is a pointer, so that no compiler pads. A
check in grunlock_model.h holds this module and the struct together.
"""

from collections.abc import Mapping

from grunlock.export.c.constants import Macro

FEW_ROWS = 0xFFFF  # that a row of 2 bytes can name, beside the one that stands for none
COUNT_BYTES = 2  # of how often an n-gram occurs
Macros = Mapping[str, Macro]


def keeping(macros: Macros, *, is_text: bool) -> dict[str, Macro]:
    """The macros that say what is kept of each step, and the scratch that the network needs."""
    both, int8 = bool(macros["BIDIRECTIONAL"]), bool(macros["INT8"])
    keeps_text = both and bool(macros["EMBEDS_NGRAMS"])
    rows = 2 if macros["NUM_ROWS"] < FEW_ROWS else 4
    keeps_values = not is_text and bool(macros["EACH_ALONE"] or (both and not int8))
    keeps_features = not is_text and both and int8 and not keeps_values
    composes = bool(macros["EMBEDS_NGRAMS"] if is_text else macros["PROJECTS"]) or macros["STEM_LAYERS"]
    stem = int(macros["STEM_ROWS"]) * int(macros["INPUT_SIZE"])
    widest = _widest_input(macros)
    room = widest if macros["NORM"] or macros["POOLS_INPUTS"] else 0
    numbers = max(widest, 0 if is_text else int(macros["NUM_FEATURES"]), int(macros["HIDDEN_SIZE"]))
    streams = not both and not macros["EACH_ALONE"] and not macros["CUT_MIDDLE"]
    return {
        "KEEPS_TEXT": int(is_text and keeps_text),
        "KEEPS_ROWS": rows if is_text and both and not keeps_text else 0,
        "KEEPS_VALUES": int(keeps_values),
        "KEEPS_FEATURES": int(keeps_features),
        "COMPOSES": int(bool(composes)),
        "STEM_ROOM": -(-stem // 4) * 4,
        "ROOM": room,
        "NUMBERS_ROOM": numbers + numbers % 2,
        "HIDDEN_NUMBERS": int(macros["HIDDEN_SIZE"]) + int(macros["HIDDEN_SIZE"]) % 2,
        "HAS_PEEK": int(streams),
    }


def needs_steps(macros: Macros) -> bool:
    """Whether the state grows with the longest input."""
    return bool(macros["BIDIRECTIONAL"] or macros["KEEPS_VALUES"])


def bytes_of_step(macros: Macros) -> int:
    """How much the state grows with each step of the longest input."""
    number = 1 if macros["INT8"] else 4
    kept = int(macros["NUM_KEPT"]) * 2 * int(macros["HIDDEN_SIZE"]) * number
    if macros["KEEPS_TEXT"]:
        kept += int(macros["BYTES_OF_TOKEN"])
    if macros["KEEPS_VALUES"]:
        kept += 4 * int(macros["NUM_CHANNELS"])
    if macros["KEEPS_FEATURES"]:
        kept += 4 + int(macros["NUM_FEATURES"])
    return kept + int(macros["KEEPS_ROWS"])


def fixed_bytes(macros: Macros, *, is_text: bool) -> int:
    """The state's size without its steps."""
    m = {name: int(value) for name, value in macros.items()}
    scratch = 4 * (m["COMPOSES"] * m["INPUT_SIZE"] + m["ROOM"] + 4 * m["HIDDEN_SIZE"])
    scratch += 2 * m["NUMBERS_ROOM"] * m["INT8"]
    own = _text_bytes(m) if is_text else _series_bytes(m)
    return 8 + 4 * m["BIDIRECTIONAL"] + own + scratch + _network_bytes(m) + peek_bytes(macros)


def state_bytes(macros: Macros, *, is_text: bool) -> int:
    """GRUNLOCK_STATE_BYTES, unless the compiler is told otherwise."""
    steps = int(macros["MAX_STEPS"]) * bytes_of_step(macros)
    return fixed_bytes(macros, is_text=is_text) + steps


def peek_bytes(macros: Macros) -> int:
    """Of the state, what peeking needs where windows look ahead: a copy of what steps change."""
    network = _network_bytes({name: int(value) for name, value in macros.items()})
    return network if macros["HAS_PEEK"] and macros["STEM_DELAY"] else 0


def _network_bytes(m: Mapping[str, int]) -> int:
    hidden = 4 * m["HIDDEN_SIZE"] * (2 if m["LSTM"] else 1) + 2 * m["HIDDEN_NUMBERS"] * m["INT8"]
    pooled = 4 * m["POOLED_SIZE"] * (m["POOLS_MAX"] + 2 * m["POOLS_MEAN"] + m["POOLS_LAST"])
    stem = 4 * m["STEM_ROWS"] + m["STEM_ROOM"] if m["INT8"] else 4 * m["STEM_ROOM"]
    return stem + m["NUM_STATES"] * hidden + pooled


def _text_bytes(m: Mapping[str, int]) -> int:
    reader = 8 + m["UNICODE"] * (8 + 4 * m["MAX_MARKS"])
    token = 12 + 4 * m["NGRAMS"] * m["NGRAM_MAX"] + m["EMBEDS_NGRAMS"] * (4 + 4 * m["INPUT_SIZE"])
    context = 8 + 4 * m["NGRAM_MAX"] if m["NGRAMS"] and m["CHARACTERS"] else 0
    tail = m["CUT_MIDDLE"] * (12 + context + m["TAIL_BYTES"])
    sums = m["WIDE_KINDS"] * (8 * m["NUM_CLASSES"] + 8)
    touched = 4 + 4 * m["WIDE_TOUCHED"] if m["WIDE_TOUCHED"] else 0
    counts = (COUNT_BYTES * m["WIDE_COUNTS"] + touched) * m["WIDE_APART"]
    wide = m["WIDE"] * (sums + 4 * m["WIDE_LENGTH"] + 4 + counts)
    return reader + token + tail + wide + m["KEEPS_TEXT"] * (4 + m["BYTES_MORE"])


def _series_bytes(m: Mapping[str, int]) -> int:
    channels = m["NUM_CHANNELS"] * (m["CHANGES"] + 3 * m["EACH_ALONE"])
    return 4 + 4 * (m["NUM_FEATURES"] + channels)


def _widest_input(macros: Macros) -> int:
    above = 0
    if macros["NUM_LAYERS"] > 1:
        above = int(macros["HIDDEN_SIZE"]) * (2 if macros["BIDIRECTIONAL"] else 1)
    return max(int(macros["INPUT_SIZE"]), above)
