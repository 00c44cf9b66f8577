"""The report of one run."""

from pathlib import Path

from grunlock.report.about import about_section, command, models_section
from grunlock.report.curves import curves_section
from grunlock.report.evaluated import Evaluated, Split, evaluated
from grunlock.report.page import Page, Section
from grunlock.report.scores import score_sections, verdict_on
from grunlock.training.run_folder import RunFolder

UNFINISHED = "This run is not finished: what there is so far is shown. Go on with: "
LOOKED = "This is a look at the test split. Choose nothing by it: each look makes the next one worth less."


def run_page(folder: Path, split: Split) -> Page:
    """Raises what evaluated raises."""
    subject = "a training run"
    if not is_finished(folder):
        notice = UNFINISHED + command("grunlock", "train", "--resume", folder)
        return Page(folder.name, subject, (), notice, whole([curves_section(folder), about_section(folder)]))
    found = evaluated(folder, split)
    rest = [curves_section(folder), models_section(folder), about_section(folder)]
    remarks = ("No baseline stands in this folder: grunlock duel compares it with a linear model.",)
    sections = whole([*score_sections(found), *rest])
    return Page(folder.name, subject, verdict_on(found), notice_of(found), sections, remarks)


def is_finished(folder: Path) -> bool:
    run = RunFolder(folder)
    return run.metrics.is_file() and run.artifact.is_file()


def notice_of(found: Evaluated) -> str | None:
    return LOOKED if found.split == "test" else None


def whole(sections: list[Section | None]) -> tuple[Section, ...]:
    return tuple(each for each in sections if each is not None)
