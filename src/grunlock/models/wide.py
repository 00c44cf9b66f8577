"""A linear model on hashed n-grams, trained together with the network."""

import numpy as np
import torch
from torch import Tensor, nn

from grunlock.layers.embedding import RowTable
from grunlock.models.inputs import TokenInputs
from grunlock.recipe.model_options import WideOptions
from grunlock.text.token_ngrams import NgramBags, wide_ngrams
from grunlock.text.types import DistinctTokens


class WidePath(nn.Module):
    """Logits [B, K]: the sum of a text's n-gram weights over the square root of their number, for n-grams of
    tokens and perhaps, by themselves, of characters.

    The division is what makes of counts a vector of length about 1, whatever a text's length (as the rows of
    a TF-IDF matrix have). Weights start at zero, so a new net is the network alone.
    """

    def __init__(self, num_classes: int, options: WideOptions) -> None:
        super().__init__()
        self.options = options
        self.weights = RowTable(options.buckets, num_classes)
        nn.init.zeros_(self.weights.weight)

    def forward(self, inputs: TokenInputs) -> Tensor:
        groups = wide_ngrams(_as_arrays(inputs), inputs.batch_sizes.numpy(), self.options)
        return torch.stack([self._logits(found) for found in groups]).sum(0)

    def _logits(self, found: NgramBags) -> Tensor:
        ids, counts = torch.from_numpy(found.ids), torch.from_numpy(found.counts)
        scale = 1.0 / counts.clamp(min=1).sqrt()
        dropout = self.options.dropout
        if self.training and dropout:
            keep = torch.rand(len(ids)) >= dropout
            owner = torch.repeat_interleave(torch.arange(len(counts)), counts)[keep]
            ids, counts = ids[keep], torch.bincount(owner, minlength=len(counts))
            scale = scale / (1.0 - dropout)
        means: Tensor = self.weights(ids, counts.cumsum(0) - counts)
        return means * (counts * scale).unsqueeze(1)


def _as_arrays(inputs: TokenInputs) -> DistinctTokens:
    ids, offsets = inputs.ngram_ids, inputs.ngram_offsets
    if ids is None or offsets is None:
        return DistinctTokens(inputs.vocab_ids.numpy(), inputs.inverse.numpy())
    ends = np.append(offsets.numpy(), len(ids))
    return DistinctTokens(inputs.vocab_ids.numpy(), inputs.inverse.numpy(), ids.numpy(), ends)
