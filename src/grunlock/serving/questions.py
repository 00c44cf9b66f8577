"""What a request asks, from the fields of its JSON object. Everything wrong with one is refused with 422."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from grunlock.runtime.guarantees import SET_METHODS, SetMethod
from grunlock.serving.limits import Limits
from grunlock.serving.refusals import RequestError
from grunlock.serving.served import ServedModel
from grunlock.serving.slots import Slots
from grunlock.shapes import FloatArray

MAX_SHOWN = 80
LARGEST = float(np.finfo(np.float32).max)
PROMISES = ("coverage", "method", "max_error")


@dataclass(frozen=True)
class Example:
    """What the classifier reads. size: characters, or numbers."""

    value: str | FloatArray
    size: int


@dataclass(frozen=True)
class Promises:
    """Which sets of labels, and with which error rate abstaining, is asked for beside the probabilities."""

    coverage: float | None = None
    method: SetMethod = "lac"
    max_error: float | None = None

    @property
    def any(self) -> bool:
        return self.coverage is not None or self.max_error is not None


@dataclass(frozen=True)
class Question:
    """served: the model that answers, whatever is reloaded meanwhile."""

    served: ServedModel
    examples: Sequence[Example]
    promises: Promises


def one_example(fields: Mapping[str, Any], slots: Slots, limits: Limits) -> Question:
    """Of /v1/predict: `text` or `values`."""
    served = slots.pick(text_or_none(fields, "model"))
    key, read = ("text", text) if served.kind == "text" else ("values", series)
    _check_keys(fields, key, ("model", *PROMISES), served)
    return Question(served, (read(fields[key], key, served, limits),), _promises(fields))


def many_examples(fields: Mapping[str, Any], slots: Slots, limits: Limits) -> Question:
    """Of /v1/batch: `texts` or `series`."""
    served = slots.pick(text_or_none(fields, "model"))
    key, read = ("texts", text) if served.kind == "text" else ("series", series)
    _check_keys(fields, key, ("model", *PROMISES), served)
    given = fields[key]
    if not isinstance(given, list) or not given:
        raise _wrong_type(key, given, "a list of at least one")
    if len(given) > limits.batch_texts:
        raise RequestError(
            422,
            "A batch has too many examples.",
            where=key,
            got=len(given),
            expected=f"at most {limits.batch_texts}",
            cure="send several requests",
        )
    examples = [read(each, f"{key}[{i}]", served, limits) for i, each in enumerate(given)]
    return Question(served, examples, _promises(fields))


def one_text(fields: Mapping[str, Any], slots: Slots, limits: Limits) -> Question:
    """Of /v1/explain: `text`."""
    served = slots.pick(text_or_none(fields, "model"))
    if served.kind != "text":
        raise RequestError(
            422,
            "Only a text can be explained here, and this model reads series.",
            where="model",
            got=served.name,
            cure="ask a model of texts",
        )
    _check_keys(fields, "text", ("model",), served)
    return Question(served, (text(fields["text"], "text", served, limits),), Promises())


def text(given: Any, where: str, served: ServedModel, limits: Limits) -> Example:
    """A text that is neither too long nor broken."""
    if not isinstance(given, str):
        raise _wrong_type(where, given, "a string: this model reads texts")
    if len(given) > limits.text_chars:
        raise RequestError(
            422,
            "A text is too long.",
            where=where,
            got=f"{len(given):,} characters",
            expected=f"at most {limits.text_chars:,}",
        )
    if not given.isascii():
        refuse_half_characters(given, where)
    return Example(given, len(given))


def refuse_half_characters(given: str, where: str) -> None:
    """JSON may name one half of a pair by its escape; no text in UTF-8 has it."""
    try:
        given.encode()
    except UnicodeEncodeError as error:
        raise RequestError(
            422,
            "A text is not valid Unicode.",
            where=f"{where}, character {error.start + 1}",
            got=f"the half character \\u{ord(given[error.start]):04x}",
        ) from error


def series(given: Any, where: str, served: ServedModel, limits: Limits) -> Example:
    """[T][C] numbers, null where one is missing; [T] numbers of a single channel."""
    expected = f"a list of steps, each a list of {len(served.channels)} numbers, or null where one is missing"
    if not isinstance(given, list):
        raise _wrong_type(where, given, expected)
    if len(given) > limits.series_steps:
        raise RequestError(
            422,
            "A series is too long.",
            where=where,
            got=f"{len(given):,} steps",
            expected=f"at most {limits.series_steps:,}",
        )
    alone = len(served.channels) == 1
    for i, step in enumerate(given):
        place = f"{where}[{i}]"
        if isinstance(step, list):
            if len(step) != len(served.channels):
                raise RequestError(
                    422,
                    "A step has another number of channels.",
                    where=place,
                    got=len(step),
                    expected=expected,
                )
            for j, number in enumerate(step):
                _check_number(number, f"{place}[{j}]")
        elif alone:
            _check_number(step, place)
        else:
            raise _wrong_type(place, step, expected)
    rows = [step if isinstance(step, list) else [step] for step in given]
    values = np.array(rows, np.float32).reshape(len(rows), len(served.channels))
    return Example(values, values.size)


def _check_number(given: Any, where: str) -> None:
    fits = given is None or (isinstance(given, int | float) and not isinstance(given, bool))
    if not fits or (given is not None and not abs(given) <= LARGEST):
        raise _wrong_type(where, given, "a number within float32, or null where it is missing")


def text_or_none(fields: Mapping[str, Any], key: str) -> str | None:
    """Raises RequestError (422) for what is neither a string nor null nor absent."""
    given = fields.get(key)
    if given is None or isinstance(given, str):
        return given
    raise _wrong_type(key, given, "a string")


def share_or_none(fields: Mapping[str, Any], key: str) -> float | None:
    """A number between 0 and 1. Raises RequestError (422) for anything else but null and nothing."""
    given = fields.get(key)
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given < 1:
        raise _wrong_type(key, given, "a number between 0 and 1, such as 0.05")
    return float(given)


def refuse_unknown(fields: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raises RequestError (422) naming the key that was probably meant."""
    for name in fields:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise RequestError(
                422,
                "There is no such key.",
                where="body",
                got=repr(name)[:MAX_SHOWN],
                expected=f"some of: {', '.join(known)}",
                cure=f"did you mean {near[0]}?" if near else None,
            )


