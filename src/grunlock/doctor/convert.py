"""A foreign model as a model of ours: the same weights under our names, held against the original.

What our model cannot express is refused by name; nothing is approximated and nothing is guessed.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, models

from grunlock._version import __version__
from grunlock.artifact import ARTIFACT_NAME, Artifact, save
from grunlock.doctor.encoded import LabelledIds, word_list
from grunlock.doctor.experiment import as_probabilities, drawn_texts
from grunlock.doctor.foreign import Embedding, ForeignModel, Original, Texts, WordList
from grunlock.doctor.options import Encoding
from grunlock.doctor.patient import Patient
from grunlock.doctor.reference import TorchReference
from grunlock.doctor.twin import Twin, hindrances
from grunlock.errors import DoctorError
from grunlock.files import storage_guard, write_atomically
from grunlock.recipe import DataFacts, Recipe, TextFacts, derive, read_recipe, to_toml
from grunlock.runtime.probabilities import probabilities
from grunlock.shapes import FloatArray, pack_layout
from grunlock.text import TextFrontEnd
from grunlock.text.token_kinds import SPECIAL_TOKENS, UNKNOWN
from grunlock.text.types import TokenTypes

CERTIFICATE = "certificate.json"
LARGEST_DIFFERENCE = 1e-5  # of float32 probabilities, as for exports
NUM_TEXTS, LONGEST = 200, 40
PADS = ("", "[PAD]", "<pad>", "<PAD>", "[pad]", "PAD")
CONVERTIBLE = ("last", "max", "mean")


@dataclass(frozen=True)
class Conversion:
    """What certificate.json says.

    run_by:             what answered for the original: its own library, or our twin of it
    num_random, num_texts: random sequences of ids, texts of the given file
    largest_difference: of a probability, on texts without pads
    agreement:          share of them with the same label
    split_alike:        share of the given texts that both cut into the same ids; None without texts
    reads_pads:         whether the original reads pads, which the converted model never does
    """

    source: str
    source_sha256: str
    kind: str
    run_by: str
    num_random: int
    num_texts: int
    largest_difference: float
    agreement: float
    split_alike: float | None
    reads_pads: bool
    model_sha256: str
    library_version: str


def convert(
    patient: Patient,
    folder: Path,
    labels: Sequence[str],
    encoding: Encoding,
    data: LabelledIds | None = None,
) -> Conversion:
    """Write model.grunlock, recipe.toml and certificate.json into a new folder.

    Raises DoctorError for a model that ours cannot express, missing labels or words, a folder that is not
    empty, and a result that does not answer as the original.
    """
    model = patient.model
    _refuse_inexpressible(model)
    if patient.steps is not None:
        raise DoctorError(
            "The original takes texts of one length only, so it cannot be asked without pads.",
            where=model.where,
            got=f"{patient.steps} steps",
            expected="any number of steps",
            cure="export it with dynamic_shapes for the second dimension of the ids",
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DoctorError(
            "The folder is not empty.", where=folder, expected="a new folder", cure="name another"
        )
    if len(labels) != model.num_classes:
        raise DoctorError(
            "The classes have to be named.",
            where="--labels",
            got=f"{len(labels)} names" if labels else "none",
            expected=f"{model.num_classes} names, in the order of the model's answers",
            cure="--labels a,b,c, or a file with a name a line",
        )
    words = _convertible_words(word_list(model, encoding), encoding, model)
    artifact, order = _artifact(model, words, tuple(labels), encoding)
    conversion = _certified(patient, _Converted(artifact, order), words, encoding, data)
    with storage_guard(folder):
        folder.mkdir(parents=True, exist_ok=True)
    sha256 = save(artifact, folder / ARTIFACT_NAME)
    conversion = Conversion(**{**asdict(conversion), "model_sha256": sha256})
    write_atomically(folder / "recipe.toml", to_toml(artifact.recipe))
    write_atomically(
        folder / CERTIFICATE, json.dumps(asdict(conversion), indent=1, ensure_ascii=False) + "\n"
    )
    return conversion


def _refuse_inexpressible(model: ForeignModel) -> None:
    wrong = hindrances(model)
    sizes = {(layer.hidden_size, len(layer.directions), layer.reset_after) for layer in model.layers}
    if len(sizes) > 1:
        wrong.append("GRU layers of different sizes, directions or forms")
    if len(model.head) > 1:
        wrong.append(f"{len(model.head)} dense layers: {', '.join(dense.name for dense in model.head)}")
    parts = [
        part
        for part in model.pooling or ()
        if part not in CONVERTIBLE and not (part == "last_step" and not model.bidirectional)
    ]
    if parts:
        wrong.append(f"pooling {', '.join(parts)}")
    if len(set(model.pooling or ())) != len(model.pooling or ()):
        wrong.append("the same pooling twice")
    if model.kind == "grunlock model":
        wrong = ["it is a model of ours already"]
    if wrong:
        raise DoctorError(
            "This model cannot be brought into our form.",
            where=model.where,
            got="; ".join(wrong),
            expected="an embedding, GRU layers of one kind, last, max or mean pooling, one dense layer",
            cure="`grunlock train` a model of ours on the same data, or distill this one: grunlock distill",
        )


def _convertible_words(words: WordList, encoding: Encoding, model: ForeignModel) -> WordList:
    """Raises DoctorError where our tokeniser cannot find the same words."""
    if encoding.vocab is not None and encoding.vocab.name.endswith("tokenizer.json"):
        raise DoctorError(
            "A foreign tokeniser cannot be brought over.",
            where=encoding.vocab,
            expected="a vocabulary of whole words",
            cure="give its words as JSON, if they are whole words",
        )
    size = len(model.embedding.weight) if model.embedding is not None else 0
    outside = [word for word, i in words.ids.items() if i >= size]
    if outside:
        raise DoctorError(
            "The vocabulary is larger than the embedding.",
            where=encoding.vocab or model.where,
            got=f"id {words.ids[outside[0]]} of {outside[0]!r}",
            expected=f"ids below {size}",
        )
    return words


def _artifact(
    model: ForeignModel, words: WordList, labels: tuple[str, ...], encoding: Encoding
) -> tuple[Artifact, list[int]]:
    """Our model, and the row of the original's embedding that each of our ids reads."""
    assert model.embedding is not None
    assert model.pooling is not None
    first, table = model.layers[0], _table(model, model.embedding)
    kind = "characters" if words.split == "characters" else "words"
    pooling = ["last" if part == "last_step" else part for part in model.pooling]
    recipe = read_recipe(
        "tiny",
        [
            "name=converted",
            f"text.tokens={kind}",
            f"text.lowercase={str(words.lowercase).lower()}",
            f"text.max_tokens={encoding.max_length or 'off'}",
            f"text.vocab_size={max(8, len(words.ids) + 2)}",
            f"embedding.size={table.shape[1]}",
            f"encoder.hidden_size={first.hidden_size}",
            f"encoder.num_layers={len(model.layers)}",
            f"encoder.bidirectional={str(len(first.directions) > 1).lower()}",
            f"encoder.reset_after={str(first.reset_after).lower()}",
            f"pooling.parts=[{', '.join(repr(part) for part in pooling)}]",
            "calibration=off",
            "training.refit=false",
        ],
    )
    front_end, order = _front_end(recipe, words, model.embedding)
    weights = _weights(model, table[order])
    facts = DataFacts(
        num_train_examples=1,
        num_valid_examples=1,
        num_classes=len(labels),
        longest_steps=encoding.max_length or 1,
        batches_per_epoch=1,
        inputs=TextFacts(vocab_size=len(order), tokens=kind, script="spaced" if kind == "words" else "han"),
    )
    derived = derive(recipe, facts)
    return Artifact(recipe, derived, front_end, labels, weights, 1.0, {}, "converted"), order


