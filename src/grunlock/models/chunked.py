"""Long sequences in two levels: any encoder over chunks, then a second one over the chunks' vectors."""

import torch
from torch import Tensor, nn

from grunlock.layers.packing import IndexedRows
from grunlock.models.encoded import EncodedSequences, Encoder
from grunlock.models.pooling import Pooling
from grunlock.models.recurrent import RecurrentEncoder
from grunlock.models.transformer import TransformerEncoder
from grunlock.recipe.model_options import ChunkOptions, GruOptions, PoolingOptions
from grunlock.shapes import chunk_layout, sequence_lengths, sequence_major_rows


class ChunkedEncoder(nn.Module):
    """Hierarchical (Yang 2016): states of chunks pooled by maximum and mean, read by a second encoder.

    Its rows are chunks: what follows pools over them. Chunks are read side by side, so that a sequence of T
    steps takes chunk_steps + T / chunk_steps steps in time.
    """

    def __init__(self, inner: Encoder, options: ChunkOptions) -> None:
        super().__init__()
        self.chunk_steps = options.chunk_steps
        self.inner = inner
        self.pooling = Pooling(inner.output_size, PoolingOptions(parts=("max", "mean")))
        self.dropout = nn.Dropout(options.dropout)
        size, outer = self.pooling.output_size, options.outer_options()
        self.outer: Encoder = (
            RecurrentEncoder(size, outer, chrono_steps=2)
            if isinstance(outer, GruOptions)
            else TransformerEncoder(size, outer, max_steps=1)
        )
        self.output_size = self.outer.output_size

    def forward(self, rows: IndexedRows) -> EncodedSequences:
        sizes = rows.batch_sizes.numpy()
        layout = chunk_layout(sequence_lengths(sizes), self.chunk_steps)
        steps = torch.from_numpy(sequence_major_rows(sizes)[layout.inner.rows])
        inner_sizes = torch.from_numpy(layout.inner.batch_sizes)
        encoded = self.inner(IndexedRows(rows.vectors, rows.index[steps], inner_sizes))
        chunks: Tensor = self.dropout(self.pooling(encoded))  # longest chunk first
        place = torch.empty(len(chunks), dtype=torch.int64)
        place[torch.from_numpy(layout.inner.order)] = torch.arange(len(chunks))
        index = place[torch.from_numpy(layout.outer.rows)]
        outer_sizes = torch.from_numpy(layout.outer.batch_sizes)
        result: EncodedSequences = self.outer(IndexedRows(chunks, index, outer_sizes))
        return result
