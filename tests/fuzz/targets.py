"""What reads files from a disk, each with a wrong file: out comes one of our errors, or an answer."""

import hashlib
import importlib.util
import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from grunlock import load
from grunlock.artifact import read
from grunlock.data.prepared import open_prepared
from grunlock.data.pretrained import open_pretrained
from grunlock.data.series.npz import read_npz
from grunlock.data.vectors import read_vectors
from grunlock.errors import GrunlockError
from grunlock.recipe.optimization_options import PretrainedOptions
from grunlock.runtime.classifier import TextClassifier
from grunlock.runtime.series_classifier import SeriesClassifier
from tests.fuzz.draw import Draw, chosen, one_in
from tests.fuzz.model_files import wrong_model
from tests.fuzz.mutations import (
    changed_array,
    changed_json,
    changed_value,
    damaged,
    npz_bytes,
    safetensors_bytes,
)

TEXTS = [
    "the cat sat",
    "Straße 我爱北京 zebra [unk] [ unk ] " + "na" * 40,
    "!",
    "the the the the the the the",
]
SERIES = [[[1.0, 2.0], [float("nan"), 3.0]], [[0.5, -1.0]] * 7, [[3.0, 2.5]]]
SERIES_CHANNELS = 2

Target = Callable[[Draw, Path, Path], None]  # draw, sound files, a folder to write to


class NoAnswerError(AssertionError):
    """What came out is no probability."""


def model_file(draw: Draw, seeds: Path, work: Path) -> None:
    sound = chosen(draw, sorted((seeds / "models").iterdir()))
    path = work / "model.grunlock"
    path.write_bytes(wrong_model(draw, sound.read_bytes()))
    precision = chosen(draw, ["float32", "float32", "int8"])
    _ask(load(path, precision))  # type: ignore[arg-type]


def _ask(model: TextClassifier | SeriesClassifier) -> None:
    inputs: list[Any] = TEXTS
    if isinstance(model, SeriesClassifier):
        width = len(model.channels)
        inputs = [np.resize(np.array(steps, np.float32), (len(steps), width)) for steps in SERIES]
    ways: list[Callable[[], Any]] = [
        lambda: _check(model.predict_proba(inputs), model.labels),
        lambda: _check(model.predict_proba(inputs[:1]), model.labels),
        lambda: model.predict_set(inputs, 0.9, "raps"),
        lambda: model.predict_or_abstain(inputs, 0.1),
        lambda: _stream(model, inputs[0], None),
        lambda: _stream(model, inputs[0], 0.1),
    ]
    for ask in ways:
        with suppress(GrunlockError):
            ask()


def _check(found: np.ndarray[Any, Any], labels: Sequence[str]) -> None:
    if (
        found.shape[1] != len(labels)
        or not np.isfinite(found).all()
        or (abs(found.sum(axis=1) - 1) > 1e-4).any()
    ):
        raise NoAnswerError(f"{found}")


def _stream(model: TextClassifier | SeriesClassifier, item: Any, max_error: float | None) -> None:
    stream: Any = model.stream(max_error)
    stream.feed(item)
    stream.finish()
    _check(stream.probabilities[None], model.labels)
    _check(stream.outlook[None], model.labels)


def onnx_folder(draw: Draw, seeds: Path, work: Path) -> None:
    """The script that stands beside an exported graph, and knows this library's errors as ValueError only."""
    kind = chosen(draw, ["onnx_words", "onnx_series"])
    folder = work / "onnx"
    shutil.copytree(seeds / kind, folder)
    target = chosen(draw, sorted(path for path in folder.iterdir() if path.suffix not in (".py", ".onnx")))
    if one_in(draw, 6):
        target = folder / "model.onnx"
    _change(draw, target)
    script = _module(seeds / kind / "predict.py", kind)
    try:
        model = script.Classifier(folder)
        inputs: Any = TEXTS if kind == "onnx_words" else [np.array(steps, np.float32) for steps in SERIES]
        _check(model.predict_proba(inputs), model.labels)
    except ValueError as error:
        if type(error).__name__ != "RefusedError":
            raise


