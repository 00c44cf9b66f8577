"""A trained text classifier: texts in, probabilities out. Needs numpy and tokenizers only."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grunlock.errors import DataError
from grunlock.recipe.text_options import TextDataOptions
from grunlock.runtime.early import Temperatures
from grunlock.runtime.guarantees import Guarantees, SetMethod, answers_or_none, label_sets, promised
from grunlock.runtime.hindrances import refuse_hindered
from grunlock.runtime.network import Network
from grunlock.runtime.probabilities import probabilities, sound
from grunlock.runtime.stepped import prefix_logits
from grunlock.runtime.streaming import Stream, stopping_rule
from grunlock.shapes import FloatArray, IntArray, PackedLayout, pack_layout
from grunlock.text.front_end import TextFrontEnd
from grunlock.text.streamed import StreamedText
from grunlock.text.types import DistinctTokens

MAX_BATCH_STEPS = 16_384  # bounds memory; results do not depend on it beyond rounding
MAX_SHOWN_ROWS = 5


@dataclass(frozen=True)
class TextClassifier:
    """What `grunlock.load` returns. Safe to call from many threads.

    labels: class names; column k of every result belongs to labels[k].
    temperature: logits are divided by it before the softmax (Guo 2017).
    guarantees: what predict_set and predict_or_abstain need; None without a calibration split.
    step_temperatures: of beginnings, see runtime/early.py; empty for a model that needs the whole.
    """

    front_end: TextFrontEnd
    network: Network
    labels: tuple[str, ...]
    temperature: float
    guarantees: Guarantees | None = None
    step_temperatures: tuple[float, ...] = ()

    def predict_proba(self, texts: Sequence[str]) -> FloatArray:
        """[len(texts), K] calibrated probabilities, each row summing to 1.

        Raises DataError for anything but a sequence of strings and, unless the model was trained with
        data.empty_texts = "keep", for texts without a single token.
        """
        return probabilities(self.logits(texts), self.temperature)

    def predict(self, texts: Sequence[str]) -> list[str]:
        """The most probable label of each text."""
        return [self.labels[k] for k in self.logits(texts).argmax(axis=1)]

    def predict_set(
        self, texts: Sequence[str], coverage: float = 0.9, method: SetMethod = "lac"
    ) -> list[tuple[str, ...]]:
        """For each text, labels that hold the true one with probability `coverage`; the most probable first.

        The promise is over all texts that come as the calibration examples came, not for each one. No set is
        empty. A set is all labels where there were too few calibration examples for the coverage.

        method: "lac", the smallest sets on average, or "raps", larger ones for hard examples.

        Raises CalibrationError if the model has no calibration split, or was not calibrated for this.
        """
        guarantees, logits = promised(self.guarantees), self.logits(texts)
        return label_sets(self.labels, logits, guarantees.sets(logits, coverage, method))

    def predict_or_abstain(self, texts: Sequence[str], max_error: float) -> list[str | None]:
        """The most probable label of each text, or None where the model is not sure enough.

        At most the share max_error of the answered texts is wrong, with 95% certainty over the drawing of the
        calibration examples, for texts that come as these came.

        Raises CalibrationError if the model has no calibration split, was not calibrated for this error rate,
        or cannot keep it.
        """
        guarantees, logits = promised(self.guarantees), self.logits(texts)
        return answers_or_none(self.labels, logits, guarantees.answered(logits, max_error))

    def stream(self, max_error: float | None = None) -> Stream[str]:
        """Read one text as it comes: its `feed` takes pieces of any size, cut anywhere.

        max_error: decide as early as the promise of predict_or_abstain can be kept.

        Raises StreamError for a model that needs the whole text, and CalibrationError as predict_or_abstain.
        """
        refuse_hindered(self.network.recipe, self.front_end.tokens)
        stopping = stopping_rule(self.guarantees, self.step_temperatures, max_error)
        reader = StreamedText(self.front_end, empty_token=self._keeps_empty)
        temperatures = Temperatures(self.temperature, self.step_temperatures)
        return Stream(self.network, reader, self.labels, temperatures, stopping)

    def logits(self, texts: Sequence[str]) -> FloatArray:
        """[len(texts), K] before temperature and softmax."""
        result = np.empty((len(texts), len(self.labels)), dtype=np.float32)
        for members, tokens, layout in self.batches(texts):
            result[members] = self.network.logits(tokens, layout)
        return sound(result)

    def prefix_logits(self, texts: Sequence[str]) -> list[FloatArray]:
        """Of each text the logits [tokens, K] after each of its tokens.

        Raises as `predict_proba`, and StreamError for a model that needs the whole text.
        """
        refuse_hindered(self.network.recipe, self.front_end.tokens)
        found = [np.empty((0, len(self.labels)), np.float32)] * len(texts)
        for members, tokens, layout in self.batches(texts):
            of_each = prefix_logits(self.network, tokens, layout)
            for member, logits in zip(members.tolist(), of_each, strict=True):
                found[member] = sound(logits)
        return found

    @property
    def _keeps_empty(self) -> bool:
        data = self.network.recipe.data
        return isinstance(data, TextDataOptions) and data.empty_texts == "keep"

    def batches(self, texts: Sequence[str]) -> Iterator[tuple[IntArray, DistinctTokens, PackedLayout]]:
        """Of each batch the members, longest first, and their tokens in packed order."""
        _check_texts(texts)
        if len(texts) == 0:
            return
        types = self.front_end.new_types()
        encoded = self.front_end.encode(texts, types)
        if not self._keeps_empty:
            _refuse_empty(encoded.empty)
        if len(texts) == 1:
            layout = pack_layout(encoded.lengths)
            yield layout.order, types.distinct(encoded.tokens), layout
            return
        starts = np.cumsum(encoded.lengths) - encoded.lengths
        for members in batches_of(encoded.lengths):
            layout = pack_layout(encoded.lengths[members])
            tokens = np.concatenate(
                [encoded.tokens[starts[i] : starts[i] + encoded.lengths[i]] for i in members]
            )
            yield members[layout.order], types.distinct(tokens[layout.rows]), layout


def batches_of(lengths: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Members of each batch: similar lengths together, at most MAX_BATCH_STEPS, at least one sequence."""
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, MAX_BATCH_STEPS // int(lengths[order[start]]))
        yield order[start : start + size]
        start += size


def _check_texts(texts: Sequence[str]) -> None:
    if isinstance(texts, str):
        raise DataError("One string is not a list of texts.", got=repr(texts[:40]), cure="pass [text]")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(
                "A text is not a string.",
                where=f"texts[{row}]",
                got=type(text).__name__,
                expected="strings: this model was trained on texts",
            )


def _refuse_empty(empty: NDArray[np.bool_]) -> None:
    if empty.any():
        rows = np.flatnonzero(empty)
        shown = ", ".join(str(row) for row in rows[:MAX_SHOWN_ROWS])
        raise DataError(
            f"{len(rows)} of {len(empty)} texts are empty: there is nothing to read in them.",
            where=f"texts at {shown}{', ...' if len(rows) > MAX_SHOWN_ROWS else ''}",
            expected="at least one token in each text",
            cure="leave them out, or train with --set data.empty_texts=keep so that the model knows them",
        )
