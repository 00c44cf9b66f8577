"""The names in model_weights.h: every size and choice that the C sources ask for, and what each means."""

from collections.abc import Mapping

from grunlock.export.c.constants import Macro
from grunlock.export.c.layout import bytes_of_step, fixed_bytes, needs_steps

MEANINGS = {
    "READS_TEXT": "texts, or numeric series",
    "INT8": "weights, and states in products, as whole numbers of 8 bits",
    "FOUR_BITS": "some of these weights of 4 bits",
    "NUM_CLASSES": "",
    "HAS_PEEK": "whether probabilities are known before the end",
    # the network
    "INPUT_SIZE": "numbers of a step's vector",
    "STEM_LAYERS": "windows of steps in front of the layers",
    "STEM_NORM": "a layer norm in each of them",
    "STEM_ROWS": "steps that they keep, in all",
    "STEM_DELAY": "steps that they look ahead, in all",
    "HIDDEN_SIZE": "of each direction; 0 without a recurrent layer",
    "NUM_LAYERS": "",
    "BIDIRECTIONAL": "",
    "LSTM": "instead of a GRU",
    "RESET_AFTER": "the GRU's reset gate acts after the product with the state",
    "NORM": "a layer norm in front of a layer",
    "NORM_EPS": "added to a variance",
    "NUM_STATES": "states of layers that are kept at a time",
    "NUM_KEPT": "layers whose states at all steps are kept",
    "POOLS_INPUTS": "the vectors of steps are pooled too, in front of the states",
    "POOLED_SIZE": "numbers of a pooled vector, for each way to pool:",
    "POOLS_MAX": "",
    "POOLS_MEAN": "",
    "POOLS_LAST": "",
    "MAX_AT": "where it stands in front of the head",
    "MEAN_AT": "",
    "LAST_AT": "",
    "TEMPERATURE": "logits are divided by it",
    # texts
    "CHARACTERS": "tokens are characters, not words",
    "LOWERCASE": "",
    "UNICODE": "there are tables of characters beyond ASCII",
    "HANGUL": "",
    "PYTHON_SPACES": "the separators 0x1c to 0x1f are whitespace",
    "CLASS_RUNS": "",
    "MARK_RUNS": "",
    "CASE_RUNS": "",
    "MAX_MARKS": "combining marks in a row that are put in order",
    "MAX_TOKENS": "more are cut off; 0: none is",
    "CUT_MIDDLE": "the first and the last half of so many stay, not the first ones",
    "BYTES_OF_TOKEN": "kept of a token where its text is, a space included, on average",
    "BYTES_MORE": "kept in all, for a long word",
    "TAIL_BYTES": "of the tokens that may be the last",
    "KEEPS_EMPTY": "a text without a token is answered",
    "KEEPS_ROWS": "bytes of a token's row, which are kept of each step",
    "KEEPS_TEXT": "the tokens' text is kept instead",
    "NUM_ROWS": "in the table of tokens",
    "UNKNOWN_ROW": "of an unknown word",
    "EMPTY_ROW": "of a text without a token",
    "BARE_WORDS": "some words have no vector",
    "ID_BYTES": "",
    "FINGERPRINT_SEED": "",
    "NGRAMS": "runs of characters are hashed",
    "NGRAM_MIN": "characters",
    "NGRAM_MAX": "",
    "NGRAM_BUCKETS": "",
    "EMBEDS_NGRAMS": "they have vectors",
    "NGRAM_VECTORS": "",
    "NGRAMS_PRUNED": "not all of these have a row",
    "WIDE": "there is a linear model of n-grams",
    "WIDE_APART": "it learned apart, and weighs n-grams by rarity",
    "WIDE_CHARACTERS": "it has n-grams of characters too",
    "WIDE_KINDS": "",
    "WIDE_LENGTH": "tokens of its longest n-gram",
    "WIDE_TOKEN_BUCKETS": "",
    "WIDE_CHARACTER_BUCKETS": "",
    "WIDE_PRUNED": "not all of these have a row",
    "WIDE_COUNTS": "n-grams that are counted",
    "WIDE_TOUCHED": "of these, so many are noted, to be set to 0 again; 0: all are set to 0",
    "WIDE_PARTS": "parts of a row that come from a table; 0: rows are stored",
    "RARITY_BYTES": "of the number of an n-gram's rarity; 0: rarities are stored",
    # series
    "NUM_CHANNELS": "",
    "NUM_FEATURES": "that a step's values become",
    "NUM_INDICATORS": "channels with a feature for missing values",
    "CHANGES": "changes since the step before are features",
    "EACH_ALONE": "each series is standardised by itself",
    "PROJECTS": "features are projected",
    "KEEPS_VALUES": "the values of each step are kept",
    "KEEPS_FEATURES": "its features are, as whole numbers of 8 bits",
    # memory
    "COMPOSES": "vectors of steps are computed",
    "STEM_ROOM": "numbers of the steps that windows keep",
    "ROOM": "floats of scratch",
    "NUMBERS_ROOM": "numbers of scratch, with int8",
    "HIDDEN_NUMBERS": "of a state, an even number",
    "MAX_STEPS": "the longest input; 0: of any length",
}
DEFAULTS: dict[str, Macro] = dict.fromkeys(MEANINGS, 0)
TEXT, SERIES, MEMORY = "CHARACTERS", "NUM_CHANNELS", "COMPOSES"  # where these begin
UNSIGNED = {"UNKNOWN_ROW", "EMPTY_ROW", "FINGERPRINT_SEED"}


