"""A run that is kept in a storage: whether one may begin or go on there."""

from pathlib import Path

from grunlock.errors import RunError
from grunlock.scale.storage import Storage
from grunlock.training.run_folder import RunFolder

ABOUT = RunFolder(Path()).about.name  # without this file there is no run


def check_no_run(storage: Storage, overwrite: bool) -> None:
    """Raises RunError if a run, or anything else, is there."""
    names = storage.names()
    if names and not (overwrite and ABOUT in names):
        raise RunError(
            "The run folder is not empty.",
            where=storage.root,
            got=", ".join(names[:3]),
            expected="a place with nothing in it" + (", or a run to replace" if overwrite else ""),
            cure=f"choose another with -o, continue with --resume {storage.root}"
            + ("" if overwrite else ", or pass --overwrite"),
        )


def check_run(storage: Storage) -> None:
    """Raises RunError if there is no run to go on with."""
    if storage.read(ABOUT) is None:
        raise RunError(
            "There is no run to resume here.",
            where=storage.root,
            expected="a place with run.json and recipe.toml",
            cure="give the place that -o named when the run was started",
        )
