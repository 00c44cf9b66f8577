"""The whole network, put together from a recipe: embedding, encoder, pooling, head."""

from torch import Tensor, nn

from grunlock.layers.packing import IndexedRows
from grunlock.models.chunked import ChunkedEncoder
from grunlock.models.convolution import ConvStem
from grunlock.models.embedding import TokenEmbedding
from grunlock.models.encoded import Encoder, beside
from grunlock.models.encoder import build_encoder
from grunlock.models.inputs import NetworkInputs
from grunlock.models.pooling import Pooling
from grunlock.models.series import SeriesProjection
from grunlock.models.transformer import AttentionOnTop
from grunlock.models.wide import WidePath
from grunlock.recipe import Derived, Recipe, TextFacts


class SequenceClassifier(nn.Module):
    """Batches of tokens or of series to class logits. The head gives logits; the loss applies the softmax.

    embedding, perhaps a convolution, encoder (of chunks, perhaps), perhaps self-attention, pooling, head;
    a wide path, if there is one that learns together with the rest, adds its logits.
    """

    def __init__(self, recipe: Recipe, derived: Derived) -> None:
        super().__init__()
        classes = derived.facts.num_classes
        self.embedding = build_embedding(recipe, derived)
        size = self.embedding.output_size
        self.stem = None if recipe.stem is None else ConvStem(size, recipe.stem)
        self.encoder: Encoder = build_encoder(
            size,
            recipe.encoder,
            chrono_steps=derived.chrono_steps,
            max_steps=(recipe.text and recipe.text.max_tokens) or derived.facts.longest_steps,
        )
        if recipe.chunks is not None:
            self.encoder = ChunkedEncoder(self.encoder, recipe.chunks)
        encoded_size = self.encoder.output_size
        self.attention = None if recipe.attention is None else AttentionOnTop(encoded_size, recipe.attention)
        self.pools_inputs = recipe.pooling.inputs
        pooled_size = encoded_size + (size if self.pools_inputs else 0)
        self.pooling = Pooling(pooled_size, recipe.pooling)
        self.dropout = nn.Dropout(recipe.head.dropout)
        self.head = nn.Linear(self.pooling.output_size, classes)
        nn.init.xavier_uniform_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        learns_here = recipe.wide is not None and recipe.wide_apart is None
        self.wide = WidePath(classes, recipe.wide) if recipe.wide is not None and learns_here else None

    def forward(self, inputs: NetworkInputs) -> Tensor:  # [B, K], longest sequence first
        return self.answer(self.embedding(inputs), inputs)

    def answer(self, rows: IndexedRows, inputs: NetworkInputs) -> Tensor:
        """[B, K] from what the embedding gave of the inputs."""
        if self.stem is not None:
            rows = self.stem(rows)
        encoded = self.encoder(rows)
        if self.attention is not None:
            encoded = self.attention(encoded)
        if self.pools_inputs:
            encoded = beside(rows.spread(), encoded)
        return self.logits_of(self.pooling(encoded), inputs)

    def logits_of(self, pooled: Tensor, inputs: NetworkInputs) -> Tensor:
        """[B, K] from what pooling gave, and the wide path."""
        logits: Tensor = self.head(self.dropout(pooled))
        return logits if self.wide is None else logits + self.wide(inputs)


def build_embedding(recipe: Recipe, derived: Derived) -> TokenEmbedding | SeriesProjection:
    """What makes the encoder's vectors of a batch, for the recipe's kind of data."""
    inputs = derived.facts.inputs
    if isinstance(inputs, TextFacts):
        assert recipe.embedding is not None  # a recipe for texts has it
        return TokenEmbedding(inputs.vocab_size, recipe.embedding, inputs.tokens)
    return SeriesProjection(inputs.num_features, recipe.input_size)
