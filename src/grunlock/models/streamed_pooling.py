"""Pooling over states that come stretch by stretch, and its gradients the same way: memory keeps its size."""

import torch
from torch import Tensor

from grunlock.layers.dropout import sequence_of_row
from grunlock.models.encoded import EncodedSequences
from grunlock.recipe.model_options import PoolingPart


class StreamedPooling:
    """First all stretches in order by `add`, then `pooled`, then their gradients by `gradients`.

    lengths: [B] of the whole sequences, longest first.
    """

    def __init__(
        self, parts: tuple[PoolingPart, ...], lengths: Tensor, size: int, dtype: torch.dtype
    ) -> None:
        self.parts = parts
        self.lengths = lengths
        shape = (len(lengths), size)
        self.last = torch.zeros(shape, dtype=dtype)
        self.total = torch.zeros(shape, dtype=dtype)
        self.highest = torch.full(shape, -torch.inf, dtype=dtype)
        self.ties = torch.zeros(shape, dtype=dtype)  # how many states so far are the highest

    @torch.no_grad()
    def add(self, encoded: EncodedSequences, batch_sizes: Tensor) -> None:
        """The states of some steps; batch_sizes: of these steps."""
        count = len(encoded.final)
        self.last[:count] = encoded.final
        sequence = sequence_of_row(batch_sizes.tolist())
        self.total.index_add_(0, sequence, encoded.rows)
        index = sequence[:, None].expand_as(encoded.rows)
        before = self.highest.clone()
        self.highest.scatter_reduce_(0, index, encoded.rows, "amax")
        self.ties *= before == self.highest
        self.ties.index_add_(0, sequence, self._is_highest(encoded.rows, sequence))

    def pooled(self) -> Tensor:
        """[B, parts * E], as models.pooling.Pooling gives it."""
        by_part = {"last": self.last, "max": self.highest, "mean": self.total / self.lengths[:, None]}
        return torch.cat([by_part[part] for part in self.parts], dim=1)

    @torch.no_grad()
    def gradients(
        self, grad: Tensor, encoded: EncodedSequences, batch_sizes: Tensor, ending: Tensor
    ) -> tuple[Tensor, Tensor]:
        """From the gradient of `pooled` to those of one stretch's rows and final states.

        ending: [sequences of the stretch] true where a sequence's last step is among these steps.
        """
        sequence = sequence_of_row(batch_sizes.tolist())
        rows, final = torch.zeros_like(encoded.rows), torch.zeros_like(encoded.final)
        for part, part_grad in zip(self.parts, grad.chunk(len(self.parts), dim=1), strict=True):
            if part == "last":
                final += part_grad[: len(final)] * ending[:, None]
            elif part == "mean":
                rows += (part_grad / self.lengths[:, None])[sequence]
            else:
                rows += (part_grad / self.ties)[sequence] * self._is_highest(encoded.rows, sequence)
        return rows, final

    def _is_highest(self, rows: Tensor, sequence: Tensor) -> Tensor:
        return (rows == self.highest[sequence]).to(rows.dtype)
