"""Recipe sections about the network: stem, encoder, self-attention, pooling, head, wide path."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from grunlock.recipe.fields import Count, ListField, Optional, Probability, Section

PoolingPart = Literal["last", "max", "mean", "attention", "multi_attention"]


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

    def output_size(self, input_size: int) -> int:
        """E, for inputs of size D."""
        return self.hidden_size * (2 if self.bidirectional else 1)


class GruOptions(RecurrentOptions):
    """Gated recurrent unit. update_bias > 0 makes a new GRU remember (z = 1 keeps the old state)."""

    kind: Literal["gru"] = "gru"
    reset_after: bool = True  # False: the form of Cho 2014, reset before the matrix product
    update_bias: float | Literal["chrono"] = 1.0  # chrono: log U[1, longest - 1], Tallec 2018


class LstmOptions(RecurrentOptions):
    """Long short-term memory; zoneout acts on the hidden and on the cell state."""

    kind: Literal["lstm"] = "lstm"
    forget_bias: float | Literal["chrono"] = 1.0


class ScanOptions(Section):
    """What encoders share whose gates read inputs only. Not used by itself."""

    hidden_size: Count = 128
    num_layers: Annotated[int, Field(ge=1, le=16)] = 2  # gates see no state: one layer mixes little
    bidirectional: bool = True
    norm: Annotated[Literal["batch", "layer"] | None, Optional] = None  # in front of each layer
    input_dropout: Probability = 0.0  # variational: one mask per sequence
    output_dropout: Probability = 0.0  # the same on each layer's output
    keep_bias: float | Literal["chrono"] = 1.0  # > 0: a new net remembers; chrono as for the GRU

    def output_size(self, input_size: int) -> int:
        """E, for inputs of size D."""
        return self.hidden_size * (2 if self.bidirectional else 1)


class MinGruOptions(ScanOptions):
    """minGRU (Feng 2024)."""

    kind: Literal["mingru"] = "mingru"


class MinLstmOptions(ScanOptions):
    """minLSTM (Feng 2024)."""

    kind: Literal["minlstm"] = "minlstm"


class QrnnOptions(ScanOptions):
    """Quasi-recurrent network (Bradbury 2016)."""

    kind: Literal["qrnn"] = "qrnn"
    window_steps: Count = 2  # that a gate reads, the present one included


class ConvOptions(Section):
    """Convolutions of several widths side by side (TextCNN, Kim 2014); best with max pooling."""

    kind: Literal["conv"] = "conv"
    hidden_size: Count = 128  # filters of each width
    widths: Annotated[tuple[Count, ...], ListField, Field(min_length=1)] = (3, 4, 5)  # steps
    input_dropout: Probability = 0.0
    output_dropout: Probability = 0.0

    def output_size(self, input_size: int) -> int:
        """E, for inputs of size D."""
        return self.hidden_size * len(self.widths)


class TransformerOptions(Section):
    """Pre-norm Transformer, trained from scratch."""

    kind: Literal["transformer"] = "transformer"
    hidden_size: Count = 128
    num_layers: Annotated[int, Field(ge=1, le=16)] = 2
    num_heads: Count = 4
    feedforward_size: Count = 512
    positions: Literal["rotary", "learned"] = "rotary"
    layer_dropout: Probability = 0.1  # on what each part adds and inside the wide layer
    attention_dropout: Probability = 0.0  # on attention weights; attention then takes 2 to 6 times as long
    input_dropout: Probability = 0.0
    output_dropout: Probability = 0.0

    def output_size(self, input_size: int) -> int:
        """E, for inputs of size D."""
        return self.hidden_size

    @model_validator(mode="after")
    def _heads(self) -> "TransformerOptions":
        check_heads(self.hidden_size, self.num_heads, "encoder.hidden_size")
        return self


class BagOptions(Section):
    """No encoder: pooling reads the token vectors. With mean pooling a linear model, like fastText's."""

    kind: Literal["bag"] = "bag"

    def output_size(self, input_size: int) -> int:
        """E, for inputs of size D."""
        return input_size


