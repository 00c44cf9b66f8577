"""Which answers of a duel were right, kept beside its verdicts so that any two can be compared."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from grunlock.comparison.verdict import Comparison, Verdict, verdicts
from grunlock.data.npz_files import NPZ_ERRORS, check_npz
from grunlock.errors import StudyError
from grunlock.files import atomic_file

ANSWERS = "answers.npz"
Right = NDArray[np.bool_]


def write_answers(folder: Path, right: Mapping[str, Right]) -> None:
    """right: [S, n] by contender. Raises StorageError."""
    names = list(right)
    with atomic_file(folder / ANSWERS) as file:  # members by number: a name may hold what a path may not
        arrays = {f"right_{i}": right[name] for i, name in enumerate(names)}
        np.savez_compressed(file, names=np.array(names), **arrays)  # type: ignore[arg-type]


def read_answers(folder: Path) -> dict[str, Right] | None:
    """[S, n] by contender, in their order; None for a duel that kept none. Raises StudyError."""
    path = folder / ANSWERS
    if not path.is_file():
        return None
    try:
        check_npz(path)
        with np.load(path, allow_pickle=False) as arrays:
            return {str(name): arrays[f"right_{i}"] for i, name in enumerate(arrays["names"])}
    except NPZ_ERRORS as error:
        raise StudyError(
            "The answers of the duel cannot be read.",
            where=path,
            got=error,
            cure="remove this file, or run the duel again in another folder",
        ) from error


def verdicts_on_all(right: Mapping[str, Right], names: Sequence[str]) -> tuple[Verdict, ...]:
    """Verdicts on every pair of the named contenders, one family corrected together: none for fewer than
    two."""
    pairs = [Comparison(a, b, right[a], right[b]) for a, b in combinations(names, 2)]
    return verdicts(pairs) if pairs else ()
