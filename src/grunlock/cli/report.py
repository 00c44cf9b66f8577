"""grunlock report"""

import difflib
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from grunlock.errors import ReportError

console = Console()
SPLITS: tuple[Literal["valid", "test"], ...] = ("valid", "test")


def report_command(
    folder: Annotated[
        Path, typer.Argument(help="What train, tune, duel, ablate or unlock has written: a run, a study, ...")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file; else report.html in the folder. Replaced."),
    ] = None,
    split: Annotated[
        str, typer.Option(help="Of which a model's scores and errors are shown: valid, or test on purpose.")
    ] = "valid",
) -> None:
    """Draw results as one HTML file that opens anywhere: verdict, curves, errors, search, recipe."""
    from grunlock.report import write_report

    with console.status("drawing"):
        found = write_report(folder, output, split=_split(split))
    for sentence in found.verdict:
        console.print(sentence, highlight=False, markup=False, soft_wrap=True)
    if found.notice is not None:
        console.print(found.notice, highlight=False, markup=False, soft_wrap=True, style="yellow")
    size = f"{found.num_bytes / 1e6:.1f} MB, one file"
    console.print(f"report    {found.path}  ({size})", highlight=False, markup=False, soft_wrap=True)


def _split(name: str) -> Literal["valid", "test"]:
    for each in SPLITS:
        if name == each:
            return each
    near = difflib.get_close_matches(name, ["validation", "dev", *SPLITS], n=1)
    meant = None if not near else "test" if near[0] == "test" else "valid"
    raise ReportError(
        "There is no such split to report.",
        where="--split",
        got=name,
        expected=" or ".join(SPLITS),
        cure=None if meant is None else f"did you mean --split {meant}?",
    )
