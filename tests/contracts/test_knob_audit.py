"""Every option of the recipe acts: changing it changes the trained model, or a reason is named here.

Options are enumerated from the schema, kind by kind, so a new one fails this test until it is shown to
act. The model is compared bit for bit: tokeniser, weights, temperature.
"""

import csv
import hashlib
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grunlock.data.teacher import TeacherAnswers
from grunlock.errors import DataError
from grunlock.pretraining.run import pretrain
from grunlock.recipe import Recipe, read_recipe
from grunlock.recipe.fields import Section
from grunlock.recipe.validation import section_kinds
from grunlock.training.run import train
from tests.conftest import colour_rows

# Small and quick; "tiny" so that few options are on that another option could hide behind.
BASE = (
    "encoder.hidden_size=5",
    "encoder.input_dropout=0",
    "head.dropout=0",
    "training.epochs=3",
    "training.ema_decay=off",
    "training.keep=last",
    "batches.size=16",
    "schedule.kind=constant",
    "clip=off",
)
OF_TEXTS = (
    "embedding.size=6",
    "embedding.word_dropout=0",
    "data.empty_texts=drop",
    "data.text_column=text",
    "data.label_column=label",
)
OF_SERIES = ("data.id_column=id", "data.time_column=t", "data.label_column=label", 'data.channels=["a","é"]')
SERIES = "data.kind=series"

# Why an option may leave the model as it is.
MAY_NOT_ACT = {
    "name": "a name for people; it is in the artifact's recipe, not in the computation",
    "training.checkpoint_every_seconds": "decides when the state is saved, not what it is",
    "training.checkpoint_every_steps": "decides when the state is saved, not what it is",
    "data.text.unseen_labels": "acts where a test file has labels that train lacks; see test_bad_input.py",
    "data.series.unseen_labels": "as for texts; see test_series_bad_input.py",
    "text": "texts have this section and series have it not: anything else is refused",
    "embedding": "as text",
    "series": "series have this section and texts have it not: anything else is refused",
    "training.max_nonfinite_steps": "decides when a failing run stops; see test_nonfinite.py",
}


@dataclass(frozen=True)
class Probe:
    """How to show that an option acts: the value to change to, and what must be on for it to act."""

    value: str
    context: tuple[str, ...] = ()


UNSTABLE = ("optim.kind=sgd", "optim.lr=30.0", "training.epochs=8")  # validation loss goes up and down

EVEN = ("encoder.hidden_size=8",)  # attention's heads need whole pairs of columns

