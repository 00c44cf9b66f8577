"""grunlock: gated recurrent classifiers, unlocked.

    grunlock.load(path)            a trained classifier; needs no torch
    grunlock.GRUClassifier         a recipe as a scikit-learn estimator
    grunlock.layers.GRU            a drop-in for torch.nn.GRU
    grunlock.train, .resume        a whole run into a folder
    grunlock.read_recipe           recipes from names, files and overrides

Importing this package is fast and imports no torch: names are loaded when first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from grunlock._version import __version__
from grunlock.errors import missing_library

if TYPE_CHECKING:
    from grunlock import errors, layers
    from grunlock.artifact import load
    from grunlock.estimator import GRUClassifier
    from grunlock.recipe import Recipe, read_recipe
    from grunlock.runtime.classifier import TextClassifier
    from grunlock.runtime.series_classifier import SeriesClassifier
    from grunlock.runtime.streaming import Stream
    from grunlock.training.run import RunResult, resume, train

__all__ = [
    "GRUClassifier",
    "Recipe",
    "RunResult",
    "SeriesClassifier",
    "Stream",
    "TextClassifier",
    "__version__",
    "errors",
    "layers",
    "load",
    "read_recipe",
    "resume",
    "train",
]

_HOME = {
    "GRUClassifier": "grunlock.estimator",
    "Recipe": "grunlock.recipe",
    "RunResult": "grunlock.training.run",
    "SeriesClassifier": "grunlock.runtime.series_classifier",
    "Stream": "grunlock.runtime.streaming",
    "TextClassifier": "grunlock.runtime.classifier",
    "load": "grunlock.artifact",
    "read_recipe": "grunlock.recipe",
    "resume": "grunlock.training.run",
    "train": "grunlock.training.run",
}
_MODULES = {"errors", "layers"}


def __getattr__(name: str) -> Any:
    try:
        if name in _HOME:
            return getattr(import_module(_HOME[name]), name)
        if name in _MODULES:
            return import_module(f"grunlock.{name}")
    except ModuleNotFoundError as error:
        raise missing_library(error) or error from error
    raise AttributeError(f"module 'grunlock' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
