"""What kind of result a folder holds."""

from pathlib import Path
from typing import Literal

from grunlock.errors import ReportError
from grunlock.training.run_folder import RunFolder
from grunlock.tuning.study import StudyFolder

Kind = Literal["run", "study", "duel", "ablation", "unlock"]
EXPECTED = "a folder that train, tune, duel, ablate or unlock has written"
MOST_SHOWN = 8  # names of what was found instead


def kind_of(folder: Path) -> Kind:
    """Raises ReportError for a folder that is none of these, and says what it holds."""
    if not folder.is_dir():
        raise ReportError(
            "There is no such folder.",
            where=folder,
            got="a file" if folder.exists() else "nothing",
            expected=EXPECTED,
            cure=_nearest(folder.parent),
        )
    found = _kind(folder)
    if found is not None:
        return found
    names = sorted(path.name for path in folder.iterdir())
    shown = ", ".join(names[:MOST_SHOWN]) + (", ..." if len(names) > MOST_SHOWN else "")
    raise ReportError(
        "There is nothing to report here.",
        where=folder,
        got=shown or "an empty folder",
        expected=EXPECTED,
        cure=_nearest(folder) or _nearest(folder.parent),
    )


def _kind(folder: Path) -> Kind | None:
    if (folder / "unlock.json").is_file():
        return "unlock"
    if StudyFolder(folder).settings.is_file():
        return "study"
    if (folder / "duel.json").is_file() or (folder / "contenders").is_dir():
        return "duel"
    if (folder / "ablation.json").is_file() or (folder / "recipes" / "full").is_dir():
        return "ablation"
    return "run" if RunFolder(folder).about.is_file() else None


def _nearest(folder: Path) -> str | None:
    """A folder in this one that a report can be made of."""
    if not folder.is_dir():
        return None
    found = [path for path in sorted(folder.iterdir()) if path.is_dir() and _kind(path) is not None]
    names = " or ".join(str(path) for path in found[:3])
    return f"did you mean {names}?" if found else None
