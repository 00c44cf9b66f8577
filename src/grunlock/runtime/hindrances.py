"""What keeps a model from answering before a text or a series has ended, and how to train one that can."""

from collections.abc import Iterator
from typing import NamedTuple

from grunlock.errors import StreamError
from grunlock.recipe import Recipe
from grunlock.recipe.model_options import BagOptions, ConvOptions, TransformerOptions
from grunlock.shapes import centred_window
from grunlock.text.streamed import STREAMED_TOKENS


class Hindrance(NamedTuple):
    """option: as in the recipe, with its value. cure: settings without it."""

    option: str
    why: str
    cure: tuple[str, ...]


def hindrances(recipe: Recipe, tokens: str | None) -> tuple[Hindrance, ...]:
    """All of them; empty if the model can go on from step to step.

    tokens: the kind of token in use, which text.tokens = "auto" does not say; None for series.
    """
    return (*_of_inputs(recipe, tokens), *_of_network(recipe))


def refuse_hindered(recipe: Recipe, tokens: str | None) -> None:
    """Raises StreamError if there is a hindrance."""
    found = hindrances(recipe, tokens)
    if not found:
        return
    settings = dict.fromkeys(setting for each in found for setting in each.cure)
    raise StreamError(
        "This model cannot answer before its input has ended.",
        where=", ".join(each.option for each in found),
        got="; ".join(each.why for each in found),
        expected="an encoder that reads forward, tokens that end where they are seen to end",
        cure=f"train with {' '.join(f'--set {setting}' for setting in settings)}",
    )


def _of_inputs(recipe: Recipe, tokens: str | None) -> Iterator[Hindrance]:
    if tokens is not None and tokens not in STREAMED_TOKENS:
        why = "the pieces of a word depend on how it goes on"
        if tokens == "chinese_words":
            why = "where a Chinese word ends depends on what follows"
        cure = "characters" if tokens == "chinese_words" else "words"
        yield Hindrance(f"text.tokens = {tokens}", why, (f"text.tokens={cure}",))
    text = recipe.text
    if text is not None and text.cut == "middle" and text.max_tokens is not None:
        yield Hindrance("text.cut = middle", "what is cut depends on the length", ("text.cut=end",))
    if recipe.series is not None and recipe.series.each_alone:
        why = "the mean of a series is known at its end"
        yield Hindrance("series.each_alone = true", why, ("series.each_alone=false",))


def _of_network(recipe: Recipe) -> Iterator[Hindrance]:
    encoder = recipe.encoder
    if recipe.stem is not None and _looks_ahead(recipe.stem.widths):
        yield _too_wide("stem.widths", recipe.stem.widths, "stem=off")
    if isinstance(encoder, TransformerOptions):
        cure = ("encoder.kind=gru", "encoder.bidirectional=false")
        yield Hindrance("encoder.kind = transformer", "every step attends to later ones", cure)
    elif isinstance(encoder, ConvOptions):
        if _looks_ahead(encoder.widths):
            yield _too_wide("encoder.widths", encoder.widths, "encoder.widths=[2]")
    elif not isinstance(encoder, BagOptions) and encoder.bidirectional:
        why = "one direction begins at the end"
        yield Hindrance("encoder.bidirectional = true", why, ("encoder.bidirectional=false",))
    if recipe.chunks is not None:
        yield Hindrance("chunks", "chunks are read from both ends", ("chunks=off",))
    if recipe.attention is not None:
        yield Hindrance("attention", "every step attends to later ones", ("attention=off",))


def _too_wide(option: str, widths: tuple[int, ...], cure: str) -> Hindrance:
    why = "a window of 3 steps or more reads later ones"
    return Hindrance(f"{option} = {list(widths)}", why, (cure,))


def _looks_ahead(widths: tuple[int, ...]) -> bool:
    return any(max(centred_window(width)) > 0 for width in widths)
