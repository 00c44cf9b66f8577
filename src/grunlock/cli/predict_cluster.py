"""grunlock predict --cluster"""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

if TYPE_CHECKING:
    from grunlock.scale.predict.job import BatchRequest

console = Console(stderr=True)


def predict_on_cluster(address: str, request: "BatchRequest") -> None:
    """Score on the cluster, show how far it is, and say what was written."""
    from grunlock.scale import connected
    from grunlock.scale.predict.job import predict_on

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[rows]}"),
        TimeElapsedColumn(),
    )
    with connected(address) as cluster:
        console.print(Text(cluster.describe()))
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("starting workers", total=None, rows="")

            def show(parts: int, rows: int) -> None:
                bar.update(task, description=f"{parts:,} parts", rows=f"{rows:,} texts")

            result = predict_on(cluster, request, show)
    for path, reason in result.damaged:
        console.print(Text(f"left out, damaged: {path}: {reason.splitlines()[0]}"))
    kept = f", {result.kept:,} of them from before" if result.kept else ""
    console.print(Text(f"{result.rows:,} texts in {result.parts:,} parts{kept}: {request.output}"))
