"""How a trained model reads a file that it was not trained on."""

from collections.abc import Iterable

from grunlock.errors import RecipeError
from grunlock.recipe import Recipe, override
from grunlock.recipe.schema import DataOptions


def reading_options(
    recipe: Recipe, plain: DataOptions, overrides: Iterable[str], allowed: tuple[str, ...]
) -> DataOptions:
    """`plain` with the overrides of the file at hand.

    Columns and encoding are the file's own, so they are not taken from training: read with the encoding of
    another file, such as GB18030, UTF-8 would become nonsense without an error.

    plain: what stays of the recipe's options of data. allowed: the keys that concern a file, not the model.

    Raises RecipeError for other keys.
    """
    overrides = tuple(overrides)
    for key in (text.partition("=")[0].strip() for text in overrides):
        if key not in allowed:
            raise RecipeError(
                "A trained model's recipe is fixed, except for how a file is read.",
                where=key,
                expected=", ".join(allowed),
                cure="train anew to change anything else",
            )
    return override(recipe.model_copy(update={"data": plain}), overrides).data
