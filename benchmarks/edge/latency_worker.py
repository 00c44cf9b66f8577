"""A contender of latency.py in its own process: a line of JSON in, a line out. See Worker there."""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from grunlock.artifact import Artifact, read
from grunlock.export.c import CModel, write_c
from grunlock.export.onnx.write import write_onnx
from grunlock.export.portable import portable
from grunlock.recipe.model_options import GruOptions, LstmOptions
from grunlock.runtime.classifier import TextClassifier
from grunlock.text import TextFrontEnd


class Contender(NamedTuple):
    """whole: a text to probabilities. prepare, network: the same in two steps, where it can be told apart."""

    whole: Callable[[str], Any]
    prepare: Callable[[str], Any] | None = None
    network: Callable[[Any], Any] | None = None


def contender(name: str, run: Path, folder: Path) -> Contender:
    kind, _, precision = name.partition(" ")
    artifact = read(run)
    if kind == "grunlock":
        return runtime(artifact, precision == "int8")
    if kind == "torch.nn.GRU":
        return torch_gru(artifact)
    form = portable(artifact, run)
    if kind == "c":
        model = CModel(write_c(form, folder, int8=precision == "int8"))
        return Contender(lambda text: model.probabilities([text]))
    write_onnx(form, folder, int8=precision == "int8")
    return onnx_script(folder)


def runtime(artifact: Artifact, int8: bool) -> Contender:
    model = artifact.classifier("int8" if int8 else "float32")
    assert isinstance(model, TextClassifier)

    def prepare(text: str) -> Any:
        ((_, tokens, layout),) = model._batches([text])
        return tokens, layout

    return Contender(
        lambda text: model.predict_proba([text]), prepare, lambda given: model.network.logits(*given)
    )


def onnx_script(folder: Path) -> Contender:
    """The folder's own script, its session on one thread."""
    import onnxruntime

    sys.path.insert(0, str(folder))
    import predict  # type: ignore[import-not-found]

    model = predict.Classifier(folder)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )
    model._session = session
    front_end = model._front_end
    return Contender(
        lambda text: model.predict_proba([text]),
        lambda text: front_end.inputs(front_end.read([text])),
        lambda inputs: session.run(["probabilities"], inputs),
    )


def torch_gru(artifact: Artifact) -> Contender:
    """What most people write: nn.Embedding, nn.GRU and nn.Linear over the last states of each direction."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    recipe, front_end, encoder = artifact.recipe, artifact.front_end, artifact.recipe.encoder
    assert isinstance(front_end, TextFrontEnd)
    assert isinstance(encoder, GruOptions | LstmOptions)
    assert recipe.embedding is not None
    embedding = nn.Embedding(front_end.vocab_size, recipe.embedding.size).eval()
    gru = nn.GRU(
        *(recipe.embedding.size, encoder.hidden_size, encoder.num_layers),
        batch_first=True,
        bidirectional=encoder.bidirectional,
    ).eval()
    directions = 1 + encoder.bidirectional
    head = nn.Linear(directions * encoder.hidden_size, len(artifact.labels)).eval()
    plain = replace(front_end, ngrams=None)  # tokens only
    types = plain.new_types()

    def prepare(text: str) -> Any:
        return torch.from_numpy(plain.encode([text], types).tokens.astype(np.int64)[None])

    def network(ids: Any) -> Any:
        with torch.no_grad():
            _, last = gru(embedding(ids))
            states = last[-directions:].transpose(0, 1).reshape(1, -1)
            return head(states).softmax(1).numpy()

    return Contender(lambda text: network(prepare(text)), prepare, network)


def seconds_of(ask: Callable[[Any], Any], inputs: list[Any]) -> list[float]:
    found = []
    for item in inputs:
        started = time.perf_counter()
        ask(item)
        found.append(time.perf_counter() - started)
    return found


def main() -> None:
    given = json.loads(sys.stdin.readline())
    with tempfile.TemporaryDirectory() as folder:
        asked, texts = contender(given["name"], Path(given["run"]), Path(folder)), given["texts"]
        prepared = None if asked.prepare is None else [asked.prepare(text) for text in texts]
        print("true", flush=True)
        for _ in sys.stdin:
            found = {"whole": seconds_of(asked.whole, texts)}
            if asked.network is not None and prepared is not None:
                found["network"] = seconds_of(asked.network, prepared)
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