PROBES = {
    "data.text.text_column": Probe("other"),
    "data.text.label_column": Probe("label2"),
    "data.text.encoding": Probe("latin-1"),
    "data.text.valid_fraction": Probe("0.3"),
    "data.text.test_fraction": Probe("0.3"),
    "data.text.empty_texts": Probe("keep"),
    "data.text.max_text_bytes": Probe("5"),
    "data.text.unlabelled": Probe("{unlabelled}", ("virtual_adversarial.epsilon=0.3",)),
    "data.series.id_column": Probe("half"),
    "data.series.time_column": Probe("falling"),
    "data.series.label_column": Probe("label2"),
    "data.series.channels": Probe('["a"]'),
    "data.series.encoding": Probe("latin-1"),
    "data.series.valid_fraction": Probe("0.3"),
    "data.series.test_fraction": Probe("0.3"),
    "series.size": Probe("3"),
    "text.tokens": Probe("characters"),
    "text.vocab_size": Probe("12"),
    "text.max_tokens": Probe("2"),
    "text.cut": Probe("middle", ("text.max_tokens=3",)),
    "embedding.vectors": Probe("{vectors}"),
    "embedding.vector_words": Probe("1", ("embedding.vectors={vectors}",)),
    "embedding.ngrams": Probe("{buckets=64}"),
    "embedding.ngrams.buckets": Probe("16", ("embedding.ngrams.buckets=64",)),
    "embedding.ngrams.min_length": Probe("2", ("embedding.ngrams.buckets=64",)),
    "embedding.ngrams.max_length": Probe("4", ("embedding.ngrams.buckets=64",)),
    "encoder.gru.norm": Probe("batch"),
    "encoder.lstm.norm": Probe("layer"),
    "encoder.gru.hidden_size": Probe("4"),
    "encoder.lstm.hidden_size": Probe("4"),
    "encoder.gru.update_bias": Probe("chrono"),
    "encoder.lstm.forget_bias": Probe("chrono"),
    "encoder.gru.bidirectional": Probe("true"),
    "encoder.lstm.bidirectional": Probe("true"),
    "schedule.warmup_stable_decay.warmup_fraction": Probe("0.5"),
    "pooling.parts": Probe('["last"]'),
    "pooling.num_hops": Probe("2", ('pooling.parts=["multi_attention"]',)),
    "encoder.mingru.norm": Probe("batch"),
    "encoder.mingru.hidden_size": Probe("4"),
    "encoder.mingru.bidirectional": Probe("true"),
    "encoder.minlstm.norm": Probe("batch"),
    "encoder.minlstm.hidden_size": Probe("4"),
    "encoder.minlstm.bidirectional": Probe("true"),
    "encoder.qrnn.norm": Probe("batch"),
    "encoder.qrnn.hidden_size": Probe("4"),
    "encoder.qrnn.bidirectional": Probe("true"),
    "encoder.conv.hidden_size": Probe("4"),
    "encoder.conv.widths": Probe("[2]"),
    "encoder.transformer.hidden_size": Probe("16"),
    "encoder.transformer.num_heads": Probe("2"),
    "encoder.transformer.feedforward_size": Probe("16"),
    "stem": Probe("{widths=[3]}"),
    "stem.widths": Probe("[4]", ("stem.widths=[3]",)),
    "stem.norm": Probe("batch", ("stem.widths=[3]",)),
    "stem.dropout": Probe("0.5", ("stem.widths=[3]",)),
    "attention": Probe("{num_heads=2, feedforward_size=8}", EVEN),
    "attention.num_layers": Probe("2", ("attention.num_heads=2", *EVEN)),
    "attention.num_heads": Probe("4", ("attention.num_heads=2", *EVEN)),
    "attention.feedforward_size": Probe("8", ("attention.num_heads=2", *EVEN)),
    "attention.dropout": Probe("0.5", ("attention.num_heads=2", *EVEN)),
    "attention.attention_dropout": Probe("0.5", ("attention.num_heads=2", *EVEN)),
    "chunks": Probe("{chunk_steps=2, hidden_size=4}"),
    "chunks.chunk_steps": Probe("3", ("chunks.chunk_steps=2", "chunks.hidden_size=4")),
    "chunks.over": Probe("transformer", ("chunks.chunk_steps=2", "chunks.hidden_size=8")),
    "chunks.hidden_size": Probe("5", ("chunks.chunk_steps=2", "chunks.hidden_size=4")),
    "chunks.dropout": Probe("0.5", ("chunks.chunk_steps=2", "chunks.hidden_size=4")),
    "wide": Probe("{buckets=64}"),
    "wide.buckets": Probe("16", ("wide.buckets=64",)),
    "wide.features": Probe("naive_bayes", ("wide={buckets=64, training='apart', features='tfidf'}",)),
    "wide.complement": Probe("false", ("wide={buckets=64, training='apart'}",)),
    "wide.max_length": Probe("1", ("wide.buckets=64",)),
    "wide.characters": Probe("true", ("wide.buckets=64",)),
    "wide.dropout": Probe("0.5", ("wide.buckets=64",)),
    "loss.class_weights": Probe("balanced"),
    "augmentation": Probe("{swap=0.3}"),
    "pretrained": Probe("{path='{pretrained}'}"),
    "pretrained.path": Probe("{longer}", ("pretrained.path={pretrained}",)),
    "pretrained.lr_decay": Probe("4.0", ("pretrained.path={pretrained}",)),
    "pretrained.unfreeze_epochs": Probe("1", ("pretrained.path={pretrained}",)),
    "mixup": Probe("{alpha=1.0}"),
    "rdrop": Probe("{weight=1.0}", ("head.dropout=0.5",)),
    "rdrop.weight": Probe("3.0", ("rdrop.weight=1.0", "head.dropout=0.5")),
    "adversarial": Probe("{epsilon=0.1}"),
    "virtual_adversarial": Probe("{epsilon=0.1}"),
    "distillation": Probe("{weight=0.5}"),
    "distillation.weight": Probe("0.9", ("distillation.weight=0.5",)),
    "distillation.temperature": Probe("1.0", ("distillation.weight=0.5",)),
    "optim.soap.precondition_every_steps": Probe("2"),
    "sam": Probe("{rho=0.5}"),
    "sam.rho": Probe("0.5", ("sam.rho=0.05",)),
    "sam.adaptive": Probe("true", ("sam.rho=0.5",)),
    "schedule.step.every_epochs": Probe("1", ("schedule.every_epochs=2",)),
    "schedule.step.factor": Probe("0.1", ("schedule.every_epochs=1",)),
    "schedule.milestones.examples_without_halving": Probe("5"),
    "schedule.one_cycle.start_lr_fraction": Probe("0.5"),
    "schedule.plateau.factor": Probe("0.1", UNSTABLE),
    "schedule.plateau.patience_epochs": Probe("3", UNSTABLE),
    "clip": Probe("{kind='norm', max_norm=0.01}"),
    "clip.norm.max_norm": Probe("0.01"),
    "clip.value.max_value": Probe("0.001"),
    "clip.percentile.percentile": Probe("10", ("clip.window_steps=10",)),
    "clip.percentile.window_steps": Probe("2", ("clip.percentile=10",)),
    "batches.examples.window_batches": Probe("1", ("batches.size=8",)),
    "batches.tokens.size": Probe("40", ("batches.size=80",)),
    "batches.tokens.window_batches": Probe("1", ("batches.size=40",)),
    "batches.examples.size": Probe("8"),
    # Labels that texts do not tell: accuracy wavers while the loss only rises.
    "training.metric": Probe(
        "nll", ("data.label_column=label2", "training.keep=best", "optim.lr=0.02", "training.epochs=9")
    ),
    "training.keep": Probe("best", UNSTABLE),
    "training.patience_epochs": Probe("1", UNSTABLE),
    "training.ema_decay": Probe("0.5"),
    "training.epochs": Probe("2"),
    "training.bptt_steps": Probe("2", ("encoder.bidirectional=false",)),
    "calibration": Probe("off"),
}


