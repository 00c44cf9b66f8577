"""One text or series that is read as it comes, with an answer at any time, perhaps before its end.

What a stream keeps does not grow, and what a step costs does not depend on how many came before. It shares
the classifier's weights, so any number of streams of one classifier can be read at once; a single one belongs
to one thread at a time.
"""

from collections.abc import Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from grunlock.errors import DataError, StreamError
from grunlock.runtime.guarantees import Guarantees, confidences, promised
from grunlock.runtime.network import Network
from grunlock.runtime.probabilities import probabilities
from grunlock.runtime.stepped import Inputs, SteppedNetwork
from grunlock.shapes import FloatArray

Piece = TypeVar("Piece")
Given = TypeVar("Given", contravariant=True)


class Reader(Protocol[Given]):
    """What makes steps of pieces."""

    def feed(self, piece: Given) -> Sequence[Inputs]:
        """The steps that are complete now, in blocks."""
        ...

    def rest(self) -> Sequence[Inputs]:
        """The steps there would be besides if nothing followed. Changes nothing."""
        ...


class Stopping(NamedTuple):
    """The rule of an early decision: at the first step whose confidence reaches the threshold.

    temperature: of the probabilities behind the confidence, see Guarantees
    """

    threshold: float
    temperature: float


class Stream(Generic[Piece]):
    """Made by `stream` of a classifier: pieces of a text, or steps of a series.

    feed(piece)     the next ones
    finish()        there are no more
    logits, probabilities, label
                    for what has been read so far; a word whose end has not been seen counts as if the text
                    ended here
    num_steps       tokens or steps that are complete
    decided, answer, decided_at
                    with max_error: whether a confidence was reached with which at most that share of decided
                    examples is wrong, the label then, and after how many steps. What comes later does not
                    change them. A stream that ends undecided has no answer; its label is not part of the
                    promise.

    For a wide path that learned apart it also keeps a count for each distinct n-gram that this knows.
    """

    def __init__(
        self,
        network: Network,
        reader: Reader[Piece],
        labels: Sequence[str],
        temperature: float,
        stopping: Stopping | None,
    ) -> None:
        self._network = SteppedNetwork(network)
        self._reader = reader
        self._labels = labels
        self._temperature = temperature
        self._stopping = stopping
        self._so_far = self._network.start()
        self._last: FloatArray | None = None  # logits [K] after the last complete step
        self._glance: FloatArray | None = None  # the same, what is incomplete included; None: not looked
        self._finished = False
        self.num_steps = 0
        self.answer: str | None = None
        self.decided_at: int | None = None

    def feed(self, piece: Piece) -> None:
        """Read on. Raises DataError for what cannot be read; StreamError after `finish`."""
        if self._finished:
            raise StreamError(
                "The stream has ended.",
                got="another piece",
                cure="begin the next text or series with stream()",
            )
        for inputs in self._reader.feed(piece):
            self._take(inputs)
        self._glance = None

    def finish(self) -> None:
        """Nothing follows: what was incomplete is complete."""
        if not self._finished:
            for inputs in self._reader.rest():
                self._take(inputs)
            self._finished, self._glance = True, None

    @property
    def logits(self) -> FloatArray:
        """[K] before temperature and softmax. Raises DataError where there is nothing to read yet."""
        if self._glance is None:
            self._glance = self._looked()
        return self._glance.copy()

    @property
    def probabilities(self) -> FloatArray:
        """[K] calibrated on whole examples, of the labels in the classifier's order. Raises as `logits`."""
        found: FloatArray = probabilities(self.logits[None], self._temperature)[0]
        return found

    @property
    def label(self) -> str:
        """The most probable label. Raises as `logits`."""
        return self._labels[int(self.logits.argmax())]

    @property
    def decided(self) -> bool:
        """Whether there is an `answer`."""
        return self.answer is not None

    def _looked(self) -> FloatArray:
        last, so_far = self._last, self._so_far
        for inputs in [] if self._finished else self._reader.rest():
            logits, so_far = self._network.advance(inputs, so_far)
            last = logits[-1]
        if last is None:
            raise DataError(
                "Nothing has been read yet.",
                got="no token" if self._finished else "no token and no step",
                expected="at least one",
                cure="feed the stream before asking",
            )
        return last

    def _take(self, inputs: Inputs) -> None:
        logits, so_far = self._network.advance(inputs, self._so_far)
        self._so_far, self._last = so_far.keep(), logits[-1]
        if self._stopping is not None and not self.decided:
            self._decide(logits, self._stopping)
        self.num_steps += len(logits)

    def _decide(self, logits: FloatArray, stopping: Stopping) -> None:
        sure = confidences(probabilities(logits, stopping.temperature)) >= stopping.threshold
        if sure.any():
            step = int(np.argmax(sure))
            self.answer = self._labels[int(logits[step].argmax())]
            self.decided_at = self.num_steps + step + 1


def stopping_rule(guarantees: Guarantees | None, max_error: float | None) -> Stopping | None:
    """None where no error rate is asked for. Raises CalibrationError for one that the model cannot keep."""
    if max_error is None:
        return None
    found = promised(guarantees)
    return Stopping(found.early_threshold(max_error), found.temperature)
