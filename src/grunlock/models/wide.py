"""A linear model on hashed n-grams of tokens, trained together with the network."""

import torch
from torch import Tensor, nn

from grunlock.layers.embedding import RowTable
from grunlock.models.inputs import TokenInputs
from grunlock.recipe.model_options import WideOptions
from grunlock.text.token_ngrams import token_ngrams


class WidePath(nn.Module):
    """Logits [B, K]: the sum of a text's n-gram weights over the square root of their number.

    The division is what makes of counts a vector of length about 1, whatever a text's length (as the rows of
    a TF-IDF matrix have). Weights start at zero, so a new net is the network alone.
    """

    def __init__(self, num_classes: int, options: WideOptions) -> None:
        super().__init__()
        self.max_length = options.max_length
        self.dropout = options.dropout
        self.weights = RowTable(options.buckets, num_classes)
        nn.init.zeros_(self.weights.weight)

    def forward(self, inputs: TokenInputs) -> Tensor:
        tokens = inputs.vocab_ids.index_select(0, inputs.inverse).numpy()
        buckets = len(self.weights.weight)
        found = token_ngrams(tokens, inputs.batch_sizes.numpy(), self.max_length, buckets)
        ids, counts = torch.from_numpy(found.ids), torch.from_numpy(found.counts)
        scale = 1.0 / counts.sqrt()
        if self.training and self.dropout:
            keep = torch.rand(len(ids)) >= self.dropout
            owner = torch.repeat_interleave(torch.arange(len(counts)), counts)[keep]
            ids, counts = ids[keep], torch.bincount(owner, minlength=len(counts))
            scale = scale / (1.0 - self.dropout)
        means: Tensor = self.weights(ids, counts.cumsum(0) - counts)
        return means * (counts * scale).unsqueeze(1)
