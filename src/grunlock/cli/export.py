"""grunlock export"""

import difflib
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from grunlock.cli.tune import parse_size
from grunlock.errors import ExportError

if TYPE_CHECKING:
    from grunlock.export.certificate import Certificate
    from grunlock.export.export import Target

console = Console()


class TargetName(StrEnum):
    onnx = "onnx"
    c = "c"
    web = "web"


MEANT = {  # by those who ask for something else
    TargetName.onnx: ("onnxruntime", "ort", "openvino", "tensorrt", "coreml", "torchscript", "tensorflow"),
    TargetName.c: ("tflite", "tflm", "c99", "c++", "cpp", "arduino", "cmsis", "cmsis-nn", "embedded"),
    TargetName.web: ("html", "page", "browser", "wasm", "webassembly", "js", "javascript", "tfjs"),
}


class UnicodeName(StrEnum):
    full = "full"
    latin = "latin"
    ascii = "ascii"


def export_command(
    model: Annotated[Path, typer.Argument(help="A run folder, or a model file in one.")],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="onnx|c|web",
            help="onnx: ONNX Runtime; c: C99 for devices; web: a page for browsers.",
        ),
    ],
    int8: Annotated[bool, typer.Option("--int8", help="Weights in a quarter of the bytes.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder; else MODEL-TARGET in the run folder.")
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="The run's data, if it is no longer where it was.")
    ] = None,
    valid: Annotated[str | None, typer.Option(help="Its validation file, if that was apart.")] = None,
    max_steps: Annotated[
        int | None,
        typer.Option(min=1, help="c, web: tokens or steps of the longest input. [default: c 1000, web 5000]"),
    ] = None,
    unicode: Annotated[
        UnicodeName | None, typer.Option(help="c: characters that are read as in Python. [default: full]")
    ] = None,
    max_flash: Annotated[
        str | None, typer.Option(metavar="32KB", help="c: of constant arrays, at most.")
    ] = None,
    max_ram: Annotated[str | None, typer.Option(metavar="8KB", help="c: of memory, at most.")] = None,
    no_peek: Annotated[
        bool, typer.Option("--no-peek", help="c: no answers before the end, in less memory.")
    ] = False,
    prefix: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="c: of all names; for several models in one program. [default: grunlock]"
        ),
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

    name = _name(to)
    target = _target(
        name,
        int8,
        {
            "--max-steps": max_steps,
            "--unicode": None if unicode is None else unicode.value,
            "--max-flash": max_flash,
            "--max-ram": max_ram,
            "--no-peek": no_peek or None,
            "--prefix": prefix,
        },
    )
    run, stored = (model, "model") if model.is_dir() else (model.parent, model.stem)
    folder = output or run / f"{stored}-{name}{'-int8' if int8 else ''}"
    with console.status("writing, then comparing on the validation examples"):
        found = export(
            model,
            folder,
            target,
            "int8" if int8 else "float32",
            source=data,
            valid=valid,
            least_agreement=min_agreement,
        )
    _show(found.folder, found.certificate)


def _name(to: str) -> TargetName:
    if to in [*TargetName]:
        return TargetName(to)
    meant = [name for name, words in MEANT.items() if to.lower() in words]
    near = meant or difflib.get_close_matches(to.lower(), [*TargetName], n=1)
    raise ExportError(
        "There is no such target.",
        where="--to",
        got=to,
        expected=", ".join(TargetName),
        cure=f"did you mean --to {near[0]}?" if near else None,
    )


def _target(to: TargetName, int8: bool, options: dict[str, Any]) -> "Target":
    """options: those that not every target has; None where they are not given."""
    from grunlock.export.c import DEFAULT_STEPS, PREFIX, Budget
    from grunlock.export.c.target import CTarget
    from grunlock.export.onnx.target import OnnxTarget
    from grunlock.export.web import WEB_STEPS
    from grunlock.export.web.target import WebTarget

    given = {option: value for option, value in options.items() if value is not None}
    _refuse_options(to, given)
    if to == TargetName.onnx:
        return OnnxTarget(int8)
    if to == TargetName.web:
        return WebTarget(int8, given.get("--max-steps", WEB_STEPS))
    sizes = (options["--max-flash"], options["--max-ram"])
    return CTarget(
        int8,
        max_steps=given.get("--max-steps", DEFAULT_STEPS),
        unicode=given.get("--unicode", "full"),
        budget=Budget(*(None if size is None else parse_size(size) for size in sizes)),
        peek="--no-peek" not in given,
        prefix=given.get("--prefix", PREFIX),
    )


def _refuse_options(to: TargetName, given: dict[str, Any]) -> None:
    having = {option: [TargetName.c] for option in given}
    having |= {"--max-steps": [TargetName.c, TargetName.web]} if "--max-steps" in given else {}
    for option, targets in having.items():
        if to not in targets:
            raise ExportError(
                "This target has no such option.",
                where=option,
                got=f"--to {to.value}",
                expected=" or ".join(f"--to {each.value}" for each in targets),
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
