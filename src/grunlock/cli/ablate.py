"""grunlock ablate"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from grunlock.cli.crews import hands
from grunlock.cli.duel import source_of
from grunlock.cli.options import (
    ClusterAddress,
    Overrides,
    SharedStorage,
    TrialCpus,
    TrialGpus,
    usual_recipes,
)

if TYPE_CHECKING:
    from grunlock.comparison.ablation import AblationResult, Bought
    from grunlock.comparison.runs import SeedRun

console = Console()


def ablate_command(
    data: Annotated[str, typer.Argument(help="As for train.")],
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            "-r",
            help="The recipe whose tricks are measured; if not given default, for .npz and .ts series.",
        ),
    ] = None,
    overrides: Overrides = None,
    plain: Annotated[
        str | None, typer.Option(help="The recipe that has none of them; if not given seed or seed_series.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder; else ablations/DATA-RECIPE. Goes on if stopped."),
    ] = None,
    valid: Annotated[str | None, typer.Option(help="Validation file, if apart.")] = None,
    test: Annotated[str | None, typer.Option(help="Test file, if apart.")] = None,
    seeds: Annotated[int, typer.Option(min=2, help="Trainings of each recipe.")] = 5,
    on: Annotated[str, typer.Option(help="The split that decides: valid or test.")] = "valid",
    only_out: Annotated[
        bool, typer.Option("--only-out", help="Do not put tricks into the plain recipe: half the time.")
    ] = False,
    cluster: ClusterAddress = None,
    trial_cpus: TrialCpus = None,
    trial_gpus: TrialGpus = None,
    shared: SharedStorage = None,
) -> None:
    """Which trick bought what: each taken out of a recipe, and each alone put into a plain one."""
    from grunlock.comparison.ablation import ablate
    from grunlock.recipe import read_recipe

    usual = usual_recipes(data)
    full, least = read_recipe(recipe or usual[0], overrides or ()), read_recipe(plain or usual[1])
    base = re.sub(r"[^\w.-]+", "-", Path(data).name or Path(data).parent.name)
    folder = output or Path("ablations") / f"{base}-{full.name}"

    def tell(name: str, run: "SeedRun") -> None:
        console.print(f"{name}  seed {run.seed}  {run.accuracy:.4f}  {run.seconds:.0f} s", highlight=False)

    source = source_of(data, valid, test, on)
    with hands(cluster, trial_cpus, trial_gpus, shared, folder=folder) as found:
        result = ablate(
            source,
            full,
            least,
            folder,
            range(seeds),
            put_in=not only_out,
            runner=found.runner,
            listen=tell,
        )
    show_ablation(result)
    console.print(f"numbers   {folder / 'ablation.json'}", highlight=False, markup=False, soft_wrap=True)


def show_ablation(result: "AblationResult") -> None:
    """A row a trick, sorted by what it brought to the full recipe."""
    table = Table(title=f"points of accuracy on {result.on}, {len(result.seeds)} seeds, 95 % intervals")
    for name in ("trick", "in the full recipe", "alone in the plain one", "seconds", "KB"):
        table.add_column(name, justify="left" if name == "trick" else "right")
    alone = {each.trick: each for each in result.put_in}
    for out in sorted(result.taken_out, key=lambda each: -each.difference):
        other = alone.get(out.trick)
        table.add_row(
            out.trick,
            _points(out),
            "" if other is None else _points(other),
            f"{out.seconds:+.1f}",
            f"{out.size / 1000:+,.0f}",
        )
    console.print(table)
    console.print(
        f"full {100 * result.full.accuracy:.2f}, plain {100 * result.plain.accuracy:.2f}; "
        "* shown at 5 %, corrected over all tricks of its column",
        highlight=False,
    )
    for each in (*result.taken_out, *result.put_in):
        if each.error is not None:
            console.print(f"[red]{each.trick}:[/red] {each.error}", highlight=False, soft_wrap=True)


def _points(each: "Bought") -> str:
    if each.error is not None:
        return "failed"
    mark = " *" if each.shown else "  "
    return f"{100 * each.difference:+.2f} ({100 * each.low:+.2f} to {100 * each.high:+.2f}){mark}"