def check_heads(size: int, num_heads: int, key: str) -> None:
    """Raises ValueError unless `size` is a multiple of 2 * num_heads (rotary positions turn pairs)."""
    if size % (2 * num_heads):
        raise ValueError(f"{key} a multiple of 2 * num_heads = {2 * num_heads}, got {size}")


EncoderOptions = Annotated[
    GruOptions
    | LstmOptions
    | MinGruOptions
    | MinLstmOptions
    | QrnnOptions
    | ConvOptions
    | TransformerOptions
    | BagOptions,
    Field(discriminator="kind"),
]


class StemOptions(Section):
    """Convolutions over time in front of the encoder: relu of a window of steps, added to its input."""

    widths: Annotated[tuple[Count, ...], ListField, Field(min_length=1)] = (3,)  # steps, one after another
    norm: Annotated[Literal["batch", "layer"] | None, Optional] = None  # between window and relu
    dropout: Probability = 0.0


class ChunkOptions(Section):
    """Long sequences in two levels (Yang 2016): the encoder reads chunks, a second one reads their vectors.

    A chunk's vector is the maximum and the mean of its states.
    """

    chunk_steps: Count = 64
    over: Literal["gru", "transformer"] = "gru"  # what reads the chunks; a GRU in both directions
    hidden_size: Count = 128
    dropout: Probability = 0.0  # of chunk vectors, and in the transformer

    def outer_options(self) -> GruOptions | TransformerOptions:
        """The second encoder."""
        if self.over == "gru":
            return GruOptions(hidden_size=self.hidden_size)
        return TransformerOptions(hidden_size=self.hidden_size, num_layers=1, layer_dropout=self.dropout)


class SelfAttentionOptions(Section):
    """Pre-norm Transformer layers behind the encoder, rotary positions."""

    num_layers: Annotated[int, Field(ge=1, le=16)] = 1
    num_heads: Count = 4
    feedforward_size: Count = 256
    dropout: Probability = 0.1  # as layer_dropout of the transformer
    attention_dropout: Probability = 0.0


class WideOptions(Section):
    """A linear model on hashed n-grams of tokens whose logits are added to the network's (Cheng 2016)."""

    buckets: Annotated[int, Field(ge=2)] = 2**18
    max_length: Annotated[int, Field(ge=1, le=8)] = 2  # tokens; 1: single tokens only
    characters: bool = False  # n-grams of a token's characters as well, in half of the buckets
    # apart: by itself, and added to the finished network with a weight chosen on validation
    training: Literal["together", "apart"] = "together"
    # apart: how n-grams count, by rarity alone or times how well each tells a class; auto: validation decides
    features: Literal["auto", "tfidf", "naive_bayes"] = "auto"
    complement: bool = True  # apart: complement naive Bayes as well, with a weight of its own
    dropout: Probability = 0.0  # of single n-grams

    @model_validator(mode="after")
    def _options_act(self) -> "WideOptions":
        if self.training == "apart" and self.buckets > 2**31:
            raise ValueError(f'buckets <= {2**31} with training = "apart", got {self.buckets}')
        if self.training == "apart" and self.dropout:
            raise ValueError(f'dropout = 0 with training = "apart", got {self.dropout}')
        if self.training == "together" and self.features != "auto":
            raise ValueError(f'features = "auto" with training = "together", got {self.features}')
        if self.training == "together" and not self.complement:
            raise ValueError('complement = true with training = "together", got false')
        return self


class PoolingOptions(Section):
    """How a sequence of states becomes one vector; several parts are concatenated."""

    parts: Annotated[tuple[PoolingPart, ...], ListField, Field(min_length=1)] = ("max", "mean")
    num_hops: Count = 4  # attention distributions of multi_attention
    inputs: bool = False  # pool what the encoder reads as well, beside its states (RCNN, Lai 2015)

    @field_validator("parts")
    @classmethod
    def _distinct(cls, parts: tuple[PoolingPart, ...]) -> tuple[PoolingPart, ...]:
        if len(set(parts)) != len(parts):
            raise ValueError(f"each part at most once, got {list(parts)}")
        return parts


class HeadOptions(Section):
    """The linear layer from the pooled vector to class logits."""

    dropout: Probability = 0.0
