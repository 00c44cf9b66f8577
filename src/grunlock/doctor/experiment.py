"""What a model does with its states and its pads, found by running it: the form whose numbers it gives.

A forward function or a graph can be written in a hundred ways; what it computes is one of a few forms. Random
texts of different lengths are answered by the original and by the twin in each form.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from grunlock.doctor.foreign import AtPads, Embedding, ForeignModel, Original, Padding, Part, Texts
from grunlock.doctor.twin import hindrances, logits
from grunlock.errors import DoctorError, GrunlockError
from grunlock.runtime.probabilities import probabilities
from grunlock.seeding import generator
from grunlock.shapes import FloatArray

SAME = (
    2e-4  # largest difference of two logits that are the same computation in float32, relative to their size
)
NUM_TEXTS, LONGEST = 12, 9
MOST_PARTS = 3


@dataclass(frozen=True)
class Seen:
    """What the experiment showed.

    form:             the description with pooling and padding; None: no known form gives its numbers
    depends_on_batch: largest difference of an answer when the same text comes with others; 0 if it is sound
    moved_by_pads:    largest difference of a probability when 20 pads are put behind a text
    """

    form: ForeignModel | None
    depends_on_batch: float
    moved_by_pads: float | None


def drawn_texts(embedding: Embedding, num_texts: int, longest: int, seed: int = 0) -> Texts:
    """Random ids, no pads among them; lengths from 1 to longest, both present."""
    random = generator(seed, "doctor", "texts")
    pad = embedding.padding_id or 0
    size = len(embedding.weight)
    ids = random.integers(0, max(size - 1, 1), (num_texts, longest))
    ids = ids + (ids >= pad) if size > 1 else ids
    lengths = np.concatenate([[longest, 1], random.integers(1, longest + 1, max(num_texts - 2, 0))])[
        :num_texts
    ]
    texts = Texts(ids.astype(np.int64), lengths.astype(np.int64))
    return replace(texts, ids=np.where(texts.real(), texts.ids, pad))


def observe(model: ForeignModel, original: Original, steps: int | None = None) -> Seen:
    """Run the original on random texts and find its form.

    steps: the only length of text that the original takes; None: any

    Raises DoctorError if the original cannot be run on ids [B, T] at all.
    """
    assert model.embedding is not None
    texts = drawn_texts(model.embedding, NUM_TEXTS, steps or LONGEST)
    try:
        found = original.outputs(texts.ids, texts.lengths)
        single = [original.outputs(texts.ids[i : i + 1], texts.lengths[i : i + 1]) for i in range(len(texts))]
    except GrunlockError:
        raise
    except Exception as error:  # whatever a user's forward or a runtime raises
        raise DoctorError(
            "The model cannot be run on ids [batch, steps].",
            where=model.where,
            got=f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}",
            expected="a forward of ids, or of ids and lengths, both int64",
            cure="examine its state dict instead, and say --pooling and --lengths",
        ) from error
    if found.ndim != 2 or len(found) != len(texts):
        raise DoctorError(
            "The model gives no row of numbers for each text.",
            where=model.where,
            got=f"shape {list(found.shape)} for {len(texts)} texts",
            expected="[batch, classes]",
        )
    alone = np.concatenate(single)
    depends = float(np.abs(alone - found).max())
    form = next((f for f in _forms(model) if agrees(f, texts, found)), None) if depends < 1e-3 else None
    return Seen(
        form,
        depends if depends >= 1e-3 else 0.0,
        None if steps else _moved(model, original, texts),
    )


def _moved(model: ForeignModel, original: Original, texts: Texts) -> float:
    assert model.embedding is not None
    pad = model.embedding.padding_id or 0
    longer = np.concatenate([texts.ids, np.full((len(texts), 20), pad, np.int64)], axis=1)
    first, second = original.outputs(texts.ids, texts.lengths), original.outputs(longer, texts.lengths)
    if not _are_probabilities(first):
        first, second = probabilities(first, 1.0), probabilities(second, 1.0)
    return float(np.abs(first - second).max())


def agrees(form: ForeignModel, texts: Texts, found: FloatArray) -> bool:
    """Whether the twin gives what the original gave: logits, probabilities or their logarithms."""
    if hindrances(form):
        return False
    try:
        ours = logits(form, texts)
    except ValueError:  # a head that reads another number of states
        return False
    if found.shape[1] == 1:
        ours = ours[:, 1:]
    candidates: list[FloatArray] = [ours]
    if found.shape[1] > 1:
        probs = probabilities(ours, 1.0)
        candidates += [probs, np.log(np.maximum(probs, np.float32(1e-30)))]
    else:
        candidates.append((1 / (1 + np.exp(-ours))).astype(np.float32))
    tolerance = SAME * max(1.0, float(np.abs(found).max()))
    return any(np.abs(each - found).max() <= tolerance for each in candidates if each.shape == found.shape)


def as_probabilities(found: FloatArray, activation: str) -> FloatArray:
    """[B, K] of what an original gave; activation: that of its last layer, for a single number."""
    if found.shape[1] == 1:
        positive = found if activation == "sigmoid" else 1 / (1 + np.exp(-found))
        return np.concatenate([1 - positive, positive], axis=1)
    if _are_probabilities(found):
        return found
    return probabilities(found, 1.0)  # of logarithms of probabilities as well


def _are_probabilities(found: FloatArray) -> bool:
    return bool((found >= 0).all() and np.abs(found.sum(axis=1) - 1).max() < 1e-4) and found.shape[1] > 1


def _forms(model: ForeignModel) -> Iterator[ForeignModel]:
    """The sound forms first, so that where two give the same numbers the better one is believed."""
    for parts in _pools(model):
        for padding in _paddings(parts):
            yield replace(model, pooling=parts, padding=padding)


def _pools(model: ForeignModel) -> Iterator[tuple[Part, ...]]:
    if model.pooling is not None:
        yield model.pooling
        return
    if not model.head:
        return
    width, size = model.head[0].weight.shape[1], model.layers[-1].output_size
    plain: tuple[Part, ...] = ("last", "max", "mean", "last_step")
    if width % size == 0 and width // size <= MOST_PARTS:
        yield from itertools.permutations(plain, width // size)
    if width % size == 0:
        yield ("flatten",)


def _paddings(parts: tuple[Part, ...]) -> Iterator[Padding]:
    yield Padding(gru=False, pooling=False)
    held: tuple[AtPads, ...] = ("zero", "held")
    if set(parts) != {"last"}:
        for at_pads in held:
            yield Padding(gru=False, pooling=True, at_pads=at_pads)
    yield Padding(gru=True, pooling=True)
    if set(parts) != {"last"}:
        yield Padding(gru=True, pooling=False)
