"""Reading what workflows have written, with our words for files that are not as they were written."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from grunlock.comparison.verdict import Verdict
from grunlock.errors import GrunlockError, ReportError


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """What parsing a file of results raises becomes a ReportError that names the file."""
    try:
        yield
    except GrunlockError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ReportError(
            "A file of results cannot be read.",
            where=path,
            got=f"{type(error).__name__}: {error}",
            expected="as the command wrote it",
            cure="restore it from a copy, or run the command again: what is finished is not done again",
        ) from error


def read_results(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """A JSON object with at least these names. Raises ReportError."""
    with reading(path):
        found = dict(json.loads(path.read_bytes()))
        missing = [name for name in names if name not in found]
        if missing:
            raise LookupError(f"without {', '.join(missing)}")
    return found


def read_verdict(plain: dict[str, Any]) -> Verdict:
    """From its fields as JSON has them, perhaps with others beside them."""
    fields = {name: plain[name] for name in Verdict.__dataclass_fields__}
    return Verdict(**{**fields, "num_seeds": tuple(plain["num_seeds"])})