def _check_keys(fields: Mapping[str, Any], needed: str, others: Sequence[str], served: ServedModel) -> None:
    wrong_kind = {"text", "texts", "values", "series"} & fields.keys()
    if not wrong_kind:
        refuse_unknown(fields, (needed, *others))
    if needed not in fields:
        raise RequestError(
            422,
            "A key is missing.",
            where="body",
            got=f"{', '.join(fields) or 'an empty object'}"[:MAX_SHOWN],
            expected=needed,
            cure=f"the model {served.name} reads {served.kind}" if wrong_kind else None,
        )
    refuse_unknown(fields, (needed, *others))


def _promises(fields: Mapping[str, Any]) -> Promises:
    if len(fields) == 1:
        return _NONE
    method = fields.get("method")
    if method is not None and "coverage" not in fields:
        raise RequestError(422, "A method is one of sets.", where="method", expected="coverage beside it")
    for known in SET_METHODS:
        if method is None or method == known:
            coverage, max_error = share_or_none(fields, "coverage"), share_or_none(fields, "max_error")
            return Promises(coverage, known, max_error)
    raise _wrong_type("method", method, " or ".join(SET_METHODS))


def _wrong_type(where: str, given: Any, expected: str) -> RequestError:
    shown = "null" if given is None else f"{type(given).__name__} {str(given)[:MAX_SHOWN]!r}"
    return RequestError(422, "A value is not what it should be.", where=where, got=shown, expected=expected)


_NONE = Promises()
