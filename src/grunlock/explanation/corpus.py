"""What a model has learned, over many texts: which n-grams speak for a class, what the gates remember, and
which tokens its worst errors come from. From exact shares alone; no torch."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grunlock.errors import ExplanationError
from grunlock.explanation.exact import ExactExplainer
from grunlock.explanation.examples import Examples
from grunlock.explanation.results import Explanation, TokenShare, WordShare, evidence
from grunlock.text.front_end import TextFrontEnd
from grunlock.text.script import is_han

MAX_NGRAM = 3
MIN_COUNT = 3  # occurrences, below which a mean says little
STRONGEST_SHOWN = 3  # of the tokens behind an error


@dataclass(frozen=True)
class NgramShare:
    """Neighbouring words or tokens. evidence: mean over occurrences of what they give to the class against
    the mean of all classes, their shares added up."""

    text: str
    count: int
    evidence: float


@dataclass(frozen=True)
class ClassShares:
    """ngrams: those that speak for the class most, the strongest first."""

    label: str
    ngrams: tuple[NgramShare, ...]


@dataclass(frozen=True)
class TokenGates:
    """A token's means over its occurrences. half_life_steps: their median; None: half is seldom lost."""

    text: str
    count: int
    rewrote: float
    survived: float
    half_life_steps: float | None


@dataclass(frozen=True)
class WrongAnswer:
    """strongest: words that speak most for the predicted label against the true one, and by how much."""

    row: int  # of its source, from 1
    text: str
    label: str  # the true one
    predicted: str
    probability: float  # of the predicted label
    strongest: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class CorpusExplanation:
    """num_labelled, num_wrong: how many texts had labels, and how many of these were answered wrongly.

    rewrite_most, remembered_longest: empty for an encoder without gates
    wrong: the surest errors first
    largest_difference: between a logit and its shares, over all texts
    """

    source: str
    num_texts: int
    num_labelled: int
    num_wrong: int
    classes: tuple[ClassShares, ...]
    rewrite_most: tuple[TokenGates, ...]
    remembered_longest: tuple[TokenGates, ...]
    wrong: tuple[WrongAnswer, ...]
    largest_difference: float
    min_count: int
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """All of it, fit for JSON."""
        return asdict(self)


@dataclass
class _Sum:
    """What is added up over occurrences of an n-gram."""

    count: int
    evidence: NDArray[np.float64]  # [K]


@dataclass
class _Gates:
    """Of a token's occurrences."""

    rewrote: list[float] = field(default_factory=list)
    survived: list[float] = field(default_factory=list)
    half_lives: list[float] = field(default_factory=list)


def explain_corpus(
    examples: Examples,
    *,
    top: int = 10,
    min_count: int = MIN_COUNT,
    progress: Callable[[int], None] = lambda done: None,
) -> CorpusExplanation:
    """Exact shares of many texts, added up.

    top: of n-grams for each class, of tokens and of errors
    min_count: occurrences that an n-gram or token needs

    Raises ExplanationError for series, for a model whose logits cannot be divided exactly, and without texts.
    """
    front_end = examples.artifact.front_end
    if not isinstance(front_end, TextFrontEnd):
        raise ExplanationError(
            "The steps of series are no words to count.",
            where=examples.source,
            expected="a model of texts",
            cure="explain single series: grunlock explain RUN FILE --row 1",
        )
    if not len(examples.inputs):
        raise ExplanationError("There are no texts to explain.", where=examples.source)
    explainer = ExactExplainer(examples.artifact.classifier())
    sums: dict[tuple[str, ...], _Sum] = {}
    gates: dict[str, _Gates] = {}
    wrong: list[WrongAnswer] = []
    largest, notes = 0.0, tuple[str, ...]()
    for i, (text, target) in enumerate(zip(examples.inputs, examples.targets, strict=True)):
        found = explainer.explain(text)
        largest, notes = max(largest, found.difference), found.notes
        _add_ngrams(sums, found, front_end)
        _add_gates(gates, found.tokens, front_end)
        if target is not None and found.predicted != target:
            wrong.append(_wrong(found, target, examples.places[i]))
        progress(i + 1)
    rewriting, lasting = _gate_lists(gates, min_count, top)
    return CorpusExplanation(
        source=examples.source,
        num_texts=len(examples.inputs),
        num_labelled=sum(target is not None for target in examples.targets),
        num_wrong=len(wrong),
        classes=_classes(sums, examples.artifact.labels, min_count, top),
        rewrite_most=rewriting,
        remembered_longest=lasting,
        wrong=tuple(sorted(wrong, key=lambda each: -each.probability)[:top]),
        largest_difference=largest,
        min_count=min_count,
        notes=notes,
    )


