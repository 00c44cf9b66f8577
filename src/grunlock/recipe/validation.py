"""From plain settings to a Recipe, with every fault reported at once and in our words."""

import difflib
from collections import defaultdict
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from grunlock.errors import RecipeError
from grunlock.recipe.fields import Section
from grunlock.recipe.schema import Recipe

MAX_SHOWN_KEYS = 3


def validate(settings: dict[str, Any]) -> Recipe:
    """Check settings against the schema. Raises RecipeError that lists all faults.

    A table without a kind is of its section's default kind.
    """
    settings = {name: _with_kind(name, value) for name, value in settings.items()}
    try:
        return Recipe.model_validate(settings)
    except ValidationError as error:
        problems = tuple(_problems(error, settings))
    count = len(problems)
    raise RecipeError(f"The recipe has {count} fault{'s' if count > 1 else ''}.", problems=problems)


def _with_kind(name: str, value: Any) -> Any:
    field = Recipe.model_fields.get(name)
    default = getattr(field.default, "kind", None) if field is not None else None
    if default is None or not isinstance(value, dict) or "kind" in value:
        return value
    return {"kind": default, **value}


def section_kinds(field: FieldInfo) -> dict[str | None, type[Section]]:
    """The sections a field may hold, by `kind` (None for a section without kinds)."""
    found: dict[str | None, type[Section]] = {}
    for model in _models(field.annotation):
        kind = model.model_fields.get("kind")
        found[kind.default if kind else None] = model
    return found


def all_keys(model: type[Section] = Recipe, prefix: str = "") -> Iterator[str]:
    """Every dotted key that some recipe may contain, in schema order, each once."""
    for name, field in model.model_fields.items():
        sections = section_kinds(field)
        if not sections:
            yield prefix + name
        elif None not in sections:
            yield prefix + name + ".kind"
        seen = {prefix + name + ".kind"}
        for section in sections.values():
            for key in all_keys(section, prefix + name + "."):
                if key not in seen:
                    seen.add(key)
                    yield key


def _models(annotation: Any) -> Iterator[type[Section]]:
    if get_origin(annotation) in (Annotated, Union, UnionType):
        for part in get_args(annotation):
            yield from _models(part)
    elif isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation


def _problems(error: ValidationError, settings: dict[str, Any]) -> Iterator[RecipeError]:
    by_key: dict[str, list[Any]] = defaultdict(list)
    for fault in error.errors(include_url=False):
        branch = str(fault["loc"][-1]) if fault["loc"] else ""
        if branch.startswith("literal[") and isinstance(fault["input"], dict):
            continue  # of a section that may also be one word; what its table lacks is another fault
        by_key[_dotted(fault["loc"])].append(fault)
    for key, faults in by_key.items():
        yield _problem(key, faults, settings)


def _dotted(loc: tuple[int | str, ...]) -> str:
    """The key as written in TOML: pydantic's loc without the names of chosen union members."""
    parts: list[str] = []
    model: type[Section] | None = Recipe
    kinds: dict[str | None, type[Section]] = {}
    for part in loc:
        if isinstance(part, str) and "[" in part:  # the branch of a union: of a section and a word
            continue
        if model is None and part in kinds:  # the tag of a discriminated union
            model = kinds[part]
            continue
        if model is None and parts and not kinds:  # below a leaf: an index or a union's branch
            if isinstance(part, int):
                parts.append(str(part))
            continue
        parts.append(str(part))
        field = model.model_fields.get(str(part)) if model else None
        kinds = section_kinds(field) if field else {}
        model = kinds.get(None) if kinds else None
    return ".".join(parts)


def _problem(key: str, faults: list[Any], settings: dict[str, Any]) -> RecipeError:
    fault = faults[0]
    if fault["type"] == "extra_forbidden":
        elsewhere = _other_kind(key, settings) or _did_you_mean(key)
        return RecipeError("Unknown key.", where=key, got=fault["input"], cure=elsewhere)
    if fault["type"] == "union_tag_invalid":
        kinds = fault["ctx"]["expected_tags"].replace("'", "")
        got = fault["ctx"]["tag"]
        near = difflib.get_close_matches(str(got), kinds.split(", "), n=1)
        cure = f'did you mean "{near[0]}"?' if near else None
        return RecipeError("Unknown kind.", where=f"{key}.kind", got=got, expected=kinds, cure=cure)
    if fault["type"] == "union_tag_not_found":
        return RecipeError("This table needs a kind.", where=f"{key}.kind", got=fault["input"])
    expected = " or ".join(dict.fromkeys(_expected(f["msg"]) for f in faults))
    if fault["type"] == "value_error" and isinstance(fault["input"], dict | Section):
        return RecipeError("Values contradict each other.", where=key or "recipe", expected=expected)
    return RecipeError("Wrong value.", where=key, got=repr(fault["input"]), expected=expected)


def _expected(message: str) -> str:
    for prefix in ("Input should be ", "Value error, "):
        message = message.removeprefix(prefix)
    if message.startswith("a valid dictionary"):
        return "a table"
    return 'a list such as ["a", "b"]' if message == "a valid tuple" else message


def _other_kind(key: str, settings: dict[str, Any]) -> str | None:
    """The cure for an option that the section's other kinds have."""
    section = key.partition(".")[0]
    if key not in all_keys() or "." not in key:
        return None
    chosen = settings[section]["kind"]
    name = key.removeprefix(f"{section}.")
    kinds = section_kinds(Recipe.model_fields[section])
    having = [kind for kind, model in kinds.items() if name in model.model_fields]
    return (
        f'leave it out: {section}.kind = "{chosen}" has no such option ({", ".join(map(str, having))} have)'
    )


def _did_you_mean(key: str) -> str:
    keys = list(all_keys())
    by_name: dict[str, list[str]] = defaultdict(list)
    for known in keys:
        by_name[known.rpartition(".")[2]].append(known)
    name = key.rpartition(".")[2]
    near = difflib.get_close_matches(key, keys, n=MAX_SHOWN_KEYS, cutoff=0.75)
    for close_name in difflib.get_close_matches(name, list(by_name), n=2, cutoff=0.7):
        near += [known for known in by_name[close_name] if known not in near]
    section = key.rpartition(".")[0]
    near = [known for known in near if known.rpartition(".")[0] == section] or near  # its own first
    if not near:
        return "`grunlock recipe default` prints every key"
    return f"did you mean {' or '.join(near[:MAX_SHOWN_KEYS])}?"
