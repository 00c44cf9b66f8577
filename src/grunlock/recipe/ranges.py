"""Search spaces: recipes in which some values are ranges. Sampling is the tuner's business."""

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from grunlock.errors import RecipeError
from grunlock.recipe.merging import Settings, copy_tables, known_to_kind, merge, put
from grunlock.recipe.validation import validate

NEVER_A_RANGE = {"loss.class_weights"}  # a table by label, and a label may be called "low"
FIRST = "first"  # of a search space only: tables of values to try before anything else

Role = Literal["scientific", "nuisance"]  # what is asked, what must only be right for the answer to count


@dataclass(frozen=True)
class Range:
    """All numbers from low to high. `step` makes it discrete, `log` searches magnitudes.

    role: as Google's tuning playbook (Godbole 2023) sorts them; a plain value is the third role, fixed.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None
    role: Role = "nuisance"

    @property
    def examples(self) -> tuple[Any, ...]:
        return (self.low, self.high)


@dataclass(frozen=True)
class Choices:
    """One of the listed values."""

    choices: tuple[Any, ...]
    role: Role = "nuisance"

    @property
    def examples(self) -> tuple[Any, ...]:
        return self.choices


@dataclass(frozen=True)
class SearchSpace:
    """Fixed settings plus ranges by dotted key.

    first: values by dotted key, each to be tried before anything else; a key it leaves out is searched.
    """

    settings: Settings
    ranges: Mapping[str, Range | Choices]
    first: tuple[Mapping[str, Any], ...] = ()

    @property
    def example(self) -> dict[str, Any]:
        """A value of each range: its first one."""
        return {key: found.examples[0] for key, found in self.ranges.items()}

    def at(self, values: Mapping[str, Any]) -> Settings:
        """Settings with every range replaced by its value in `values` (keys as in `ranges`).

        Kinds are chosen first. A range over an option that the chosen kind does not have is left out.
        """
        if missing := set(self.ranges) - set(values):
            raise RecipeError("A value is missing for a range.", where=", ".join(sorted(missing)))
        settings = copy_tables(self.settings)
        for key in sorted(values, key=lambda key: not key.endswith(".kind")):
            if key.endswith(".kind"):
                section = key.removesuffix(".kind")
                settings = merge(settings, {section: {"kind": values[key]}})
            elif known_to_kind(settings, key):
                put(settings, key, values[key])
        return settings


def take_first(settings: Settings, ranges: Container[str]) -> tuple[Settings, tuple[Mapping[str, Any], ...]]:
    """The settings without their tables of values to try first, and these, with dotted keys.

    Raises RecipeError for anything but a list of tables.
    """
    found = settings.get(FIRST, [])
    if not isinstance(found, list) or not all(isinstance(table, dict) for table in found):
        raise RecipeError(
            "What is to be tried first is not a list of tables.",
            where=FIRST,
            got=found,
            expected='[[first]] and below it lines such as "optim.lr" = 3e-3',
        )
    return {k: v for k, v in settings.items() if k != FIRST}, tuple(
        dict(flat(table, ranges)) for table in found
    )


def flat(table: Settings, whole: Container[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of nested tables with its dotted key; a table whose key is in `whole` is one value."""
    for name, value in table.items():
        if isinstance(value, dict) and prefix + name not in whole:
            yield from flat(value, whole, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def check_first(space: SearchSpace) -> None:
    """Raises RecipeError for a value to try first that its range does not have, or of an unknown key."""
    for index, table in enumerate(space.first):
        for key, value in table.items():
            found = space.ranges.get(key)
            if found is None:
                raise RecipeError(
                    "A value is to be tried first that is not searched.",
                    where=f"{FIRST}[{index}], {key}",
                    got=value,
                    expected=f"a key that has a range: {', '.join(space.ranges)}",
                )
            if not holds(found, value):
                raise RecipeError(
                    "A value is to be tried first that its range does not have.",
                    where=f"{FIRST}[{index}], {key}",
                    got=value,
                    expected=found,
                )


def holds(found: Range | Choices, value: Any) -> bool:
    """Whether a range has a value."""
    if isinstance(found, Choices):
        return value in found.choices
    return isinstance(value, int | float) and found.low <= value <= found.high


def find_ranges(settings: Settings) -> dict[str, Range | Choices]:
    """Every range in the settings, by dotted key. Raises RecipeError listing every malformed one."""
    ranges: dict[str, Range | Choices] = {}
    problems = []
    for key, table in _range_tables(settings):
        try:
            ranges[key] = _parse(key, table)
        except RecipeError as problem:
            problems.append(problem)
    if problems:
        raise RecipeError("The search space has malformed ranges.", problems=tuple(problems))
    return ranges


def check_examples(space: SearchSpace) -> None:
    """Validate both ends of every range and each choice, one at a time, the others at their first."""
    first = space.example
    for key, found in space.ranges.items():
        for example in found.examples:
            validate(space.at({**first, key: example}))


def _range_tables(settings: Settings, prefix: str = "") -> Iterator[tuple[str, Settings]]:
    for name, value in settings.items():
        key = prefix + name
        if not isinstance(value, dict) or key in NEVER_A_RANGE:
            continue
        if {"low", "high"} & set(value) or "choices" in value:
            yield key, value
        else:
            yield from _range_tables(value, key + ".")


def _parse(key: str, table: Settings) -> Range | Choices:
    table = dict(table)
    role = table.pop("role", "nuisance")
    if role not in get_args(Role):
        raise RecipeError("Unknown role.", where=key, got=role, expected=" or ".join(get_args(Role)))
    if set(table) == {"choices"}:
        if isinstance(table["choices"], list) and table["choices"]:
            return Choices(tuple(table["choices"]), role)
    elif {"low", "high"} <= set(table) <= {"low", "high", "log", "step"}:
        numbers = [table[k] for k in ("low", "high", "step") if k in table]
        plain = all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers)
        log = table.get("log", False)
        ordered = plain and table["low"] < table["high"]
        if ordered and isinstance(log, bool) and not (log and (table["low"] <= 0 or "step" in table)):
            return Range(table["low"], table["high"], log, table.get("step"), role)
    raise RecipeError(
        "Not a range.",
        where=key,
        got=table,
        expected="{low=.., high=..} with low < high and perhaps step=.. or log=true (then low > 0), or "
        "{choices=[..]}; each perhaps with role",
    )
