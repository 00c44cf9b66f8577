"""From the features of series to the vectors that an encoder reads."""

from torch import Tensor, nn

from grunlock.layers.packing import IndexedRows
from grunlock.models.inputs import SeriesInputs


class SeriesProjection(nn.Module):
    """Features [N, F] times a matrix, [N, D]; without a size they pass as they are, D = F."""

    def __init__(self, num_features: int, size: int | None) -> None:
        super().__init__()
        self.output_size = num_features if size is None else size
        self.projection = None if size is None else nn.Linear(num_features, size)
        if self.projection is not None:
            nn.init.xavier_uniform_(self.projection.weight)
            nn.init.zeros_(self.projection.bias)

    def forward(self, inputs: SeriesInputs) -> IndexedRows:
        rows: Tensor = inputs.features if self.projection is None else self.projection(inputs.features)
        return IndexedRows.of_rows(rows, inputs.batch_sizes)