def options(
    model: type[Section] = Recipe, prefix: str = "", name: str = ""
) -> Iterator[tuple[str, str, Any]]:
    """(name with kinds, key, field) of every option: ("optim.adam.lr", "optim.lr", ...)."""
    for field_name, field in model.model_fields.items():
        key, full = prefix + field_name, name + field_name
        sections = section_kinds(field)
        if field_name == "kind":
            continue
        if not sections or _may_be_off(field):
            yield full, key, field
        if None not in sections and sections:
            yield f"{full}.kind", f"{key}.kind", field
        for kind, section in sections.items():
            yield from options(section, f"{key}.", f"{full}.{kind}." if kind else f"{full}.")


def _may_be_off(field: Any) -> bool:
    return type(None) in typing.get_args(field.annotation)


ACT_BY_REFUSING = {"data.text.max_text_bytes", "data.series.time_column", "data.series.encoding"}
OPTIONS = {name: (key, field) for name, key, field in options()}
KIND_OPTIONS = [name for name in OPTIONS if name.endswith(".kind")]


def probe_for(name: str) -> Probe:
    """The probe listed above, or one guessed from the option's default."""
    _, field = OPTIONS[name]
    context = kind_context(name)
    if name in PROBES:
        return Probe(PROBES[name].value, (*context, *PROBES[name].context))
    default = field.default
    if isinstance(default, bool):
        return Probe(str(not default).lower(), context)
    if isinstance(default, int):
        return Probe(str(default + 1), context)
    if isinstance(default, float):
        return Probe(str(default * 0.5 if default else 0.3), context)
    choices = [c for c in _literals(field.annotation) if c != default]
    assert choices, f"{name} needs an entry in PROBES"
    return Probe(choices[0], context)


def _literals(annotation: Any) -> list[str]:
    if typing.get_origin(annotation) is typing.Literal:
        return list(typing.get_args(annotation))
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, typing.Annotated):
        return [c for part in typing.get_args(annotation) for c in _literals(part)]
    return []


