"""What is compared: data sets with their budgets, encoders as overrides of a recipe, and one task of it.

Nothing is tuned, neither per encoder nor per set: an encoder is the base recipe with that encoder in it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"

Stage = Literal["pace", "train", "latency"]


@dataclass(frozen=True)
class DataSet:
    """A set and how long each encoder may learn it.

    source: a folder with train and test files, or an .npz file of series.
    base: the built-in recipe that encoders are put into.
    """

    name: str
    source: Path
    base: str
    budget_seconds: float
    max_epochs: int

    @property
    def is_series(self) -> bool:
        return self.source.suffix == ".npz"


def _text(name: str, budget_seconds: float) -> DataSet:
    return DataSet(name, SHARED / "data" / name, "default", budget_seconds, max_epochs=30)


def _series(name: str) -> DataSet:
    return DataSet(name, SHARED / "series" / f"{name}.npz", "series", 40.0, max_epochs=300)


SETS = {
    data_set.name: data_set
    for data_set in (
        _text("trec6", 40.0),
        _text("sst2", 60.0),
        _text("thucnews_titles_45k", 150.0),
        _text("imdb", 300.0),
        _series("fsdd_logmel"),
        _series("JapaneseVowels"),
        _series("SwedishLeaf"),
        _series("Adiac"),
        _series("SyntheticControl"),
    )
}


SUBJECT = "gru"  # what the others are compared with
NETWORKS: dict[str, tuple[str, ...]] = {
    SUBJECT: ("encoder.kind=gru",),
    "lstm": ("encoder.kind=lstm",),
    "mingru": ("encoder.kind=mingru",),
    "minlstm": ("encoder.kind=minlstm",),
    "qrnn": ("encoder.kind=qrnn",),
    "conv": ("encoder.kind=conv",),
    "transformer": ("encoder.kind=transformer",),
    "bag": ("encoder.kind=bag",),
    "gru+attention": ("encoder.kind=gru", "attention={}"),
    "gru+stem": ("encoder.kind=gru", "stem={}"),
    "gru+wide": ("encoder.kind=gru", 'wide={training="together", characters=false}'),
    "gru+multi_attention": ("encoder.kind=gru", 'pooling.parts=["multi_attention"]'),
}
# The linear model of the recipe `default` would hide what the encoders have over each other. Of two settings
# of the same option the later one counts.
ENCODERS = {name: ("wide=off", *settings) for name, settings in NETWORKS.items()}
TEXT_ONLY = ("gru+wide",)  # hashes tokens
WITH_STEM = "gru+stem"  # of series that of their recipe, which every other encoder goes without


@dataclass(frozen=True)
class Task:
    """What one worker process does. epochs: None where they are not known yet, in the stage pace."""

    stage: Stage
    data_set: DataSet
    encoder: str
    seed: int = 0
    epochs: int | None = None

    @property
    def name(self) -> str:
        """Also of its file."""
        name = f"{self.data_set.name}.{self.encoder}"
        return f"{name}.{self.seed}" if self.stage == "train" else name

    @property
    def overrides(self) -> list[str]:
        epochs = 1 if self.epochs is None else self.epochs
        plain = ["stem=off"] if self.data_set.is_series and self.encoder != WITH_STEM else []
        training = [f"training.epochs={epochs}", "training.refit=false"]
        return [*plain, *ENCODERS[self.encoder], f"seed={self.seed}", *training]

    def settings(self) -> dict[str, Any]:
        """What a result depends on besides code and machine, plain as in JSON."""
        return {"set": self.data_set.name, "base": self.data_set.base, "overrides": self.overrides}


def pairs(sets: Sequence[DataSet], encoders: Sequence[str]) -> list[tuple[DataSet, str]]:
    """Those that go together."""
    return [(s, e) for s in sets for e in encoders if not (s.is_series and e in TEXT_ONLY)]


def epochs_within(budget_seconds: float, seconds_per_epoch: float, max_epochs: int) -> int:
    """Whole epochs that fit the budget: at least one, even if that takes longer, and at most max_epochs."""
    return max(1, min(max_epochs, math.floor(budget_seconds / seconds_per_epoch)))
