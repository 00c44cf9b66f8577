"""What an explanation says. Numbers only; nothing here computes or shows them.

Letters besides those of shapes.py: shares [K] stand in the order of the labels.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Shares = tuple[float, ...]  # [K]
Direction = Literal["forward", "backward"]


@dataclass(frozen=True)
class Gate:
    """What one layer did at one token, in one direction.

    rewrote: mean over units of 1 - z, from 0 (the state stayed) to 1 (all of it is new)
    reset: mean over units of r, from 0 (the candidate saw nothing of the past) to 1; None in cells without it
    wrote: Euclidean length of what was written, (1 - z) * n
    survived: how much of what was written is left after the direction's last step, 0 to 1
    half_life_steps: steps until half of it is left, the median over units weighted by what they wrote; None
        if half of it is never lost
    """

    layer: int  # from 0, the lowest
    direction: Direction
    rewrote: float
    reset: float | None
    wrote: float
    survived: float
    half_life_steps: float | None


@dataclass(frozen=True)
class TokenShare:
    """One token of a text, or one step of a series.

    text: the token as it stands in the text, "" for that of an empty text
    start, end: its characters in the text as it was given; of a series the step and the next one
    shares: [K] its part of each logit, `wide` included
    wide: [K] what n-grams of the wide path gave, divided evenly among their tokens; zeros without one
    rewrote, survived, half_life_steps: as in Gate, of the top layer, the mean of its directions; None where
        an encoder keeps no state
    gates: of each layer and direction
    """

    text: str
    start: int
    end: int
    shares: Shares
    wide: Shares
    rewrote: float | None
    survived: float | None
    half_life_steps: float | None
    gates: tuple[Gate, ...]


@dataclass(frozen=True)
class WordShare:
    """Neighbouring tokens that make a word: their shares added up. Where a token reaches beyond a word, the
    words that it touches stand together, because a share cannot be divided."""

    text: str
    start: int
    end: int
    first_token: int
    last_token: int  # inclusive
    shares: Shares


@dataclass(frozen=True)
class Explanation:
    """How the logits of one example come about: bias + the sum of all tokens' shares.

    kind: whether the tokens are those of a text or the steps of a series
    text: as it was given; "" for a series
    words: the tokens as words, None where each token is one, or for a series
    bias: [K] what no token gave: the head's and the wide path's biases
    logits: [K] the model's, before the temperature
    probs: [K] softmax(logits / temperature)
    difference: the largest distance between a logit and bias + shares: rounding, below 1e-4
    notes: what the numbers do not say, in sentences
    """

    kind: Literal["text", "series"]
    text: str
    labels: tuple[str, ...]
    tokens: tuple[TokenShare, ...]
    words: tuple[WordShare, ...] | None
    bias: Shares
    logits: Shares
    temperature: float
    probs: Shares
    difference: float
    notes: tuple[str, ...]

    @property
    def predicted(self) -> int:
        """The place of the most probable label."""
        return max(range(len(self.labels)), key=self.logits.__getitem__)

    @property
    def label(self) -> str:
        """The most probable label."""
        return self.labels[self.predicted]

    def evidence(self, place: int) -> tuple[float, ...]:
        """Of each token how far it moves class `place` against the mean of all classes: its share minus the
        mean of its shares. What is the same for all classes moves no probability, so this is what counts."""
        return tuple(evidence(token.shares, place) for token in self.tokens)

    def to_dict(self) -> dict[str, Any]:
        """All of it, fit for JSON."""
        return {**asdict(self), "label": self.label}


def evidence(shares: Shares, place: int) -> float:
    """See Explanation.evidence."""
    return shares[place] - sum(shares) / len(shares)
