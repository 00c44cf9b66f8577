"""Who may enter a duel: recipes and search spaces by name, and the baselines that always do."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import get_args

from grunlock.errors import RecipeError
from grunlock.recipe import Recipe, SearchSpace, read_recipe, read_recipe_or_space
from grunlock.recipe.model_options import EncoderOptions

LINEAR, FASTTEXT = "linear", "fasttext"

# Like fastText (Joulin 2017): the mean of vectors of words and of hashed character n-grams, a linear layer.
FASTTEXT_SETTINGS = (
    "encoder.kind=bag",
    'pooling.parts=["mean"]',
    "embedding.ngrams={buckets=131072}",
    "head.dropout=0",
    "wide=off",
)


@dataclass(frozen=True)
class Contender:
    """recipe: None for the linear baseline, which is no network."""

    name: str
    recipe: Recipe | SearchSpace | None


def read_contender(text: str, overrides: Iterable[str] = (), base: str = "default") -> Contender:
    """A contender from `NAME` or `LABEL=NAME`: linear, fasttext, a kind of encoder (the recipe `base` with
    it), a built-in recipe or space, a TOML file, or a run or study folder.

    overrides: applied to every recipe, as of --set. Raises RecipeError.
    """
    label, equals, name = text.partition("=")
    if not equals:
        label, name = text.rstrip("/").rpartition("/")[2].removesuffix(".toml"), text
    if name == LINEAR:
        return Contender(label, None)
    if name == FASTTEXT:
        return Contender(label, read_recipe("default", [*FASTTEXT_SETTINGS, *overrides]))
    if name in encoder_kinds():
        return Contender(label, read_recipe_or_space(base, [f"encoder.kind={name}", *overrides]))
    return Contender(label, read_recipe_or_space(name, overrides))


def with_baselines(contenders: Sequence[Contender]) -> tuple[Contender, ...]:
    """The contenders and the baselines that are not among them: fasttext is for texts.

    Raises RecipeError if two have the same name.
    """
    names = [contender.name for contender in contenders]
    for name in names:
        if names.count(name) > 1:
            raise RecipeError(
                "Two contenders have the same name.",
                got=name,
                cure=f"name one of them: --recipe other={name}",
            )
    series = any(_reads_series(contender) for contender in contenders)
    missing = [name for name in (LINEAR, *(() if series else (FASTTEXT,))) if name not in names]
    return (*contenders, *(read_contender(name) for name in missing))


def encoder_kinds() -> tuple[str, ...]:
    """Kinds that a recipe's encoder may have."""
    union = get_args(EncoderOptions)[0]
    return tuple(option.model_fields["kind"].default for option in get_args(union))


def _reads_series(contender: Contender) -> bool:
    recipe = contender.recipe
    if isinstance(recipe, SearchSpace):
        data = recipe.settings.get("data", {})
        return bool(data.get("kind") == "series")
    return recipe is not None and recipe.data.kind == "series"
