"""Self-attention: a Transformer as an encoder, and layers of it behind any encoder."""

from torch import Tensor, nn

from grunlock.kernels import NORM_EPS
from grunlock.layers.attention import LearnedPositions, Positions, TransformerLayer
from grunlock.layers.dropout import drop_variational
from grunlock.layers.packing import IndexedRows
from grunlock.models.encoded import EncodedSequences, ending_at_last_step
from grunlock.models.rows import drop_inputs
from grunlock.recipe.model_options import SelfAttentionOptions, TransformerOptions


class TransformerEncoder(nn.Module):
    """A projection to E, num_layers of pre-norm Transformer layers, a norm."""

    def __init__(self, input_size: int, options: TransformerOptions, max_steps: int) -> None:
        super().__init__()
        self.output_size = options.output_size(input_size)
        self.input_dropout = options.input_dropout
        self.output_dropout = options.output_dropout
        self.projection = nn.Linear(input_size, options.hidden_size)
        nn.init.xavier_uniform_(self.projection.weight)
        nn.init.zeros_(self.projection.bias)
        learned = options.positions == "learned"
        self.positions = LearnedPositions(max_steps, options.hidden_size) if learned else None
        self.layers = nn.ModuleList(
            TransformerLayer(
                options.hidden_size,
                options.num_heads,
                options.feedforward_size,
                rotary=not learned,
                dropout=options.layer_dropout,
                attention_dropout=options.attention_dropout,
            )
            for _ in range(options.num_layers)
        )
        self.norm = nn.LayerNorm(options.hidden_size, eps=NORM_EPS)

    def forward(self, rows: IndexedRows) -> EncodedSequences:
        sizes, positions = rows.batch_sizes, Positions(rows.batch_sizes)
        rows = drop_inputs(rows, self.input_dropout, training=self.training)
        states: Tensor = self.projection(rows.vectors).index_select(0, rows.index)
        if self.positions is not None:
            states = self.positions(states, positions)
        for layer in self.layers:
            states = layer(states, positions)
        states = drop_variational(self.norm(states), sizes.tolist(), self.output_dropout, self.training)
        return ending_at_last_step(states, sizes)


class AttentionOnTop(nn.Module):
    """Self-attention layers over an encoder's states, then a norm."""

    def __init__(self, size: int, options: SelfAttentionOptions) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TransformerLayer(
                size,
                options.num_heads,
                options.feedforward_size,
                rotary=True,
                dropout=options.dropout,
                attention_dropout=options.attention_dropout,
            )
            for _ in range(options.num_layers)
        )
        self.norm = nn.LayerNorm(size, eps=NORM_EPS)

    def forward(self, encoded: EncodedSequences) -> EncodedSequences:
        positions, states = Positions(encoded.batch_sizes), encoded.rows
        for layer in self.layers:
            states = layer(states, positions)
        return ending_at_last_step(self.norm(states), encoded.batch_sizes)