def _table(model: ForeignModel, embedding: Embedding) -> FloatArray:
    """[V, D] with a norm over batches in front of the GRU folded in."""
    table = embedding.weight
    for norm in model.norms:
        if norm.place == "embedding":
            table = table * norm.gain + norm.shift
    return table.astype(np.float32)


def _front_end(recipe: Recipe, words: WordList, embedding: Embedding) -> tuple[TextFrontEnd, list[int]]:
    """Our tokeniser with these words, and the row of their table that each of our ids reads."""
    pad = embedding.padding_id or 0
    unknown = words.unknown_id if words.unknown_id is not None else pad
    names = [
        word
        for word, i in sorted(words.ids.items(), key=lambda item: item[1])
        if i not in (pad, words.unknown_id) and word not in (*SPECIAL_TOKENS, *PADS)
    ]
    assert recipe.text is not None
    trained = TextFrontEnd.train(lambda: ["a"], recipe.text, None)
    tokenizer = Tokenizer.from_str(trained.tokenizer.to_str())
    vocab = {token: i for i, token in enumerate([*SPECIAL_TOKENS, *names])}
    tokenizer.model = models.WordLevel(vocab, UNKNOWN)
    order = [unknown, pad, *(words.ids[name] for name in names)]
    return TextFrontEnd(tokenizer, trained.tokens, recipe.text.max_tokens, None, recipe.text.cut), order


