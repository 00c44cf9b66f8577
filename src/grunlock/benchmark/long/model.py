"""A small classifier around one encoder: values -> encoder -> one vector -> linear head."""

import torch
from torch import Tensor, nn

from grunlock.layers.packing import IndexedRows
from grunlock.models.encoder import build_encoder
from grunlock.recipe.model_options import (
    BagOptions,
    ConvOptions,
    EncoderOptions,
    GruOptions,
    LstmOptions,
    MinGruOptions,
    MinLstmOptions,
    QrnnOptions,
    TransformerOptions,
)

MEAN_KINDS = ("conv", "bag")  # their last state has seen few steps; all others read the final state


def encoder_sections(hidden_size: int) -> dict[str, EncoderOptions]:
    """The recipe's encoder section of every kind: one direction, chrono where there is a keeping gate, no
    dropout, else as recipes have it by default (scan encoders and the Transformer have two layers)."""
    return {
        "gru": GruOptions(hidden_size=hidden_size, bidirectional=False, update_bias="chrono"),
        "lstm": LstmOptions(hidden_size=hidden_size, bidirectional=False, forget_bias="chrono"),
        "mingru": MinGruOptions(hidden_size=hidden_size, bidirectional=False, keep_bias="chrono"),
        "minlstm": MinLstmOptions(hidden_size=hidden_size, bidirectional=False, keep_bias="chrono"),
        "qrnn": QrnnOptions(hidden_size=hidden_size, bidirectional=False, keep_bias="chrono"),
        "conv": ConvOptions(hidden_size=hidden_size),
        "transformer": TransformerOptions(
            hidden_size=hidden_size, feedforward_size=4 * hidden_size, layer_dropout=0.0
        ),
        "bag": BagOptions(),
    }


class LongClassifier(nn.Module):
    """For sequences that all have num_steps steps."""

    def __init__(self, input_size: int, num_classes: int, options: EncoderOptions, num_steps: int) -> None:
        super().__init__()
        self.encoder = build_encoder(input_size, options, chrono_steps=num_steps, max_steps=num_steps)
        self.mean = options.kind in MEAN_KINDS
        self.head = nn.Linear(self.encoder.output_size, num_classes)

    def forward(self, values: Tensor) -> Tensor:  # [T, B, D] -> logits [B, K]
        T, B, D = values.shape
        encoded = self.encoder(IndexedRows.of_rows(values.reshape(T * B, D), torch.full((T,), B)))
        pooled = encoded.rows.view(T, B, -1).mean(dim=0) if self.mean else encoded.final
        logits: Tensor = self.head(pooled)
        return logits
