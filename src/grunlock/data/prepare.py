"""From labelled examples to stores in a folder: texts and series by the same call."""

from collections.abc import Sequence
from pathlib import Path

from grunlock.data.checks import Progress
from grunlock.data.prepared import Known, PreparedData
from grunlock.data.series.prepare import gather_series, prepare_series
from grunlock.data.series.series_set import SeriesSet
from grunlock.data.sources import InMemory, PathLike
from grunlock.data.teacher import TeacherAnswers
from grunlock.data.texts import gather_texts, prepare_texts
from grunlock.recipe.schema import Recipe
from grunlock.recipe.series_options import SeriesDataOptions

Examples = PathLike | Sequence[PathLike] | InMemory | SeriesSet


def prepare(
    source: Examples,
    recipe: Recipe,
    folder: str | Path,
    *,
    valid: Examples | None = None,
    test: Examples | None = None,
    progress: Progress | None = None,
    known: Known | None = None,
    teacher: TeacherAnswers | None = None,
) -> PreparedData:
    """Check, split and store examples in `folder`, as the recipe's kind of data asks.

    Given files are splits as they are. Else valid and test are cut from train, only valid if test is given.

    progress: called with what is being done and the rows done so far.
    known: of a model that is to be continued.
    teacher: its answers to all training texts, kept beside them.

    Raises DataError for whatever is wrong with the data, StorageError for a full disk; nothing is left in
    the folder then.
    """
    folder, options = Path(folder), recipe.data
    if isinstance(options, SeriesDataOptions):
        series = gather_series(source, valid, test, options)
        return prepare_series(series, recipe, folder, known, progress)
    return prepare_texts(gather_texts(source, valid, test, options), recipe, folder, known, progress, teacher)
