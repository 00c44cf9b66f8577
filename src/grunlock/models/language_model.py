"""Language models in both directions that share their embedding with what they will be part of.

Of a bidirectional layer one half reads a text from its start and predicts the next token, the other reads it
from its end and predicts the one before. Neither sees what it predicts, as long as there is one layer.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn

from grunlock.models.embedding import TokenEmbedding
from grunlock.models.encoder import build_encoder
from grunlock.models.inputs import TokenInputs
from grunlock.recipe import Recipe
from grunlock.shapes import shifted_rows

SAMPLES = 1024  # drawn for each batch, of which the distinct ones are candidates
FLATTENED = 0.75  # power of frequencies from which they are drawn, as word2vec's (Mikolov 2013)
CHUNK_ROWS = 1024  # of exact logits [rows, V] at a time


class LanguageModel(nn.Module):
    """Embedding and encoder of a recipe, and what predicts tokens from states.

    The output vectors are the embedding's own (Press & Wolf 2017, Inan 2017): logit of token j after state h
    is e_j . (W h + c) + b_j, W and c of each direction.

    Args:
        counts: [V] how often each token occurs; candidates are drawn by it.
    """

    def __init__(self, recipe: Recipe, counts: Tensor, longest_steps: int) -> None:
        super().__init__()
        assert recipe.embedding is not None  # a recipe for texts has it
        self.embedding = TokenEmbedding(
            len(counts), recipe.embedding, tokens="words"
        )  # without n-grams all kinds are alike
        self.encoder = build_encoder(
            recipe.embedding.size, recipe.encoder, chrono_steps=max(2, longest_steps), max_steps=longest_steps
        )
        self.shifts = (1, -1) if recipe.encoder.bidirectional else (1,)  # type: ignore[union-attr]
        self.hidden_size = self.encoder.output_size // len(self.shifts)
        self.heads = nn.ModuleList(nn.Linear(self.hidden_size, recipe.embedding.size) for _ in self.shifts)
        self.bias = nn.Parameter(torch.zeros(len(counts)))
        shares = counts.double().pow(FLATTENED)
        self._shares = shares / shares.sum()
        # A token is among SAMPLES draws with this probability.
        self._log_expected = torch.log(-torch.expm1(SAMPLES * torch.log1p(-self._shares))).float()
        self.exact = len(counts) <= SAMPLES

    def loss(self, inputs: TokenInputs, seed: int) -> Tensor | None:
        """Mean of -log p of the predicted tokens, in nats, by sampling (Bengio & Senécal 2003).

        None if no text of the batch has two tokens.
        """
        candidates = self._candidates(seed)
        losses = [
            self._sampled_losses(states, targets, candidates, head)
            for head, (states, targets) in zip(self.heads, self._predictions(inputs), strict=True)
            if len(targets)
        ]
        return torch.cat(losses).mean() if losses else None

    @torch.no_grad()
    def exact_losses(self, inputs: TokenInputs) -> Tensor:
        """-log p of every predicted token of both directions, over the whole vocabulary."""
        found = []
        for head, (states, targets) in zip(self.heads, self._predictions(inputs), strict=True):
            for rows, wanted in zip(
                torch.split(states, CHUNK_ROWS), torch.split(targets, CHUNK_ROWS), strict=True
            ):
                logits = head(rows) @ self.embedding.tokens.weight.T + self.bias
                found.append(nn.functional.cross_entropy(logits, wanted, reduction="none"))
        return torch.cat(found)

    def _predictions(self, inputs: TokenInputs) -> list[tuple[Tensor, Tensor]]:
        """Of each direction the states that predict a token [M, H], and these tokens [M]."""
        rows = self.encoder(self.embedding(inputs)).rows
        tokens, sizes = inputs.vocab_ids[inputs.inverse], inputs.batch_sizes.numpy()
        found = []
        for shift, states in zip(self.shifts, torch.split(rows, self.hidden_size, dim=1), strict=True):
            predicted = shifted_rows(sizes, shift)
            has_one = torch.from_numpy(np.flatnonzero(predicted < len(tokens)))
            found.append((states.index_select(0, has_one), tokens[torch.from_numpy(predicted)[has_one]]))
        return found

    def _candidates(self, seed: int) -> Tensor:
        """[S] distinct tokens, rising."""
        if self.exact:
            return torch.arange(len(self._shares))
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.multinomial(self._shares, SAMPLES, replacement=True, generator=generator)
        return torch.from_numpy(np.unique(drawn.numpy()))

    def _sampled_losses(self, states: Tensor, targets: Tensor, candidates: Tensor, head: nn.Module) -> Tensor:
        """[M] -log p of the targets, the sum over the vocabulary estimated from the candidates.

        The target counts as it is, any other candidate by one over its probability to be one.
        """
        found = np.unique(torch.cat([candidates, targets]).numpy(), return_inverse=True)
        distinct, place = (torch.from_numpy(array) for array in found)
        vectors, queries = self.embedding.tokens(distinct), head(states)
        own, others = place[len(candidates) :], place[: len(candidates)]
        offsets = self.bias[candidates] - (0.0 if self.exact else self._log_expected[candidates])
        logits = torch.addmm(offsets, queries, vectors[others].T)
        logits.masked_fill_(targets[:, None] == candidates, -math.inf)
        own_logits = (queries * vectors[own]).sum(dim=1) + self.bias[targets]
        losses: Tensor = torch.logaddexp(own_logits, logits.logsumexp(dim=1)) - own_logits
        return losses
