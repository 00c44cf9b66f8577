"""Laying settings over settings: tables join, values replace, and a new kind drops what it does not know."""

from collections.abc import Mapping
from typing import Any

from grunlock.recipe.schema import Recipe
from grunlock.recipe.validation import section_kinds

Settings = dict[str, Any]  # nested tables as TOML gives them

# Sections whose kinds share meanings (every encoder has a hidden_size): changing the kind keeps the
# settings that the new kind also knows. Elsewhere a new kind starts from its own defaults, because a
# learning rate or a decay means something for its own optimiser only.
CARRIED_BETWEEN_KINDS = {"data", "encoder"}

# Sections that are there for one kind of data only.
OF_ONE_KIND_OF_DATA = {"text", "embedding", "wide", "augmentation", "distillation", "pretrained", "series"}


def merge(base: Settings, override: Settings, path: str = "") -> Settings:
    """`override` laid over `base`, table by table."""
    merged = copy_tables(base)
    if not path and _data_kind(override, _data_kind(base, "text")) != _data_kind(base, "text"):
        merged = {name: value for name, value in merged.items() if name not in OF_ONE_KIND_OF_DATA}
    for name, value in override.items():
        old = merged.get(name)
        if isinstance(value, dict) and isinstance(old, dict) and _is_section(path + name):
            value = merge(_carried(path + name, old, value), value, f"{path}{name}.")
        merged[name] = value
    return merged


def copy_tables(settings: Settings) -> Settings:
    return {k: copy_tables(v) if isinstance(v, dict) else v for k, v in settings.items()}


def put(settings: Settings, key: str, value: Any) -> None:
    """Set a dotted key, making tables on the way."""
    *tables, last = key.split(".")
    for name in tables:
        if not isinstance(settings.get(name), dict):
            settings[name] = {}
        settings = settings[name]
    settings[last] = value


def known_to_kind(settings: Settings, key: str) -> bool:
    """False for an option that only other kinds have than the one chosen in its section."""
    section, _, name = key.partition(".")
    field = Recipe.model_fields.get(section)
    table = settings.get(section)
    if field is None or not isinstance(table, dict) or "." in name:
        return True
    kinds = section_kinds(field)
    chosen = kinds.get(table.get("kind"))
    if chosen is None or name in chosen.model_fields:
        return True
    return not any(name in kind.model_fields for kind in kinds.values())


def _data_kind(settings: Settings, otherwise: str) -> str:
    data = settings.get("data")
    return data.get("kind", otherwise) if isinstance(data, dict) else otherwise


def _is_section(key: str) -> bool:
    """False for tables that are values (a range, weights by label): these replace, not merge."""
    fields = Recipe.model_fields
    kinds: dict[str | None, Any] = {}
    for name in key.split("."):
        if name not in fields:
            return False
        kinds = section_kinds(fields[name])
        fields = {k: f for model in kinds.values() for k, f in model.model_fields.items()}
    return bool(kinds)


def _carried(key: str, old: Settings, new: Settings) -> Settings:
    """What of a section's old settings stays when `new` is laid over it."""
    field = Recipe.model_fields.get(key)
    kind = new.get("kind")
    if field is None or kind is None or isinstance(kind, dict):
        return old
    kinds = section_kinds(field)
    old_kind = old.get("kind", getattr(field.default, "kind", None))
    if isinstance(old_kind, dict):  # a range over kinds: nothing is known of the old one
        old_kind = None
    if kind == old_kind or kind not in kinds:
        return old
    if key not in CARRIED_BETWEEN_KINDS:
        return {}
    before = kinds[old_kind].model_fields if old_kind in kinds else {}
    return {k: v for k, v in old.items() if _means_the_same(k, before, kinds[kind].model_fields)}


def _means_the_same(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether both kinds know an option and start from one default; a number of layers for a GRU is no advice
    for a kind that needs two to mix."""
    return name in after and (name not in before or before[name].default == after[name].default)
