"""grunlock audit"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from grunlock.errors import RunInterruptedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from grunlock.audit import AuditReport, Example, Finding, Row

MAX_CLASSES = 20  # rows of the table of classes, the rarest beyond it are left to --json
STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}
FINDINGS_SHOWN = 5


def audit_command(
    data: Annotated[
        str,
        typer.Argument(
            help="CSV, TSV, JSONL or Parquet file of labelled texts, a folder of them, or a pattern."
        ),
    ],
    valid: Annotated[str | None, typer.Option(help="Validation file, if apart.")] = None,
    test: Annotated[str | None, typer.Option(help="Test file, if apart.")] = None,
    recipe: Annotated[
        str, typer.Option("--recipe", "-r", help="Whose reading and token limit are meant.")
    ] = "default",
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="How to read, such as data.text_column=review; may be repeated.",
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out label errors by cross-validation.")
    ] = False,
    similarity: Annotated[
        float, typer.Option(help="Jaccard similarity from which two texts are near-duplicates.")
    ] = 0.8,
    examples: Annotated[int, typer.Option(min=0, help="Example rows shown per finding.")] = FINDINGS_SHOWN,
    json_path: Annotated[
        Path | None,
        typer.Option("--json", help="Write everything there as well, with up to 100 examples each."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of folds and samples.")] = 0,
    fail_on: Annotated[
        Literal["error", "warning"] | None,
        typer.Option(help="Exit code 1 if there is a finding as grave as this, for scripts."),
    ] = None,
) -> None:
    """Find what is wrong with labelled texts before training: copies, leaks, wrong labels."""
    from grunlock.audit import AuditOptions, audit
    from grunlock.files import write_atomically
    from grunlock.recipe import read_recipe

    chosen = read_recipe(recipe, overrides or [])
    options = AuditOptions(not quick, similarity, max(100, examples), seed)
    console = Console(markup=False, highlight=False)
    try:
        with _progress() as progress:
            report = audit(data, valid=valid, test=test, recipe=chosen, options=options, progress=progress)
    except KeyboardInterrupt:
        raise RunInterruptedError("Stopped by the user. Nothing was written.", where=data) from None
    show_report(report, console, examples)
    if json_path is not None:
        write_atomically(json_path, json.dumps(report.to_dict(), ensure_ascii=False, indent=1))
        console.print(f"written   {json_path}", soft_wrap=True)
    if fail_on is not None and report.has(fail_on):
        raise typer.Exit(1)


def show_report(report: "AuditReport", console: Console, examples: int) -> None:
    """How the data were read, their splits and classes, and what is wrong with them."""
    for note in report.notes:
        console.print(note, style="dim", soft_wrap=True)
    console.print(_split_table(report))
    console.print(_class_table(report))
    for finding in report.findings:
        _show_finding(finding, console, examples)
    counts = {severity: sum(f.severity == severity for f in report.findings) for severity in STYLES}
    summary = ", ".join(f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items() if count)
    console.print(f"found     {summary or 'nothing to complain about'}")


def _split_table(report: "AuditReport") -> Table:
    table = Table(title="splits")
    for heading in ("split", "rows", "tokens: median", "p95", "max", "characters: median", "p95", "max"):
        table.add_column(heading, justify="left" if heading == "split" else "right")
    for split, size in report.sizes.items():
        lengths = report.facts["lengths"][split]
        cells = [
            f"{lengths[of][name]:,}" for of in ("tokens", "characters") for name in ("median", "p95", "max")
        ]
        table.add_row(split, f"{size:,}", *cells)
    return table


def _class_table(report: "AuditReport") -> Table:
    """Classes by size in train, the largest first."""
    splits = list(report.sizes)
    ordered = sorted(report.counts.items(), key=lambda item: -item[1][splits[0]])
    left = len(ordered) - MAX_CLASSES
    table = Table(title="classes", caption=f"and {left} smaller ones" if left > 0 else None)
    table.add_column("label")
    for split in splits:
        table.add_column(split, justify="right")
        table.add_column("share", justify="right")
    for label, counts in ordered[:MAX_CLASSES]:
        cells = [(f"{counts[split]:,}", f"{counts[split] / report.sizes[split]:.1%}") for split in splits]
        table.add_row(Text(label), *(cell for pair in cells for cell in pair))
    return table


def _show_finding(finding: "Finding", console: Console, examples: int) -> None:
    head = Text(f"{finding.severity:<9} ", style=STYLES[finding.severity])
    console.print(head.append(finding.message, style="default"), soft_wrap=True)
    console.print(f"          {finding.check}; cure: {finding.cure}", style="dim", soft_wrap=True)
    for example in finding.examples[:examples]:
        _show_example(example, console)
    if examples and finding.examples[examples:]:
        console.print("          ...")


def _show_example(example: "Example", console: Console) -> None:
    if not example.rows:
        console.print(f"          {example.note}", soft_wrap=True)
    for i, row in enumerate(example.rows):
        note = f"  [{example.note}]" if example.note and i == 0 else ""
        mark = "-" if i == 0 else " "
        line = f"        {mark} {_place(row)}  {row.label or 'no label'}{note}  {row.text}"
        console.print(line, no_wrap=True, overflow="ellipsis", crop=True)


def _place(row: "Row") -> str:
    """The file's name, with the split where the name does not say it."""
    name = Path(row.place).name
    return f"{name if row.split in name else f'{row.split} {name}'} row {row.number}"


@contextmanager
def _progress() -> "Iterator[Callable[[str, int], None]]":
    """A line that says what is being done; on standard error, and only on a terminal."""
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda doing, done: bar.update(task, description=f"{doing} {done:,}" if done else doing)
