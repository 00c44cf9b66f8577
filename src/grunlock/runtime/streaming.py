"""One text or series that is read as it comes, with an answer at any time, perhaps before its end.

What a stream keeps does not grow, and what a step costs does not depend on how many came before. It shares
the classifier's weights, so any number of streams of one classifier can be read at once; a single one belongs
to one thread at a time.
"""

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from grunlock.errors import DataError, StreamError
from grunlock.runtime.early import Stopping, Temperatures
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


class Stream(Generic[Piece]):
    """Made by `stream` of a classifier: pieces of a text, or steps of a series.

    feed(piece)     the next ones
    finish()        there are no more
    logits, probabilities, label
                    what predict_proba would answer if the input ended here; a word whose end has not been
                    seen counts as one that has ended
    outlook         probabilities for an input that goes on: calibrated for a beginning of so many steps
    num_steps       tokens or steps that are complete
    decided, answer, decided_at
                    with max_error: whether a confidence was reached with which at most that share of decided
                    examples is wrong, the label then, and after how many complete steps. What comes later
                    does not change them. A stream that ends undecided has no answer; its label is not part
                    of the promise.

    For a wide path that learned apart it also keeps a count for each distinct n-gram that this knows.
    """

    def __init__(
        self,
        network: Network,
        reader: Reader[Piece],
        labels: Sequence[str],
        temperatures: Temperatures,
        stopping: Stopping | None,
    ) -> None:
        self._network = SteppedNetwork(network)
        self._reader = reader
        self._labels = labels
        self._temperatures = temperatures
        self._stopping = stopping
        self._so_far = self._network.start()
        self._last: FloatArray | None = None  # logits [K] after the last complete step
        self._glance: tuple[FloatArray, int] | None = (
            None  # see _looked; None: not looked since the last piece
        )
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
            if self._last is not None:
                self._decide_at_end(self._last[None])

    @property
    def logits(self) -> FloatArray:
        """[K] before temperature and softmax. Raises DataError where there is nothing to read yet."""
        return self._looked()[0].copy()

    @property
    def probabilities(self) -> FloatArray:
        """[K] calibrated on whole examples, of the labels in the classifier's order. Raises as `logits`."""
        found: FloatArray = probabilities(self.logits[None], self._temperatures.whole)[0]
        return found

    @property
    def outlook(self) -> FloatArray:
        """[K] how probable each label is in the end; after `finish` these are `probabilities`.

        The same where a model has no temperatures for beginnings: one that was trained with calibration off,
        and files of older versions. Raises as `logits`.
        """
        if self._finished:
            return self.probabilities
        logits, steps = self._looked()
        found: FloatArray = self._temperatures.outlook(logits[None], steps)[0]
        return found

    @property
    def label(self) -> str:
        """The most probable label. Raises as `logits`."""
        return self._labels[int(self.logits.argmax())]

    @property
    def decided(self) -> bool:
        """Whether there is an `answer`."""
        return self.answer is not None

    def _looked(self) -> tuple[FloatArray, int]:
        """Logits of what has been read, what is incomplete included, and its steps."""
        if self._glance is None:
            self._glance = self._look()
        return self._glance

    def _look(self) -> tuple[FloatArray, int]:
        last, so_far, steps = self._last, self._so_far, self.num_steps
        for inputs in [] if self._finished else self._reader.rest():
            logits, so_far = self._network.advance(inputs, so_far)
            last, steps = logits[-1], steps + len(logits)
        if last is None:
            raise DataError(
                "Nothing has been read yet.",
                got="no token and no step",
                expected="at least one",
                cure=None if self._finished else "feed the stream before asking",
            )
        return last, steps

    def _take(self, inputs: Inputs) -> None:
        logits, so_far = self._network.advance(inputs, self._so_far)
        self._so_far, self._last = so_far.keep(), logits[-1]
        self._decide(logits)
        self.num_steps += len(logits)

    def _decide(self, logits: FloatArray) -> None:
        """logits: [n, K] of the next steps"""
        if self._stopping is None or self.decided:
            return
        outlook = self._stopping.temperatures.outlook(logits, self.num_steps + 1)
        (sure,) = (confidences(outlook) >= self._stopping.threshold).nonzero()
        if len(sure):
            self._answer(logits[sure[0]], self.num_steps + int(sure[0]) + 1)

    def _decide_at_end(self, logits: FloatArray) -> None:
        """logits: [1, K] of the whole"""
        if self._stopping is None or self.decided:
            return
        confidence = confidences(probabilities(logits, self._stopping.temperatures.whole))[0]
        if confidence >= self._stopping.threshold:
            self._answer(logits[0], self.num_steps)

    def _answer(self, logits: FloatArray, step: int) -> None:
        self.answer, self.decided_at = self._labels[int(logits.argmax())], step


def stopping_rule(
    guarantees: Guarantees | None, begun: tuple[float, ...], max_error: float | None
) -> Stopping | None:
    """None where no error rate is asked for. begun: see Temperatures

    Raises CalibrationError for a rate that the model cannot keep.
    """
    if max_error is None:
        return None
    found = promised(guarantees)
    return Stopping(found.early_threshold(max_error), Temperatures(found.temperature, begun))
