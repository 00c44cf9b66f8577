"""Networks from recipes. Imports torch."""

from grunlock.models.classifier import SequenceClassifier
from grunlock.models.inputs import TokenInputs, token_inputs

__all__ = ["SequenceClassifier", "TokenInputs", "token_inputs"]