def _weights(model: ForeignModel, table: FloatArray) -> dict[str, FloatArray]:
    """Under the names of models/."""
    weights = {"embedding.tokens.weight": np.ascontiguousarray(table)}
    for i, layer in enumerate(model.layers):
        for suffix, direction in zip(("_l0", "_l0_reverse"), layer.directions, strict=False):
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                value = np.ascontiguousarray(getattr(direction, name), np.float32)
                weights[f"encoder.layers.{i}.{name}{suffix}"] = value
    dense = model.head[0]
    weight, bias = dense.weight.astype(np.float64), dense.bias.astype(np.float64)
    for norm in model.norms:
        if norm.place == "pooled":
            bias, weight = bias + weight @ norm.shift, weight * norm.gain
    if len(bias) == 1:  # one sigmoid: two classes whose logits are 0 and x
        weight, bias = np.concatenate([0 * weight, weight]), np.concatenate([0 * bias, bias])
    weights["head.weight"], weights["head.bias"] = weight.astype(np.float32), bias.astype(np.float32)
    return weights


@dataclass(frozen=True)
class _Converted:
    """Our model, asked in the original's ids. order: see _artifact."""

    artifact: Artifact
    order: list[int]

    def probabilities(self, ids: list[int]) -> FloatArray:
        """[K] of one text."""
        ours = {theirs: i for i, theirs in reversed(list(enumerate(self.order)))}
        tokens = np.array([ours[i] for i in ids], np.int64)
        layout = pack_layout(np.array([len(tokens)]))
        distinct = TokenTypes(len(self.order)).distinct(tokens)
        answer: FloatArray = probabilities(self.artifact.network().logits(distinct, layout), 1.0)[0]
        return answer

    def encode(self, text: str) -> list[int]:
        """The original's ids of the tokens that our tokeniser finds."""
        front_end = self.artifact.front_end
        assert isinstance(front_end, TextFrontEnd)
        found = front_end.encode([text], front_end.new_types())
        return [] if found.empty[0] else [self.order[i] for i in found.tokens]


def _certified(
    patient: Patient, ours: _Converted, words: WordList, encoding: Encoding, data: LabelledIds | None
) -> Conversion:
    """Both on random ids, and on the texts of the given file; text by text, so that there are no pads."""
    model = patient.model
    assert model.embedding is not None
    assert patient.path is not None
    random = drawn_texts(model.embedding, NUM_TEXTS, min(LONGEST, encoding.max_length or LONGEST))
    given, alike = _given_ids(random, ours.order, model.embedding), None
    if data is not None:
        pad = model.embedding.padding_id or 0
        own = [row[real].tolist() for row, real in zip(data.texts.ids, data.texts.real(), strict=True)]
        own = [[i for i in each if i in ours.order] or [pad] for each in own]
        given += own
        if data.raw:
            alike = float(
                np.mean([ours.encode(text) == ids for text, ids in zip(data.raw, own, strict=True)])
            )
    original = _original(patient)
    theirs = np.stack([_alone(original, model, ids) for ids in given])
    found = np.stack([ours.probabilities(ids) for ids in given])
    worst = float(np.abs(theirs - found).max())
    if not worst <= LARGEST_DIFFERENCE:
        raise DoctorError(
            "The converted model does not answer as the original, so it was not written.",
            where=model.where,
            got=f"probabilities differ by {worst:.1e} on texts without pads",
            expected=f"at most {LARGEST_DIFFERENCE:g}",
        )
    return Conversion(
        source=patient.path.name,
        source_sha256=hashlib.sha256(patient.path.read_bytes()).hexdigest(),
        kind=model.kind,
        run_by=original.runner,
        num_random=len(random),
        num_texts=len(given) - len(random),
        largest_difference=worst,
        agreement=float((theirs.argmax(axis=1) == found.argmax(axis=1)).mean()),
        split_alike=alike,
        reads_pads=bool(model.padding.gru or model.padding.pooling),
        model_sha256="",
        library_version=__version__,
    )


def _given_ids(random: Texts, order: list[int], embedding: Embedding) -> list[list[int]]:
    """Random texts of ids that are words; others have no way into our model."""
    known = [i for i in order if i != (embedding.padding_id or 0)] or order
    rows = zip(random.ids, random.lengths, strict=True)
    return [[known[i % len(known)] for i in row[:length].tolist()] for row, length in rows]


def _original(patient: Patient) -> Original:
    """What answers for the original."""
    if patient.original is not None:
        return patient.original
    if patient.model.kind == "torch weights":
        return TorchReference(patient.model)
    return Twin(patient.model)


def _alone(original: Original, model: ForeignModel, ids: list[int]) -> FloatArray:
    """[K] probabilities of one text, which is all of its batch."""
    found = original.outputs(np.array([ids], np.int64), np.array([len(ids)], np.int64))
    answer: FloatArray = as_probabilities(found, model.head[-1].activation)[0]
    return answer
