"""How measurements look on a terminal. The figures are those of grunlock.benchmark.results."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from grunlock.benchmark.measure import Entry, Measurement
from grunlock.benchmark.ratios import Summary
from grunlock.benchmark.results import Figures, figures

MIN_LABEL_WIDTH = 27
TITLES = {
    "forward": "forward, float32",
    "training": "training, float32: gradients for weights and input",
    "state-dropout": "training with state dropout",
    "regularizers": "training: what each regulariser costs",
    "bfloat16": "bfloat16 beside our own float32",
    "lengths": "real lengths",
    "latency": "latency of one sequence, one thread",
    "memory": "how far a training step raises the resident size",
    "beside-torch": "torch's own steps beside our kernel",
    "grid": "torch.nn.GRU's time over ours",
}


def show_group(measurements: Sequence[Measurement], console: Console) -> None:
    """One table for the comparisons of a group; for the grid one per mode."""
    if not measurements:
        return
    if measurements[0].comparison.group == "grid":
        _show_grid(measurements, console)
        return
    console.print(TITLES[measurements[0].comparison.group], style="bold", highlight=False)
    console.print(_group_table(measurements))
    notes = dict.fromkeys(
        f"{e.contender.label}: {e.status}, {e.reason}"
        for m in measurements
        for e in m.entries
        if e.reason is not None and e.status != "not installed"
    )
    for note in notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)


def _group_table(measurements: Sequence[Measurement]) -> Table:
    """A section per comparison, headed by its case, without peers that are not installed (the command lists
    them once) and without columns that would be empty."""
    comparison = measurements[0].comparison
    unit = "MB" if comparison.quantity == "bytes" else "ms"
    headings = ("", unit, "GF/s", "ratio", "quartiles", "of mm")
    sections = [
        [(e.contender.label, *_cells(e, m)) for e in m.entries if e.status != "not installed"]
        for m in measurements
    ]
    used = [i for i in range(len(headings)) if i < 2 or any(row[i] for rows in sections for row in rows)]
    table = Table()
    for i in used:
        table.add_column(
            headings[i],
            justify="right" if i else "left",
            no_wrap=i > 0,
            min_width=0 if i else MIN_LABEL_WIDTH,
        )
    for measurement, rows in zip(measurements, sections, strict=True):
        table.add_section()
        table.add_row(Text(str(measurement.comparison.case), style="bold"))
        for row in rows:
            table.add_row(*(row[i] for i in used))
    return table


def one_line(measurement: Measurement) -> str:
    """The comparison in short, for logs."""
    shown = []
    for entry in measurement.entries:
        of = figures(entry, measurement)
        shown.append(f"{entry.contender.label} {_ratio(of) or entry.status}")
    return f"{measurement.comparison.group}: {measurement.comparison.case}: {', '.join(shown)}"


def _cells(entry: Entry, measurement: Measurement) -> tuple[str, ...]:
    of = figures(entry, measurement)
    if of.median is None:
        return (entry.status, "", "", "", "")
    unit = 1e-6 if measurement.comparison.quantity == "bytes" else 1e3
    amount = of.median * unit
    return (
        f"{amount:.4g}" if amount < 1000 else f"{amount:,.0f}",
        "" if of.gflops is None else f"{of.gflops:.1f}",
        "1" if entry is measurement.subject else _ratio(of),
        _quartiles(of.ratio),
        "" if of.share_of_mm is None else f"{of.share_of_mm.median:.2f}",
    )


def _ratio(of: Figures) -> str:
    return "" if of.ratio is None else f"{of.ratio.median:.2f}"


def _quartiles(summary: Summary | None) -> str:
    return "" if summary is None else f"{summary.low:.2f} to {summary.high:.2f}"


def _show_grid(measurements: Sequence[Measurement], console: Console) -> None:
    for mode in dict.fromkeys(m.comparison.case.mode for m in measurements):
        cells = [m for m in measurements if m.comparison.case.mode == mode]
        sizes = list(dict.fromkeys(m.comparison.case.hidden_size for m in cells))
        console.print(f"{TITLES['grid']}, {mode}", style="bold", highlight=False)
        table = Table()
        for heading in ("B", "T", *(f"D=H={size}" for size in sizes)):
            table.add_column(heading, justify="right")
        rows = dict.fromkeys((m.comparison.case.batch_size, m.comparison.case.num_steps) for m in cells)
        for B, T in sorted(rows):
            found = {m.comparison.case.hidden_size: _grid_cell(m) for m in cells if _place(m) == (B, T)}
            table.add_row(str(B), str(T), *(found.get(size, "") for size in sizes))
        console.print(table)
    _show_losses(measurements, console)


def _place(measurement: Measurement) -> tuple[int, int]:
    return measurement.comparison.case.batch_size, measurement.comparison.case.num_steps


def _grid_cell(measurement: Measurement) -> str:
    peer = measurement.entries[1]
    status = next((e.status for e in measurement.entries if e.status != "measured"), "")
    return _ratio(figures(peer, measurement)) or status


def _show_losses(measurements: Sequence[Measurement], console: Console) -> None:
    """Every cell where ours took longer, with its spread."""
    ratios = {str(m.comparison.case): figures(m.entries[1], m).ratio for m in measurements}
    known = {case: ratio for case, ratio in ratios.items() if ratio is not None}
    losses = {case: ratio for case, ratio in known.items() if ratio.median < 1}
    console.print(f"slower than torch.nn.GRU in {len(losses)} of {len(known)} cells", highlight=False)
    for case, ratio in sorted(losses.items(), key=lambda item: item[1].median):
        console.print(f"  {case}: {ratio.median:.2f} ({_quartiles(ratio)})", highlight=False, soft_wrap=True)
