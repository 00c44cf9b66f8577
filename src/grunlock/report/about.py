"""What a result is made of: recipe, data, machine, files beside it, and the commands that repeat it."""

import json
import shlex
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grunlock.artifact import ARTIFACT_NAME, BEFORE_REFIT_NAME
from grunlock.artifact import read as read_artifact
from grunlock.data.prepared import is_prepared, open_prepared
from grunlock.export.certificate import CERTIFICATE
from grunlock.recipe import Recipe, read_recipe, to_toml
from grunlock.report import figures
from grunlock.report.page import (
    Cell,
    Chart,
    Command,
    Folded,
    Paragraph,
    Part,
    Section,
    Table,
    cells,
    own,
    section,
)
from grunlock.report.results import read_results
from grunlock.report.words import count, cut, file_size, number, percent, share
from grunlock.training.run import MEMORY
from grunlock.training.run_folder import RunFolder, RunRequest, open_run

LONGEST_VALUE = 120


def about_section(path: Path, title: str = "How to repeat it") -> Section | None:
    """Of a run: how it came about."""
    run, recipe, request = open_run(path)
    parts = [_facts(run), _repeat(path, request), *_recipe_parts(recipe)]
    return section("about", title, parts)


def models_section(path: Path) -> Section | None:
    """Model files beside a run and certificates of its exports."""
    return section("files", "Models and exports", [_models(path), _certificates(path)])


def command(*words: object) -> str:
    return " ".join(shlex.quote(str(word)) for word in words)


def given(name: str, value: object) -> tuple[object, ...]:
    """An option of a command; nothing for None."""
    return () if value is None else (name, value)


def differences(recipe: Recipe, base: Recipe) -> list[tuple[str, str, str]]:
    """(key, value, value of the base) wherever they differ, in the order of the schema; names left out."""
    ours, theirs = _flat(tomllib.loads(to_toml(recipe))), _flat(tomllib.loads(to_toml(base)))
    keys = [*ours, *(key for key in theirs if key not in ours)]
    return [
        (key, _shown(ours.get(key)), _shown(theirs.get(key)))
        for key in keys
        if key != "name" and ours.get(key) != theirs.get(key)
    ]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


def _shown(value: object) -> str:
    return "" if value is None else cut(json.dumps(value, ensure_ascii=False), LONGEST_VALUE)


def _recipe_parts(recipe: Recipe) -> list[Part]:
    base = "default" if recipe.data.kind == "text" else "series"
    found = differences(recipe, read_recipe(base))
    parts: list[Part] = []
    if found:
        rows = [cells(key, own(value), own(other)) for key, value, other in found]
        columns = ("option", "here", f"in {base}")
        parts.append(
            Table(f"What differs from the built-in recipe `{base}`.", columns, tuple(rows), sorts=False)
        )
    else:
        parts.append(Paragraph(f"It is the built-in recipe `{base}`, unchanged."))
    return [*parts, Folded("The whole recipe", to_toml(recipe))]


def _facts(run: RunFolder) -> Table:
    about = read_results(run.about, ("library_version",))
    rows = [("grunlock", about["library_version"])]
    rows += [(name, str(value)) for name, value in about.get("made_on", {}).items()]
    rows += [] if "made_on" in about else [("machine", "not recorded by this version")]
    if is_prepared(run.data):
        data = open_prepared(run.data)
        sizes = {
            "training": data.train,
            "validation": data.valid,
            "calibration": data.calibration,
            "test": data.test,
        }
        rows += [(f"{name} examples", f"{s.num_examples:,}") for name, s in sizes.items() if s is not None]
        rows += [("data fingerprint", data.fingerprint), *(("data", note) for note in data.notes)]
    elif run.artifact.is_file():
        rows.append(("data fingerprint", read_artifact(run.artifact).data_fingerprint))
    return Table(
        "Where it was trained, and on what.",
        ("", ""),
        tuple(cells(name, own(str(value))) for name, value in rows),
        sorts=False,
    )


def _repeat(path: Path, request: RunRequest) -> Part:
    if request.source == MEMORY:
        return Paragraph("It was trained on data in memory: no command can repeat it.")
    apart = (*given("--valid", request.valid), *given("--test", request.test))
    line = command("grunlock", "train", request.source, "--recipe", path, *apart, "-o", "repeated")
    return Command("Train the same model again:", line)


def _models(path: Path) -> Part | None:
    files = [
        file
        for file in sorted(path.glob("*.grunlock"))
        if file.name not in (BEFORE_REFIT_NAME, "base.grunlock")
    ]
    if not files:
        return None
    models = [(file.name, file.stat().st_size, read_artifact(file).metrics) for file in files]
    rows = tuple(
        cells(name, count(size), share(metrics["accuracy"]), number(metrics["nll"]))
        for name, size, metrics in models
    )
    table = Table("Model files, scores on validation.", ("file", "bytes", "accuracy", "NLL"), rows)
    if len(models) == 1:
        return table
    drawn = figures.scatter(
        {name: [(size / 1000, 100 * metrics["accuracy"])] for name, size, metrics in models},
        figures.axis("size, KB", type="log"),
        figures.axis("validation accuracy, %"),
    )
    least = min(models, key=lambda each: each[1])
    caption = (
        f"The smallest is {least[0]}: {file_size(least[1])}, {percent(least[2]['accuracy'])} on validation."
    )
    whole = next((each for each in models if each[0] == ARTIFACT_NAME), None)
    if whole is not None and whole is not least:
        caption += f" The whole model has {file_size(whole[1])}, {percent(whole[2]['accuracy'])}."
    return Chart(drawn, caption, table, 300)


def _certificates(path: Path) -> Table | None:
    names = ("target", "precision", "size_bytes", "agreement", "largest_difference", "accuracy", "latency")
    files = sorted(path.glob(f"*/{CERTIFICATE}"))
    found = [
        (file.parent.name, read_results(file, (*names, "processor", "has_learned_examples")))
        for file in files
    ]
    rows = [
        cells(
            name,
            made["target"],
            made["precision"],
            count(made["size_bytes"]),
            share(made["agreement"]),
            number(made["largest_difference"], ".1e"),
            _accuracy(made),
            number(made["latency"]["p50"], ".3g"),
            made["processor"],
        )
        for name, made in found
    ]
    columns = (
        *("folder", "target", "numbers", "bytes", "same labels", "largest difference", "accuracy"),
        *("median ms", "measured on"),
    )
    caption = "Certificates of exports: each compared with the model on the validation examples."
    return Table(caption, columns, tuple(rows), is_dense=True) if rows else None


def _accuracy(made: dict[str, Any]) -> Cell:
    """A model that has learned the validation examples is right more often on them than it will be."""
    shown = share(made["accuracy"])
    return Cell(f"{shown.text}, learned them", shown.order) if made["has_learned_examples"] else shown
