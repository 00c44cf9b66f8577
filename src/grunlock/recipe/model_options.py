"""Recipe sections about the network: recurrent encoder, pooling, head."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from grunlock.recipe.fields import Count, ListField, Optional, Probability, Section

PoolingPart = Literal["last", "max", "mean", "attention"]


class RecurrentOptions(Section):
    """What GRU and LSTM share. Not used by itself."""

    hidden_size: Count = 128
    num_layers: Annotated[int, Field(ge=1, le=16)] = 1
    bidirectional: bool = True
    norm: Annotated[Literal["batch", "layer"] | None, Optional] = None  # in front of each layer
    cell_norm: bool = False  # layer norm inside the cell
    input_dropout: Probability = 0.0  # variational: one mask per sequence
    output_dropout: Probability = 0.0  # the same on each layer's output
    state_dropout: Probability = 0.0  # the same on h before the recurrent product
    weight_dropout: Probability = 0.0  # DropConnect on weight_hh, one mask per batch
    zoneout: Probability = 0.0  # a unit keeps its old state, drawn per step
    recurrent_init: Literal["orthogonal", "uniform"] = "orthogonal"  # per gate
    input_init: Literal["xavier", "uniform"] = "xavier"  # per gate
    precision: Literal["float32", "bfloat16"] = (
        "float32"  # of products in training; states and sums stay float32
    )


class GruOptions(RecurrentOptions):
    """Gated recurrent unit. update_bias > 0 makes a new GRU remember (z = 1 keeps the old state)."""

    kind: Literal["gru"] = "gru"
    reset_after: bool = True  # False: the form of Cho 2014, reset before the matrix product
    update_bias: float | Literal["chrono"] = 1.0  # chrono: log U[1, longest - 1], Tallec 2018


class LstmOptions(RecurrentOptions):
    """Long short-term memory; zoneout acts on the hidden and on the cell state."""

    kind: Literal["lstm"] = "lstm"
    forget_bias: float | Literal["chrono"] = 1.0


EncoderOptions = Annotated[GruOptions | LstmOptions, Field(discriminator="kind")]


class PoolingOptions(Section):
    """How a sequence of states becomes one vector; several parts are concatenated."""

    parts: Annotated[tuple[PoolingPart, ...], ListField, Field(min_length=1)] = ("max", "mean")

    @field_validator("parts")
    @classmethod
    def _distinct(cls, parts: tuple[PoolingPart, ...]) -> tuple[PoolingPart, ...]:
        if len(set(parts)) != len(parts):
            raise ValueError(f"each part at most once, got {list(parts)}")
        return parts


class HeadOptions(Section):
    """The linear layer from the pooled vector to class logits."""

    dropout: Probability = 0.0