def header(macros: Mapping[str, Macro], *, is_text: bool) -> str:
    """model_weights.h."""
    names = list(MEANINGS)
    text, series, memory = (names.index(name) for name in (TEXT, SERIES, MEMORY))
    idle = names[series:memory] if is_text else names[text:series]
    used = [name for name in names if name not in idle and name != "MAX_STEPS"]
    lines = [_line(name, macros[name]) for name in used]
    own = (
        ["KEEPS_TEXT", "KEEPS_ROWS", "CUT_MIDDLE", "WIDE", "NGRAMS", "EMBEDS_NGRAMS"]
        if not is_text
        else ["EACH_ALONE"]
    )
    lines += [_line(name, 0) for name in own]
    return "\n".join(
        [
            "/* Generated: the sizes of the model, and the choices that its recipe made. */",
            "#ifndef GRUNLOCK_SIZES_H",
            "#define GRUNLOCK_SIZES_H",
            "",
            *lines,
            "",
            *_memory(macros, is_text=is_text),
            "",
            "#endif",
            "",
        ]
    )


def _memory(macros: Mapping[str, Macro], *, is_text: bool) -> list[str]:
    """The size of the state, as a function of the longest input where it is one."""
    fixed, each = fixed_bytes(macros, is_text=is_text), bytes_of_step(macros)
    if not needs_steps(macros):
        return [_line("MAX_STEPS", 0), f"#define GRUNLOCK_STATE_BYTES {fixed}"]
    rooms = {
        "ROWS_ROOM": 1,
        "FEATURES_ROOM": macros["NUM_FEATURES"],
        "KEPT_ROOM": 2 * macros["HIDDEN_SIZE"],
    }
    return [
        "/* The longest input in tokens or steps, a multiple of 4; the compiler may be given another one. */",
        "#ifndef GRUNLOCK_MAX_STEPS",
        f"#define GRUNLOCK_MAX_STEPS {macros['MAX_STEPS']}",
        "#endif",
        *(f"#define GRUNLOCK_{name} ({size} * GRUNLOCK_MAX_STEPS)" for name, size in rooms.items()),
        "#define GRUNLOCK_TEXT_BYTES (GRUNLOCK_BYTES_MORE + GRUNLOCK_BYTES_OF_TOKEN * GRUNLOCK_MAX_STEPS)",
        f"#define GRUNLOCK_STATE_BYTES ({fixed} + {each} * GRUNLOCK_MAX_STEPS)",
    ]


def _line(name: str, value: Macro) -> str:
    meaning = f" /* {MEANINGS[name]} */" if MEANINGS[name] else ""
    written = f"{value!r}f" if isinstance(value, float) else f"{value}{'u' if name in UNSIGNED else ''}"
    return f"#define GRUNLOCK_{name} {written}{meaning}"
