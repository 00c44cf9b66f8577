"""grunlock doctor"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from grunlock.cli.doctor_kernels import kernel_report, show_kernels
from grunlock.errors import DoctorError

if TYPE_CHECKING:
    from grunlock.doctor import Conversion, Examples, Finding, Report, Told

STYLES = {"fault": "bold red", "warning": "yellow", "note": "cyan"}
FAULTS_FOUND = 3  # exit code
CAN = """grunlock doctor MODEL          what locks a GRU in a foreign file, a run or a model of ours
grunlock doctor --data FILE    what in labelled texts locks one
grunlock doctor --kernels      which compiled kernels there are, which is used, and why"""


def doctor_command(
    model: Annotated[
        Path | None,
        typer.Argument(
            help="Torch weights (.pt, .pth, .ckpt, .safetensors), .keras, .onnx, .grunlock, or a run folder.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Labelled texts, or .npz with ids, lengths and labels: what each fault costs there."
        ),
    ] = None,
    vocab: Annotated[
        Path | None,
        typer.Option(help="Words of the model: tokenizer.json, JSON from word to id, or one word a line."),
    ] = None,
    split: Annotated[
        Literal["words", "whitespace", "characters"], typer.Option(help="How texts become words of --vocab.")
    ] = "words",
    max_length: Annotated[
        int | None, typer.Option(min=1, help="Ids kept of a text, and what texts are padded to.")
    ] = None,
    padding: Annotated[
        Literal["pre", "post"], typer.Option(help="On which side the model's texts are padded.")
    ] = "post",
    labels: Annotated[
        str | None,
        typer.Option(metavar="A,B,C", help="The model's classes in its order, or a file with one a line."),
    ] = None,
    pooling: Annotated[
        str | None,
        typer.Option(metavar="last|max|mean|...", help="Of weights alone: how states become one vector."),
    ] = None,
    lengths: Annotated[
        Literal["used", "ignored"] | None,
        typer.Option(help="Of weights alone: whether the code knows where texts end."),
    ] = None,
    factory: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="PACKAGE.MODULE:FUNCTION",
            help="Makes the torch module of the weights, which is then tried. Runs that code.",
        ),
    ] = None,
    compare: Annotated[
        Path | None, typer.Option(metavar="EXPORT", help="A file that should compute the same.")
    ] = None,
    convert: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Bring the model into our form, certified equal.")
    ] = None,
    recipe: Annotated[
        str, typer.Option("--recipe", "-r", help="Of --data alone: whose reading and token limit are meant.")
    ] = "default",
    kernels: Annotated[
        bool, typer.Option("--kernels", help="Which compiled kernels there are, which is used, and why.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON document.")] = False,
    fail_on: Annotated[
        Literal["fault", "warning"], typer.Option(help="Exit code 3 from findings as grave as this.")
    ] = "fault",
) -> None:
    """Find and explain what locks a GRU: in a foreign model, a run, labelled texts, or this installation."""
    console = Console(markup=False, highlight=False)
    if kernels:
        _kernels(as_json, console)
        return
    of_models: dict[str, object] = {"--compare": compare, "--convert": convert, "--pooling": pooling}
    of_models |= {"--lengths": lengths, "--from": factory}
    _refuse_idle(of_models, model is None, "a model")
    _refuse_idle(
        {"--vocab": vocab, "--labels": labels, "--max-length": max_length},
        model is None or (data is None and convert is None),
        "a model, and --data or --convert",
    )
    if model is None and data is None:
        typer.echo(CAN)
        return
    from grunlock.doctor import Encoding, Examples, Told
    from grunlock.doctor.options import parse_parts

    told = Told(None if pooling is None else parse_parts(pooling), lengths, factory)
    names = _labels(labels)
    encoding = Encoding(vocab, split, max_length, padding)
    examples = None if data is None else Examples(data, encoding, names)
    if model is None:
        assert data is not None
        report, conversion = _data_alone(data, recipe), None
    else:
        report, conversion = _examined(model, told, examples, compare, convert, encoding, names)
    if as_json:
        found = report.to_dict() | ({} if conversion is None else {"conversion": asdict(conversion)})
        typer.echo(json.dumps(found, ensure_ascii=False))
    else:
        show_report(report, console)
        if conversion is not None and convert is not None:
            _show_conversion(conversion, convert, console)
    if report.has(fail_on):
        raise typer.Exit(FAULTS_FOUND)


def _refuse_idle(options: Mapping[str, object], idle: bool, expected: str) -> None:
    given = [name for name, value in options.items() if value is not None]
    if idle and given:
        raise DoctorError(f"{given[0]} does nothing here.", expected=expected)


def _examined(
    path: Path,
    told: "Told",
    examples: "Examples | None",
    compare: Path | None,
    convert_to: Path | None,
    encoding: Any,
    names: tuple[str, ...],
) -> "tuple[Report, Conversion | None]":
    from grunlock.doctor import Told, convert, examine_patient, read_labelled, read_patient

    patient = read_patient(path, told)
    other = None if compare is None else read_patient(compare, Told())
    report = examine_patient(patient, examples, other)
    if convert_to is None:
        return report, None
    known = None if examples is None else read_labelled(examples.path, patient.model, encoding, names)
    return report, convert(patient, convert_to, names or (known.labels if known else ()), encoding, known)


def _data_alone(data: Path, recipe: str) -> "Report":
    from grunlock.doctor import examine_data
    from grunlock.recipe import read_recipe

    return examine_data(data, read_recipe(recipe, []))


def _labels(given: str | None) -> tuple[str, ...]:
    if given is None:
        return ()
    path = Path(given)
    if "," not in given and path.is_file():
        return tuple(path.read_text(encoding="utf-8").rstrip("\n").split("\n"))
    return tuple(name.strip() for name in given.split(","))


def _kernels(as_json: bool, console: Console) -> None:
    report = kernel_report()
    if as_json:
        typer.echo(json.dumps(report))
    else:
        show_kernels(report, console)


def show_report(report: "Report", console: Console) -> None:
    """What was read, the verdict, the findings worst first, and what is not known."""
    console.print(Text(report.subject, style="bold"), soft_wrap=True)
    for line in report.read:
        console.print(f"  {line}", style="dim", soft_wrap=True)
    colour = "red" if report.has("fault") else "yellow" if report.has("warning") else "green"
    console.print(Panel(Text(report.verdict()), title="verdict", border_style=colour, title_align="left"))
    for finding in report.findings:
        _show_finding(finding, console)
    for each in report.unknown:
        console.print(Text("unknown   ", style="magenta").append(each.what, style="default"), soft_wrap=True)
        console.print(f"          tell    {each.tell}", style="dim", soft_wrap=True)
    for name, value in report.measures.items():
        if isinstance(value, int | float):
            shown = f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
            console.print(f"{name:<16}{shown}", soft_wrap=True)


def _show_finding(finding: "Finding", console: Console) -> None:
    head = Text(f"{finding.severity:<9} ", style=STYLES[finding.severity])
    console.print(head.append(finding.what, style="default"), soft_wrap=True)
    rows = {
        "where": finding.where,
        "seen": finding.evidence,
        "cost": None if finding.cost is None else finding.cost.sentence(),
        "why": finding.why,
        "cure": finding.cure,
        "source": finding.source,
    }
    for name, value in rows.items():
        if value is not None:
            style = "bold" if name == "cost" else "dim" if name == "source" else None
            console.print(f"          {name:<7} {value}", style=style, soft_wrap=True)


def _show_conversion(found: "Conversion", folder: Path, console: Console) -> None:
    alike = "" if found.split_alike is None else f"; {found.split_alike:.1%} of the texts split alike"
    for name, value in (
        ("model", folder),
        (
            "certified",
            f"on {found.num_random:,} random and {found.num_texts:,} given texts, by {found.run_by}",
        ),
        ("largest", f"difference of a probability {found.largest_difference:.1e}, without pads{alike}"),
        ("sha256", found.model_sha256),
    ):
        console.print(f"{name:<9} {value}", soft_wrap=True)