def _module(path: Path, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _change(draw: Draw, path: Path) -> None:
    content = path.read_bytes()
    if one_in(draw, 5) or path.suffix not in (".json", ".npz", ".jsonl"):
        content = damaged(draw, content)
    elif path.suffix == ".npz":
        content = npz_bytes(draw, content)
    else:
        content = changed_json(draw, content)
    path.write_bytes(content)


def prepared_data(draw: Draw, seeds: Path, work: Path) -> None:
    """A run's data: batches of all of it can be made, with tokens that the network has vectors for."""
    folder = work / "data"
    shutil.copytree(seeds / "run" / "data", folder)
    _change(draw, chosen(draw, sorted(path for path in folder.rglob("*") if path.is_file())))
    data = open_prepared(folder)
    inputs: Any = data.inputs
    for store in filter(None, (data.train, data.valid, data.test)):
        batch = store.batch(np.arange(store.num_examples))
        tokens: Any = batch.inputs
        if not 0 <= int(batch.targets.min()) <= int(batch.targets.max()) < len(data.labels):
            raise NoAnswerError("a class that is none")
        if int(tokens.vocab_ids.max()) >= inputs.vocab_size or int(tokens.vocab_ids.min()) < 0:
            raise NoAnswerError("a token without a vector")


def vectors_file(draw: Draw, seeds: Path, work: Path) -> None:
    path = work / "vectors.npz"
    shutil.copy(seeds / "vectors.npz", path)
    _change(draw, path)
    found = read_vectors(path, ["the", "cat", "mat"], 4)
    if not np.isfinite(found.matrix).all():
        raise NoAnswerError(f"{found.matrix}")


def series_file(draw: Draw, seeds: Path, work: Path) -> None:
    path = work / "series.npz"
    shutil.copy(seeds / "series.npz", path)
    _change(draw, path)
    read_npz(path)


def checkpoint(draw: Draw, seeds: Path, work: Path) -> None:
    from grunlock.training.checkpoint import read_checkpoint

    path = work / "checkpoint.pt"
    path.write_bytes(damaged(draw, (seeds / "run" / "checkpoint.pt").read_bytes()))
    read_checkpoint(path)


def resumed_run(draw: Draw, seeds: Path, work: Path) -> None:
    """A run that goes on from a checkpoint that torch can read, of which one value is another."""
    import torch

    from grunlock.training.run import resume

    run = work / "run"
    shutil.copytree(seeds / "run", run)
    if one_in(draw, 4):
        _change(draw, chosen(draw, [run / "run.json", run / "recipe.toml", run / "data" / "prepared.json"]))
    else:
        stored = torch.load(run / "checkpoint.pt", weights_only=True)
        torch.save(_changed_state(draw, stored), run / "checkpoint.pt")
    resume(run)


def _changed_state(draw: Draw, state: Any) -> Any:
    if hasattr(state, "numpy"):
        import torch

        return torch.from_numpy(np.ascontiguousarray(changed_array(draw, state.numpy())))
    if isinstance(state, dict) and state and not one_in(draw, 8):
        key = chosen(draw, sorted(state, key=str))
        return {**state, key: _changed_state(draw, state[key])}
    return changed_value(draw, state) if not isinstance(state, dict) else {}


def pretrained_folder(draw: Draw, seeds: Path, work: Path) -> None:
    """A network to start from, its weights mostly under the checksum that its facts tell."""
    folder = work / "pretrained"
    shutil.copytree(seeds / "pretrained", folder)
    weights, facts = folder / "weights.safetensors", folder / "pretrained.json"
    if one_in(draw, 2):
        weights.write_bytes(safetensors_bytes(draw, weights.read_bytes()))
        sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
        facts.write_text(json.dumps({**json.loads(facts.read_text()), "sha256": sha256}))
    else:
        _change(draw, chosen(draw, [weights, facts, folder / "tokenizer.json"]))
    from grunlock.models import SequenceClassifier
    from grunlock.training.fine_tuning import take_pretrained

    artifact = read(seeds / "run")
    found = open_pretrained(folder)
    found.front_end(artifact.recipe)
    model = SequenceClassifier(artifact.recipe, artifact.derived)
    take_pretrained(model, PretrainedOptions(path=str(folder)))


TARGETS: dict[str, Target] = {
    each.__name__: each
    for each in (
        *(model_file, onnx_folder, prepared_data, vectors_file, series_file),
        *(checkpoint, resumed_run, pretrained_folder),
    )
}
