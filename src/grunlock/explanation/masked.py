"""What a classifier answers when some tokens of an example are hidden. No torch.

A hidden token becomes the unknown token, so that all others keep their places; n-grams of the wide path then
hold the unknown token as well. A hidden step of a series has every feature at 0, the mean of training.
"""

import zlib

import numpy as np
from numpy.typing import NDArray

from grunlock.runtime.classifier import MAX_BATCH_STEPS, TextClassifier
from grunlock.runtime.network import Network
from grunlock.runtime.series_classifier import SeriesClassifier
from grunlock.runtime.stepped import some_tokens
from grunlock.shapes import FloatArray, IntArray, PackedLayout, pack_layout
from grunlock.text import UNKNOWN_ID
from grunlock.text.types import DistinctTokens

HOW_HIDDEN = {
    "text": "A hidden token becomes the unknown token; the others keep their places.",
    "series": "A hidden step has all features at 0, the mean of training.",
}


class Hiding:
    """One example of a classifier, of which any tokens can be hidden.

    Raises DataError as predict_proba does.
    """

    def __init__(self, classifier: TextClassifier | SeriesClassifier, example: str | FloatArray) -> None:
        ((_, inputs, layout),) = classifier.batches([example])  # type: ignore[list-item]
        self.inputs: DistinctTokens | FloatArray = inputs
        self.layout: PackedLayout = layout
        self.num_steps = layout.num_rows
        self._network: Network = classifier.network

    def logits(self, keep: NDArray[np.bool_]) -> FloatArray:
        """[M, K] of M variants. keep: [M, T], False where a token is hidden"""
        most = max(1, MAX_BATCH_STEPS // self.num_steps)
        found = [self._logits(keep[first : first + most]) for first in range(0, len(keep), most)]
        return np.concatenate(found)

    def fingerprint(self) -> int:
        """A number that tells examples apart."""
        tokens = self.inputs
        steps = tokens.vocab_ids[tokens.inverse] if isinstance(tokens, DistinctTokens) else tokens
        return zlib.crc32(np.ascontiguousarray(steps).tobytes())

    def _logits(self, keep: NDArray[np.bool_]) -> FloatArray:
        layout = pack_layout(np.full(len(keep), self.num_steps))
        packed = keep.T.reshape(-1)  # time-major: all sequences have T steps
        step = np.repeat(np.arange(self.num_steps), len(keep))
        if isinstance(self.inputs, DistinctTokens):
            return self._network.logits(_hidden_tokens(self.inputs, step, packed), layout)
        features = self.inputs[step] * packed[:, None]
        return self._network.logits(features.astype(np.float32), layout)


def _hidden_tokens(tokens: DistinctTokens, step: IntArray, keep: NDArray[np.bool_]) -> DistinctTokens:
    """Tokens of packed rows, each that of a step or the unknown token, which has no n-grams."""
    unknown = len(tokens.vocab_ids)
    ngram_offsets = tokens.ngram_offsets
    if ngram_offsets is not None:
        ngram_offsets = np.append(ngram_offsets, ngram_offsets[-1])
    inverse = np.where(keep, tokens.inverse[step], unknown)
    every = DistinctTokens(np.append(tokens.vocab_ids, UNKNOWN_ID), inverse, tokens.ngram_ids, ngram_offsets)
    if len(np.unique(inverse)) == len(every.vocab_ids):
        return every
    return some_tokens(every, np.arange(len(inverse)))  # a type that no row has must not be there


def centred(logits: FloatArray) -> NDArray[np.float64]:
    """Logits [M, K] minus their mean over the classes: what probabilities depend on."""
    doubles = np.asarray(logits, np.float64)
    result: NDArray[np.float64] = doubles - doubles.mean(axis=1, keepdims=True)
    return result
