"""The one entry: a folder of results becomes a report."""

from dataclasses import dataclass
from pathlib import Path

from grunlock.errors import ReportError, missing_library
from grunlock.files import storage_guard, write_atomically
from grunlock.report.ablation import ablation_page
from grunlock.report.duel import duel_page
from grunlock.report.evaluated import SPLIT_NAMES, Split
from grunlock.report.folders import Kind, kind_of
from grunlock.report.page import Page
from grunlock.report.render import render
from grunlock.report.road import road_page
from grunlock.report.run import run_page
from grunlock.report.study import study_page

REPORT_NAME = "report.html"


@dataclass(frozen=True)
class Report:
    """What was written. verdict, remarks: its first sentences. num_bytes: of the file."""

    path: Path
    kind: Kind
    verdict: tuple[str, ...]
    remarks: tuple[str, ...]
    notice: str | None
    num_bytes: int


def write_report(folder: str | Path, output: str | Path | None = None, *, split: Split = "valid") -> Report:
    """Draw the results in a folder as one HTML file, which opens without a network.

    folder: what train, tune, duel, ablate or unlock has written
    output: the file, which is replaced if it is there; None: report.html in the folder
    split:  of which scores and errors of a model are shown; the test split only on purpose

    Raises ReportError for a folder without results and for a split that the results do not leave open,
    RunError for a split that a run does not have, StorageError if the file cannot be written,
    MissingDependencyError without jinja2 and Plotly, and what opening the results raises.
    """
    folder = Path(folder)
    kind = kind_of(folder)
    _check_split(kind, split, folder)
    path = folder / REPORT_NAME if output is None else Path(output)
    page = _page(kind, folder, split)
    try:
        text = render(page)
    except ModuleNotFoundError as error:
        raise missing_library(error) or error from error
    with storage_guard(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text)
    return Report(path, kind, page.verdict, page.remarks, page.notice, len(text.encode()))


def _page(kind: Kind, folder: Path, split: Split) -> Page:
    if kind == "run":
        return run_page(folder, split)
    if kind == "study":
        return study_page(folder, split)
    if kind == "unlock":
        return road_page(folder, split)
    return duel_page(folder) if kind == "duel" else ablation_page(folder)


def _check_split(kind: Kind, split: str, where: Path) -> None:
    if split not in SPLIT_NAMES:
        raise ReportError("There is no such split to report.", got=split, expected=" or ".join(SPLIT_NAMES))
    if split == "test" and kind in ("duel", "ablation"):
        raise ReportError(
            "On which split this was decided was settled when it was run.",
            where=where,
            got="--split test",
            cure=(
                f"run it again with --on test: grunlock {'duel' if kind == 'duel' else 'ablate'} ... "
                "--on test"
            ),
        )
