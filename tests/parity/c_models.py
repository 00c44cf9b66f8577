"""Small untrained but complete models for the C export, of every part that it has, and inputs to ask them."""

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from grunlock.artifact import Artifact
from grunlock.export.c import CExport, CModel, write_c
from grunlock.export.portable import portable
from grunlock.recipe import DataFacts, Recipe, SeriesFacts, derive, read_recipe
from grunlock.series import SeriesFrontEnd
from grunlock.shapes import FloatArray, pack_layout
from grunlock.text.front_end import TextFrontEnd
from grunlock.text.token_ngrams import wide_ngrams
from tests.conftest import facts_for, small_facts
from tests.parity.test_runtime import away_from_its_start

KNOWN = ["the", "cat", "sat", "on", "a", "mat", ",", "please", "unlock", "what", "gated", "nets", "can", "do",
         "!", "dog", "naïve", "straße", "é", "你", "好", "很", "吃", "送", "水"]  # fmt: skip
UNKNOWN = ["zebra", "Gate", "ÜBER", "ﬁne", "½", "ÅNGSTRÖM", "İstanbul", "한국어", "\u1112\u1161\u11ab", "??!",
           "👩\u200d🚀", "don't", "x", "水\u3000送", "\uff41\uff42", "e\u0323\u0301", "a\x1cb", "\u2003",
           "\u0391Σ", "1234567890abcdefghij"]  # fmt: skip
TRAINING = [" ".join(KNOWN[i % 5 :: 3]) for i in range(9)] + ["".join(KNOWN[-6:]), " ".join(KNOWN)]
CONTEXT = ["text.tokens=characters", "embedding.ngrams.buckets=64", "embedding.ngrams.min_length=2"]
LABELS = ("no", 'say "yes"\\?', "käse\n")
FLOAT_TOLERANCE = 1e-5  # of probabilities
ONE_WAY = ["encoder.bidirectional=false"]
QUICK = ("-std=c99", "-O1", "-ffp-contract=fast")


def text_artifact(overrides: Sequence[str]) -> Artifact:
    """A model of texts whose norms, biases and wide path are not trivial."""
    hidden = [] if "encoder.kind=bag" in overrides else ["encoder.hidden_size=5"]
    wide = [] if any(each.startswith("wide") for each in overrides) else ["wide=off"]
    settings = ["embedding.size=6", "wide.buckets=4096", *wide, *hidden, *overrides]
    recipe = read_recipe("default", settings if not wide else settings[:1] + settings[2:])
    assert recipe.text is not None
    front_end = TextFrontEnd.train(lambda: TRAINING, recipe.text, recipe.ngrams_of(tokens_of(recipe)))
    weights = moved_weights(recipe, facts_for(front_end))
    weights |= apart(recipe, front_end)
    facts = derive(recipe, facts_for(front_end))
    return Artifact(recipe, facts, front_end, LABELS, weights, 1.7, {}, "f" * 64)


def tokens_of(recipe: Recipe) -> str:
    assert recipe.text is not None
    return "words" if recipe.text.tokens == "auto" else recipe.text.tokens


def moved_weights(recipe: Recipe, facts: DataFacts) -> dict[str, FloatArray]:
    model = away_from_its_start(recipe, facts)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if "weight_" in name or name == "head.weight":
                value.mul_(3)
            if name == "embedding.tokens.weight":
                value[4::5] = 0  # as compression leaves rare words
            if name == "embedding.ngrams.weight":
                value[::2] = 0
    return {name: value.numpy() for name, value in model.state_dict().items()}


