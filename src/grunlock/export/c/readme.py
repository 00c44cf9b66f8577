"""What stands beside the sources for people: how to build and to use them."""

from typing import TYPE_CHECKING

from grunlock.export.c.names import renamed

if TYPE_CHECKING:
    from grunlock.export.c.folder import CExport

PAGE = """\
# A classifier of {kind} in C99

Labels: @LABELS@.

| | bytes |
|---|---|
| constant arrays ({numbers}) | {const_bytes} |
| memory, `GRUNLOCK_STATE_BYTES` | {state_bytes} |

{memory}No heap, no libm, no file, no thread. `grunlock_model.h` is the interface: one struct of the caller's
holds everything, and its size is known when it is compiled. The stack takes some hundred bytes beside it.

```c
static grunlock_state state;
float probabilities[GRUNLOCK_NUM_CLASSES];

grunlock_init(&state);
{step}
if (grunlock_finish(&state, probabilities) == GRUNLOCK_OK) {{
  /* column k belongs to grunlock_labels[k]; the state is as after grunlock_init again */
}}
```

`make` builds `classify`, which answers lines of standard input; the Makefile says how to build for other
processors. A C99 compiler and IEEE single precision are all that is needed, no double is used. Not for
`-ffast-math`.

## Limits

{limits}
"""

PEEK = """\
Of the memory {peek_bytes} bytes are for `grunlock_peek`, which has to look ahead of the steps so far;
exported with `--no-peek` there is neither.

"""
EACH_STEP = """\
Of the memory {step_bytes} bytes are for each step of the longest input.

"""
TEXT_STEP = "grunlock_step_text(&state, bytes, count); /* as often as bytes arrive, cut anywhere */"
SERIES_STEP = "grunlock_step_values(&state, values); /* each step: a value for each channel, NaN: missing */"

UNICODE = {
    "full": "Texts become tokens as in Python, whatever they are written in.",
    "latin": "Texts in Latin letters, with accents, punctuation, ligatures and full-width forms, become\n"
    "  tokens as in Python. Other letters stay as they come, capitals included.",
    "ascii": "Texts in ASCII become tokens as in Python. All other characters stay as they come, and count\n"
    "  as letters.",
}
WORDS = """\
Words are known by 32 bits: of a million words that are not in a vocabulary of 10,000, two or three are taken
  for one that is."""
NO_TEXT = "What is no UTF-8 is refused as GRUNLOCK_INVALID."
NO_VALUE = "Infinite values, and values too far from those of training, are refused as GRUNLOCK_INVALID."
ANY_LENGTH = "Inputs may be of any length."
LENGTH = """\
Inputs of up to {max_steps} {unit}. Longer ones are cut where training cut them, else refused as
  GRUNLOCK_TOO_LONG. Another GRUNLOCK_MAX_STEPS, a multiple of 4, may be given to the compiler."""


def readme(export: "CExport") -> str:
    """A page for whoever has to build this into something."""
    page = PAGE.format(
        kind="texts" if export.reads_text else f"series of {export.channels} channels",
        numbers="int8 weights and states" if export.int8 else "float32 weights",
        const_bytes=export.const_bytes,
        state_bytes=export.state_bytes,
        memory=_memory(export),
        step=TEXT_STEP if export.reads_text else SERIES_STEP,
        limits="\n".join(f"- {limit}" for limit in _limits(export)),
    )
    return renamed(page, export.prefix).replace("@LABELS@", ", ".join(export.labels))


def _memory(export: "CExport") -> str:
    if export.peek_bytes:
        return PEEK.format(peek_bytes=export.peek_bytes)
    return EACH_STEP.format(step_bytes=export.step_bytes) if export.max_steps is not None else ""


def _limits(export: "CExport") -> list[str]:
    unit = "tokens" if export.reads_text else "steps"
    length = ANY_LENGTH if export.max_steps is None else LENGTH.format(max_steps=export.max_steps, unit=unit)
    if not export.reads_text:
        return [length, NO_VALUE]
    return [length, UNICODE[export.unicode], WORDS, NO_TEXT]
