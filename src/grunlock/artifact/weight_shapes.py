"""The arrays that a recipe's network reads: names and shapes, without a network.

Compiled kernels read as many numbers as these sizes say, so every artifact is held against them before a
network is made of it. What the arrays mean is runtime/'s business; tests hold the names against those of
models/.
"""

from collections.abc import Iterator
from typing import Literal

from grunlock.kernels.scan import SCAN_GATES
from grunlock.recipe import Derived, Recipe, TextFacts
from grunlock.recipe.model_options import (
    BagOptions,
    ConvOptions,
    EncoderOptions,
    GruOptions,
    LstmOptions,
    QrnnOptions,
    TransformerOptions,
)

Shape = tuple[int | None, ...]  # None: any number but none at all
Named = Iterator[tuple[str, Shape]]

GATES = {"gru": 3, "lstm": 4}


def expected_shapes(recipe: Recipe, derived: Derived) -> dict[str, Shape]:
    """Of every array that `runtime.network.Network` reads."""
    return dict(_network(recipe, derived))


def _network(recipe: Recipe, derived: Derived) -> Named:
    inputs, classes = derived.facts.inputs, derived.facts.num_classes
    size = recipe.input_size
    if isinstance(inputs, TextFacts):
        yield from _vectors(recipe, inputs)
    elif size is not None:
        yield from _linear("embedding.projection.", inputs.num_features, size)
    size = size if size is not None or isinstance(inputs, TextFacts) else inputs.num_features
    assert size is not None  # a recipe for texts has an embedding
    if recipe.stem is not None:
        for i, width in enumerate(recipe.stem.widths):
            yield from _window(f"stem.windows.{i}.", width, size, size)
            yield from _norm(f"stem.norms.{i}.", recipe.stem.norm, size)
    yield from _encoders(recipe, size)
    encoded = _encoded_size(recipe, size)
    if recipe.attention is not None:
        options = recipe.attention
        yield from _layers("attention.", options.num_layers, encoded, options.feedforward_size)
    yield from _pooling_and_head(recipe, encoded + (size if recipe.pooling.inputs else 0), classes)
    yield from _wide(recipe, classes)


def _vectors(recipe: Recipe, inputs: TextFacts) -> Named:
    assert recipe.embedding is not None
    yield "embedding.tokens.weight", (inputs.vocab_size, recipe.embedding.size)
    if recipe.embedding.ngrams_of(inputs.tokens) is not None:
        yield "embedding.ngrams.weight", (None, recipe.embedding.size)  # buckets are found modulo its rows


def _encoded_size(recipe: Recipe, size: int) -> int:
    """E, of what the encoder, or what reads its chunks, gives for each step."""
    inner = recipe.encoder.output_size(size)
    return inner if recipe.chunks is None else recipe.chunks.outer_options().output_size(2 * inner)


def _encoders(recipe: Recipe, size: int) -> Named:
    if recipe.chunks is None:
        yield from _encoder("encoder.", recipe.encoder, size)
        return
    yield from _encoder("encoder.inner.", recipe.encoder, size)
    chunk_size = 2 * recipe.encoder.output_size(size)  # maximum and mean of its states
    yield from _encoder("encoder.outer.", recipe.chunks.outer_options(), chunk_size)


def _encoder(prefix: str, options: EncoderOptions, size: int) -> Named:
    hidden = 0 if isinstance(options, BagOptions) else options.hidden_size
    if isinstance(options, BagOptions):
        return
    if isinstance(options, ConvOptions):
        for i, width in enumerate(options.widths):
            yield from _window(f"{prefix}windows.{i}.", width, size, hidden)
        return
    if isinstance(options, TransformerOptions):
        yield from _linear(prefix + "projection.", size, hidden)
        if options.positions == "learned":
            yield prefix + "positions.weight", (None, hidden)  # what is longer reads the last one
        yield from _layers(prefix, options.num_layers, hidden, options.feedforward_size)
        return
    for i in range(options.num_layers):
        yield from _norm(f"{prefix}norms.{i}.", options.norm, size)
        layer = f"{prefix}layers.{i}."
        if isinstance(options, GruOptions | LstmOptions):
            yield from _recurrent(layer, options, size)
        else:
            window_steps = options.window_steps if isinstance(options, QrnnOptions) else 1
            for direction in range(1 + options.bidirectional):
                for gate in SCAN_GATES[options.kind]:
                    yield from _window(f"{layer}directions.{direction}.{gate}.", window_steps, size, hidden)
        size = options.output_size(size)


def _recurrent(prefix: str, options: GruOptions | LstmOptions, size: int) -> Named:
    hidden, gates = options.hidden_size, GATES[options.kind] * options.hidden_size
    for suffix in ("_l0", "_l0_reverse") if options.bidirectional else ("_l0",):
        yield f"{prefix}weight_ih{suffix}", (gates, size)
        yield f"{prefix}weight_hh{suffix}", (gates, hidden)
        vectors = ["bias_ih", "bias_hh", *(["norm_weight_ih", "norm_weight_hh"] if options.cell_norm else [])]
        for name in vectors:
            yield f"{prefix}{name}{suffix}", (gates,)


def _layers(prefix: str, num_layers: int, size: int, feedforward_size: int) -> Named:
    """Transformer layers, and the norm behind them."""
    for i in range(num_layers):
        layer = f"{prefix}layers.{i}."
        for norm in ("attention_norm.", "feedforward_norm."):
            yield from _norm(layer + norm, "layer", size)
        for name in ("query", "key", "value", "output"):
            yield from _linear(f"{layer}attention.{name}.", size, size)
        yield from _linear(layer + "widen.", size, feedforward_size)
        yield from _linear(layer + "narrow.", feedforward_size, size)
    yield from _norm(prefix + "norm.", "layer", size)


def _pooling_and_head(recipe: Recipe, size: int, classes: int) -> Named:
    """size: of what is pooled"""
    hops = recipe.pooling.num_hops
    queries: dict[str, Shape] = {"attention": (size,), "multi_attention": (hops, size)}
    pooled = 0
    for part in recipe.pooling.parts:
        pooled += size * hops if part == "multi_attention" else size
        if part in queries:
            yield f"pooling.{part}.query", queries[part]
            yield from _linear(f"pooling.{part}.projection.", size, size)
    yield from _linear("head.", pooled, classes)


def _wide(recipe: Recipe, classes: int) -> Named:
    if recipe.wide is None:
        return
    if recipe.wide_apart is None:
        yield "wide.weights.weight", (recipe.wide.buckets, classes)
        return
    yield "wide.weights.weight", (None, classes)
    yield "wide.bias", (classes,)


def _linear(prefix: str, input_size: int, output_size: int) -> Named:
    yield from _window(prefix, 1, input_size, output_size)


def _window(prefix: str, width: int, input_size: int, output_size: int) -> Named:
    yield prefix + "weight", (width * output_size, input_size)
    yield prefix + "bias", (output_size,)


def _norm(prefix: str, kind: Literal["batch", "layer"] | None, size: int) -> Named:
    if kind is None:
        return
    names = ["weight", "bias", *(["running_mean", "running_var"] if kind == "batch" else [])]
    for name in names:
        yield prefix + name, (size,)