def apart(recipe: Recipe, front_end: TextFrontEnd) -> dict[str, FloatArray]:
    """A wide path that learned apart knows most n-grams of the training texts."""
    if recipe.wide_apart is None:
        return {}
    types = front_end.new_types()
    encoded = front_end.encode(TRAINING, types)
    layout = pack_layout(encoded.lengths)
    found = wide_ngrams(types.distinct(encoded.tokens[layout.rows]), layout.batch_sizes, recipe.wide_apart)
    rows = np.unique(np.concatenate([bag.ids for bag in found]))[1:].astype(np.int32)
    draw = np.random.default_rng(0)
    return {
        "wide.rows": rows,
        "wide.rarity": draw.choice([1.0, 1.3, 2.5], len(rows)).astype(np.float32),
        "wide.weights.weight": draw.normal(0, 2, (len(rows), len(LABELS))).astype(np.float32),
        "wide.bias": draw.normal(0, 1, len(LABELS)).astype(np.float32),
    }


def series_artifact(overrides: Sequence[str]) -> Artifact:
    """A model of series of two channels, one of which lacks values."""
    hidden = [] if "encoder.kind=bag" in overrides else ["encoder.hidden_size=5"]
    stem = [] if any(each.startswith("stem") for each in overrides) else ["stem=off"]
    recipe = read_recipe("series", [*stem, "series.changes=false", "series.size=off", *hidden, *overrides])
    assert recipe.series is not None
    lengths = np.array([4, 9, 1, 7])
    values = np.random.default_rng(0).normal(3, 2, (lengths.sum(), 2)).astype(np.float32)
    values[[2, 3, 11], [0, 0, 0]] = np.nan
    front_end, _ = SeriesFrontEnd.fit(values, lengths, ("a", "b"), recipe.series)
    inputs = SeriesFacts(channels=front_end.channels, num_features=front_end.num_features)
    facts = small_facts(inputs=inputs)
    weights = moved_weights(recipe, facts)
    return Artifact(recipe, derive(recipe, facts), front_end, LABELS, weights, 0.8, {}, "f" * 64)


def exported(artifact: Artifact, folder: Path, **options: object) -> CExport:
    return write_c(portable(artifact, "a test"), folder, **options)  # type: ignore[arg-type]


def some_texts(lengths: Sequence[int] = (1, 2, 3, 5, 8, 13, 40, 300)) -> list[str]:
    """Texts of so many words, known and unknown ones."""
    draw = np.random.default_rng(1)
    everything = KNOWN * 3 + UNKNOWN
    texts = [" ".join(draw.choice(everything, length)) for length in lengths]
    return [*texts, *(f" {word}\t" for word in UNKNOWN if word.strip()), "".join(draw.choice(everything, 30))]


def some_series(num_channels: int = 2) -> list[FloatArray]:
    draw = np.random.default_rng(1)
    series = [
        draw.normal(3, 2, (length, num_channels)).astype(np.float32) for length in (1, 2, 3, 7, 50, 300)
    ]
    for steps in series[2:]:
        steps[draw.random(steps.shape) < 0.2] = np.nan
    series[3][:, 0] = 100.25  # a channel that is constant in this series
    series[4] += 1000
    return series


class Streamed:
    """The C interface itself."""

    def __init__(self, export: CExport) -> None:
        self.library = CModel(export, QUICK).library
        self._num_classes = len(export.labels)
        self._state = (ctypes.c_uint32 * (export.state_bytes // 4))()
        self.library.grunlock_init(self._state)

    def step(self, piece: bytes) -> None:
        self.library.grunlock_step_text(self._state, piece, ctypes.c_size_t(len(piece)))

    def step_values(self, values: FloatArray) -> None:
        self.library.grunlock_step_values(self._state, values.ctypes.data_as(ctypes.c_void_p))

    def finish(self, pieces: list[bytes]) -> FloatArray:
        for piece in pieces:
            self.step(piece)
        return self.end()[1]

    def end(self) -> tuple[int, FloatArray]:
        return self._asked(self.library.grunlock_finish)

    def peek(self) -> tuple[int, FloatArray]:
        return self._asked(self.library.grunlock_peek)

    def _asked(self, function: Callable[..., int]) -> tuple[int, FloatArray]:
        result = np.full(self._num_classes, np.nan, np.float32)
        return function(self._state, result.ctypes.data_as(ctypes.c_void_p)), result