def kind_context(name: str) -> tuple[str, ...]:
    """Choose the kind that a name like optim.adam.lr belongs to."""
    section, _, rest = name.partition(".")
    if section == "series":
        return (SERIES,)
    kinds = section_kinds(Recipe.model_fields[section])
    kind = rest.partition(".")[0]
    needed = EVEN if kind == "transformer" else ()
    return (f"{section}.kind={kind}", *needed) if kind in kinds and kind else ()


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unbalanced labels, two text and two label columns, an empty text, capitals and an accent."""
    folder = tmp_path_factory.mktemp("audit")
    lines = ["label,label2,text,other"]
    for i, (label, text) in enumerate(colour_rows(70)):
        if label == "blue" and i % 2:
            continue
        mixed = text.title() if i % 3 else text
        lines.append(f"{label},{'even' if i % 2 else 'odd'},{mixed} café !,{label} {i % 7} {label}")
    lines.append("red,even,,red")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    vectors = [f"{word} " + " ".join(f"{(i + j) % 5 - 2}.5" for j in range(6)) for i, word in
               enumerate(["red", "green", "blue", "house", "castle"])]  # fmt: skip
    (folder / "vectors.txt").write_text("\n".join(vectors) + "\n")
    for name, epochs in (("pretrained", 1), ("longer", 2)):
        settings = [o for o in BASE if o.startswith("encoder")] + [f"training.epochs={epochs}"]
        network = ["embedding.size=6", "encoder.bidirectional=false"]
        pretrain(
            [str(folder / "table.csv")],
            read_recipe("pretrain", [*settings, *network, *OF_TEXTS[2:]]),
            folder / name,
        )
    (folder / "unlabelled.txt").write_text("the red house\n\na blue castle is blue\n")
    (folder / "series.csv").write_text("\n".join(series_lines()) + "\n")
    return folder / "table.csv"


def _with_paths(override: str, folder: Path) -> str:
    """The override with the paths of the files and folders that the fixture made."""
    files = {
        "{vectors}": "vectors.txt",
        "{pretrained}": "pretrained",
        "{longer}": "longer",
        "{unlabelled}": "unlabelled.txt",
    }
    for name, file in files.items():
        override = override.replace(name, str(folder / file))
    return override


def unsure_teacher(table: Path) -> TeacherAnswers:
    """Answers to all texts of the table that lean to one label or another."""
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    texts, labels = [row["text"] for row in rows], tuple(sorted({row["label"] for row in rows}))
    probs = np.full((len(texts), len(labels)), 0.5 / (len(labels) - 1), np.float32)
    probs[np.arange(len(texts)), np.arange(len(texts)) % len(labels)] = 0.5
    return TeacherAnswers(labels, {text: i for i, text in enumerate(texts)}, probs, "unsure")


def series_lines() -> Iterator[str]:
    """A long-format table: slopes to tell apart, two label columns, a missing value, an accent."""
    yield "id,half,t,falling,label,label2,a,é"
    for i in range(60):
        slope, size = (-1, 0, 2)[i % 3], 4 + i % 5
        for t in range(size):
            value = "" if (i, t) == (4, 1) else f"{slope * t + i % 7}"
            yield f"s{i},s{i}-{t * 2 // size},{t},{-t},{'abc'[i % 3]},{'xy'[i % 2]},{value},{(i * t) % 5}"


@pytest.fixture(scope="module")
def trained(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """overrides -> fingerprint of the trained model; "refused" if the data is."""

    @cache
    def fingerprint(overrides: tuple[str, ...]) -> str:
        of_series = SERIES in overrides
        base = [o for o in BASE if not (o.startswith("encoder.") and "encoder.kind=bag" in overrides)]
        base += OF_SERIES if of_series else OF_TEXTS
        filled = [_with_paths(o, table.parent) for o in (*base, *overrides)]
        recipe = read_recipe("tiny", filled)
        source = table.with_name("series.csv") if of_series else table
        teacher = None if recipe.distillation is None else unsure_teacher(table)
        try:
            model = train(source, recipe, tmp_path_factory.mktemp("run") / "run", teacher=teacher).artifact
        except DataError as error:
            return f"refused: {error.what}"
        digest = hashlib.sha256(model.front_end.to_json().encode())
        for name, value in sorted(model.weights.items()):
            digest.update(name.encode() + value.tobytes())
        digest.update(repr(model.temperature).encode())
        return digest.hexdigest()

    return fingerprint


@pytest.mark.parametrize("name", [name for name in OPTIONS if not name.endswith(".kind")])
def test_option_acts(name: str, trained: Any) -> None:
    if name in MAY_NOT_ACT:
        pytest.skip(MAY_NOT_ACT[name])
    probe = probe_for(name)
    before = trained(probe.context)
    after = trained((*probe.context, f"{OPTIONS[name][0]}={probe.value}"))
    assert not before.startswith("refused"), before
    assert before != after, f"{name} is inert: {probe}"
    if name not in ACT_BY_REFUSING:
        assert not after.startswith("refused"), after


@pytest.mark.parametrize("name", KIND_OPTIONS)
def test_kinds_differ_from_each_other(name: str, trained: Any) -> None:
    key, field = OPTIONS[name]
    context = {
        "schedule.kind": UNSTABLE,
        "clip.kind": ("optim.kind=sgd", "optim.lr=3.0"),
    }.get(key, ())
    small = {"clip.norm": "clip.max_norm=0.05", "clip.value": "clip.max_value=0.01"}
    small |= {"encoder.transformer": EVEN[0]}
    found: dict[str, str] = {}
    for kind in section_kinds(field):
        extra = small.get(f"{name.removesuffix('.kind')}.{kind}")
        overrides = (*context, f"{key}={kind}", *([extra] if extra else []))
        found[trained(overrides)] = f"{found.get(trained(overrides), '')} {kind}"
    assert len(found) == len(section_kinds(field)), f"the same model from {sorted(found.values())}"


def test_every_reason_and_probe_belongs_to_an_option() -> None:
    assert set(MAY_NOT_ACT) <= set(OPTIONS)
    assert set(PROBES) <= set(OPTIONS)
