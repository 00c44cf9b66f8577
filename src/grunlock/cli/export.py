"""grunlock export"""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from grunlock.errors import ExportError

if TYPE_CHECKING:
    from grunlock.export.certificate import Certificate
    from grunlock.export.export import Target

console = Console()


class TargetName(StrEnum):
    onnx = "onnx"
    c = "c"
    web = "web"


class UnicodeName(StrEnum):
    full = "full"
    latin = "latin"
    ascii = "ascii"


def export_command(
    model: Annotated[Path, typer.Argument(help="A run folder, or a model file in one.")],
    to: Annotated[
        TargetName,
        typer.Option("--to", help="onnx: ONNX Runtime; c: C99 for devices; web: a page for browsers."),
    ],
    int8: Annotated[bool, typer.Option("--int8", help="Weights in a quarter of the bytes.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder; else MODEL-TARGET in the run folder.")
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="The run's data, if it is no longer where it was.")
    ] = None,
    max_steps: Annotated[
        int | None,
        typer.Option(min=1, help="c, web: tokens or steps of the longest input. [default: c 1000, web 5000]"),
    ] = None,
    unicode: Annotated[
        UnicodeName | None, typer.Option(help="c: characters that are read as in Python. [default: full]")
    ] = None,
    min_agreement: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Share of validation examples on which labels must agree. Default: 1, with --int8 0.98.",
        ),
    ] = None,
) -> None:
    """Write a model for another target, and certify there that it answers as before."""
    from grunlock.export.export import export

    target = _target(to, int8, max_steps, unicode)
    run, name = (model, "model") if model.is_dir() else (model.parent, model.stem)
    folder = output or run / f"{name}-{to.value}{'-int8' if int8 else ''}"
    with console.status("writing, then comparing on the validation examples"):
        found = export(
            model,
            folder,
            target,
            "int8" if int8 else "float32",
            source=data,
            least_agreement=min_agreement,
        )
    _show(found.folder, found.certificate)


def _target(to: TargetName, int8: bool, max_steps: int | None, unicode: UnicodeName | None) -> "Target":
    from grunlock.export.c import DEFAULT_STEPS
    from grunlock.export.c.target import CTarget
    from grunlock.export.onnx.target import OnnxTarget
    from grunlock.export.web import WEB_STEPS
    from grunlock.export.web.target import WebTarget

    _refuse_option("--unicode", unicode, to, [TargetName.c])
    _refuse_option("--max-steps", max_steps, to, [TargetName.c, TargetName.web])
    if to == TargetName.c:
        return CTarget(int8, max_steps or DEFAULT_STEPS, (unicode or UnicodeName.full).value)
    if to == TargetName.web:
        return WebTarget(int8, max_steps or WEB_STEPS)
    return OnnxTarget(int8)


def _refuse_option(name: str, value: object, to: TargetName, having: list[TargetName]) -> None:
    if value is not None and to not in having:
        raise ExportError(
            "This target has no such option.",
            where=name,
            got=f"--to {to.value}",
            expected=" or ".join(f"--to {target.value}" for target in having),
        )


def _show(folder: Path, found: "Certificate") -> None:
    learned = ", which the model has learned too" if found.has_learned_examples else ""
    for name, value in (
        ("export", folder),
        ("bytes", f"{found.size_bytes:,}"),
        ("labels", f"agree on {found.agreement:.2%} of {found.num_examples:,} validation examples{learned}"),
        ("largest", f"difference of a probability {found.largest_difference:.1e}"),
        ("accuracy", f"{found.accuracy:.4f}, through torch {found.accuracy_of_model:.4f}"),
        ("latency", f"{found.latency.p50:.2f} ms median, {found.latency.p99:.2f} ms 99th percentile, here"),
        ("torch", f"{found.latency_of_model.p50:.2f} ms median, {found.latency_of_model.p99:.2f} ms"),
    ):
        console.print(f"{name:<9} {value}", highlight=False, markup=False, soft_wrap=True)