def _units(found: Explanation) -> Sequence[TokenShare] | Sequence[WordShare]:
    return found.tokens if found.words is None else found.words


def _surfaces(front_end: TextFrontEnd, units: Iterable[TokenShare | WordShare]) -> list[str]:
    """As the model reads them, so that what it cannot tell apart is counted together."""
    normalize = front_end.tokenizer.normalizer.normalize_str
    return [normalize(unit.text) for unit in units]


def _add_ngrams(sums: dict[tuple[str, ...], _Sum], found: Explanation, front_end: TextFrontEnd) -> None:
    units = _units(found)
    words = _surfaces(front_end, units)
    shares = np.array([unit.shares for unit in units])
    before = np.concatenate([np.zeros((1, shares.shape[1])), (shares - shares.mean(axis=1, keepdims=True))])
    before = before.cumsum(axis=0)
    for length in range(1, min(MAX_NGRAM, len(words)) + 1):
        given = before[length:] - before[:-length]
        for start, amount in enumerate(given):
            ngram = tuple(words[start : start + length])
            known = sums.get(ngram)
            if known is None:
                sums[ngram] = _Sum(1, amount.copy())
            else:
                known.count += 1
                known.evidence += amount


def _add_gates(gates: dict[str, _Gates], tokens: Sequence[TokenShare], front_end: TextFrontEnd) -> None:
    for word, token in zip(_surfaces(front_end, tokens), tokens, strict=True):
        if token.rewrote is None or token.survived is None:
            return
        kept = gates.setdefault(word, _Gates())
        kept.rewrote.append(token.rewrote)
        kept.survived.append(token.survived)
        kept.half_lives.append(np.inf if token.half_life_steps is None else token.half_life_steps)


def _classes(
    sums: dict[tuple[str, ...], _Sum], labels: Sequence[str], min_count: int, top: int
) -> tuple[ClassShares, ...]:
    often = [(ngram, each) for ngram, each in sums.items() if each.count >= min_count]
    if not often:
        return tuple(ClassShares(label, ()) for label in labels)
    means = np.array([each.evidence / each.count for _, each in often])  # [n-grams, K]
    found = []
    for place, label in enumerate(labels):
        order = np.argsort(-means[:, place], kind="stable")[:top].tolist()
        ngrams = [NgramShare(_joined(often[i][0]), often[i][1].count, float(means[i, place])) for i in order]
        found.append(ClassShares(label, tuple(ngram for ngram in ngrams if ngram.evidence > 0)))
    return tuple(found)


def _joined(ngram: tuple[str, ...]) -> str:
    return ("" if all(map(is_han, "".join(ngram))) else " ").join(ngram)


def _gate_lists(
    gates: dict[str, _Gates], min_count: int, top: int
) -> tuple[tuple[TokenGates, ...], tuple[TokenGates, ...]]:
    often = [(word, kept) for word, kept in gates.items() if len(kept.rewrote) >= min_count]
    tokens = [
        TokenGates(
            word,
            len(kept.rewrote),
            float(np.mean(kept.rewrote)),
            float(np.mean(kept.survived)),
            _finite(float(np.median(kept.half_lives))),
        )
        for word, kept in often
    ]
    lasting = sorted(
        tokens,
        key=lambda each: (each.half_life_steps is not None, -(each.half_life_steps or 0), -each.survived),
    )
    return tuple(sorted(tokens, key=lambda each: -each.rewrote)[:top]), tuple(lasting[:top])


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _wrong(found: Explanation, target: int, row: int) -> WrongAnswer:
    units = _units(found)
    against = [evidence(unit.shares, found.predicted) - evidence(unit.shares, target) for unit in units]
    order = sorted(range(len(units)), key=lambda i: -against[i])[:STRONGEST_SHOWN]
    return WrongAnswer(
        row=row,
        text=found.text,
        label=found.labels[target],
        predicted=found.label,
        probability=found.probs[found.predicted],
        strongest=tuple((units[i].text, against[i]) for i in order),
    )
