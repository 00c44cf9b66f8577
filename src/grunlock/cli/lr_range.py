"""grunlock lr-range"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from grunlock.cli.options import Overrides

if TYPE_CHECKING:
    from grunlock.tuning.lr_range import LrRange

console = Console()
SHOWN_ROWS = 16
BAR = 40


def lr_range_command(
    data: Annotated[str, typer.Argument(help="As for train.")],
    recipe: Annotated[
        str, typer.Option("--recipe", "-r", help="A built-in recipe, a TOML file or a run folder.")
    ] = "default",
    overrides: Overrides = None,
    low: Annotated[float, typer.Option(help="The first rate.")] = 1e-5,
    high: Annotated[float, typer.Option(help="The last rate.")] = 1.0,
    steps: Annotated[int, typer.Option(help="Optimiser steps from one to the other.")] = 200,
    json_path: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write rates and losses here.")
    ] = None,
) -> None:
    """Train a little with a learning rate that only rises: where does it learn, where does it break?"""
    from grunlock.files import write_atomically
    from grunlock.recipe import read_recipe
    from grunlock.tuning.lr_range import lr_range

    chosen = read_recipe(recipe, overrides or ())
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("rising", total=steps)
        found = lr_range(
            data,
            chosen,
            low=low,
            high=high,
            num_steps=steps,
            progress=lambda done, of: bar.update(task, completed=done),
        )
    if json_path is not None:
        write_atomically(json_path, json.dumps(asdict(found), indent=1).replace("NaN", "null") + "\n")
    console.print(_table(found))
    if found.diverged is not None:
        console.print(f"breaks    at {found.diverged:.2g}", highlight=False)
    first, last = found.suggested
    console.print(
        f"search    --set 'optim.lr={{low={first:.1e}, high={last:.1e}, log=true}}'",
        highlight=False,
        markup=False,
    )


def _table(found: "LrRange") -> Table:
    table = Table(title="smoothed training loss")
    table.add_column("rate", justify="right")
    table.add_column("loss", justify="right")
    table.add_column("")
    low, high = min(found.smoothed), max(found.smoothed)
    step = max(1, len(found.lrs) // SHOWN_ROWS)
    for i in range(step - 1, len(found.lrs), step):
        share = (found.smoothed[i] - low) / (high - low) if high > low else 0.0
        table.add_row(f"{found.lrs[i]:.1e}", f"{found.smoothed[i]:.3f}", "█" * round(BAR * share))
    return table
