"""What exact shares do not say, in sentences for the recipe at hand."""

from grunlock.recipe import Recipe
from grunlock.recipe.model_options import BagOptions, GruOptions, QrnnOptions


def exact_notes(recipe: Recipe) -> tuple[str, ...]:
    """To be shown beside every explanation."""
    encoder, parts = recipe.encoder, recipe.pooling.parts
    unit = "token" if recipe.data.kind == "text" else "step"
    found = [f"The shares of all {unit}s and the bias add up to each logit exactly, but for rounding."]
    if isinstance(encoder, GruOptions):
        found.append(
            f"A {unit}'s share is what it wrote. What it wrote and what later gates kept of it depends on "
            f"the {unit}s read before: it is not the effect of the {unit} alone."
        )
    elif isinstance(encoder, QrnnOptions) and encoder.window_steps > 1:
        found.append(f"A {unit}'s gates also read the {encoder.window_steps - 1} before it.")
    if not isinstance(encoder, BagOptions) and encoder.num_layers > 1:  # type: ignore[union-attr]
        found.append(
            f"Shares are of what the top layer wrote; it reads {encoder.num_layers - 1} layers below,"  # type: ignore[union-attr]
            f" which have seen other {unit}s as well."
        )
    if recipe.stem is not None:
        found.append(f"What a {unit} reads has passed a stem, which also reads its neighbours.")
    if "max" in parts:
        found.append("Which step maximum pooling chose in each unit is taken as it came.")
    if "attention" in parts or "multi_attention" in parts:
        found.append("The weights of attention pooling are taken as they came.")
    if recipe.wide is not None:
        found.append(
            "What an n-gram of the wide path gives is divided evenly among its tokens; what all n-grams are "
            "divided by is taken as it came."
        )
    return tuple(found)
