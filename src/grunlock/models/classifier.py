"""The whole network, put together from a recipe: embedding, encoder, pooling, head."""

from torch import Tensor, nn

from grunlock.models.embedding import TokenEmbedding
from grunlock.models.encoder import RecurrentEncoder
from grunlock.models.inputs import TokenInputs
from grunlock.models.pooling import Pooling
from grunlock.recipe import Derived, Recipe


class SequenceClassifier(nn.Module):
    """Token batches to class logits. The head gives logits; the loss applies the softmax."""

    def __init__(self, recipe: Recipe, derived: Derived) -> None:
        super().__init__()
        self.embedding = TokenEmbedding(derived.facts.vocab_size, recipe.embedding)
        self.encoder = RecurrentEncoder(recipe.embedding.size, recipe.encoder, derived.chrono_steps)
        self.pooling = Pooling(self.encoder.output_size, recipe.pooling.parts)
        self.dropout = nn.Dropout(recipe.head.dropout)
        self.head = nn.Linear(self.pooling.output_size, derived.facts.num_classes)
        nn.init.xavier_uniform_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, inputs: TokenInputs) -> Tensor:  # [B, K], longest sequence first
        encoded = self.encoder(self.embedding(inputs))
        logits: Tensor = self.head(self.dropout(self.pooling(encoded, inputs)))
        return logits
