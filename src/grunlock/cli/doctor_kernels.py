"""grunlock doctor --kernels"""

from typing import Any

from rich.console import Console
from rich.table import Table


def kernel_report() -> dict[str, Any]:
    """Kernel, threads and library in use, with reasons. Raises what native_library() raises."""
    from grunlock.kernels.library import LIBRARY_PATH, REFERENCE, REINSTALL, kernel_choice, load_library

    choice = kernel_choice()
    library = choice.library
    if library is None and LIBRARY_PATH.is_file():
        library = load_library(LIBRARY_PATH)  # there, though not used
    kernel = REFERENCE if choice.library is None else choice.library.kernel
    return {
        "kernel": kernel,
        "why": choice.why,
        "cure": REINSTALL if choice.missing else None,
        "threads": None if choice.library is None else choice.library.num_threads,
        "threads_why": None if choice.threads is None else choice.threads.why,
        "library": None if library is None else str(library.path),
        "compiler": None if library is None else library.compiler,
        "kernels": [
            {"name": REFERENCE, "compiled": None, "supported": None, "used": kernel == REFERENCE},
            *(
                {"name": s.name, "compiled": s.compiled, "supported": s.supported, "used": s.name == kernel}
                for s in (() if library is None else library.instruction_sets)
            ),
        ],
    }


def show_kernels(report: dict[str, Any], console: Console) -> None:
    """The report as a table and a few lines."""
    table = Table(title="kernels")
    for heading in ("name", "compiled", "this CPU has it", "used"):
        table.add_column(heading)
    words = {True: "yes", False: "no", None: ""}
    for row in report["kernels"]:
        cells = (row["name"], words[row["compiled"]], words[row["supported"]], "yes" if row["used"] else "")
        table.add_row(*cells)
    console.print(table)
    lines = {
        "kernel": f"{report['kernel']}: {report['why']}",
        "cure": report["cure"],
        "threads": f"{report['threads']}: {report['threads_why']}" if report["threads"] else None,
        "library": report["library"],
        "compiler": report["compiler"],
    }
    for name, value in lines.items():
        if value is not None:
            console.print(f"{name:<9}{value}", soft_wrap=True, highlight=False)
