"""Networks from recipes. Imports torch."""

from grunlock.models.classifier import SequenceClassifier
from grunlock.models.inputs import NetworkInputs, SeriesInputs, TokenInputs, network_inputs, token_inputs

__all__ = [
    "NetworkInputs",
    "SequenceClassifier",
    "SeriesInputs",
    "TokenInputs",
    "network_inputs",
    "token_inputs",
]
