"""Sound files to start from, one of each kind that is read from a disk, of models with every part.

python -m tests.fuzz.seeds FOLDER
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from grunlock.artifact import Artifact, save
from grunlock.data.pretrained import save_pretrained
from grunlock.data.sources import InMemory
from grunlock.export.onnx.write import write_onnx
from grunlock.export.portable import portable
from grunlock.recipe import read_recipe
from grunlock.runtime.guarantees import Guarantees
from grunlock.text import TextFrontEnd
from grunlock.training.run import train
from tests.conftest import colour_rows
from tests.parity.exported_models import series_artifact, text_artifact

FORWARD = "encoder.bidirectional=false"
APART = "wide={buckets=512, characters=true, training='apart'}"
MODELS = {
    "words": [APART, "embedding.ngrams.buckets=32", FORWARD],
    "characters": ["text.tokens=characters", "embedding.ngrams.buckets=64", "encoder.norm=batch"],
    "lstm": ["encoder.kind=lstm", "encoder.cell_norm=true", "text.tokens=bpe", FORWARD],
    "conv": ["encoder.kind=conv", "stem.widths=[3]", "stem.norm=batch", "text.tokens=unigram"],
    "qrnn": [
        "encoder.kind=qrnn",
        "encoder.norm=layer",
        'pooling.parts=["last", "attention"]',
        "pooling.inputs=true",
    ],
    "chunks": [
        "chunks.chunk_steps=2",
        "chunks.hidden_size=4",
        "attention.num_heads=2",
        "text.tokens=chinese_words",
    ],
}
TRANSFORMER = ["encoder.kind=transformer", "encoder.hidden_size=8", "encoder.num_heads=2"]
GUARANTEES = Guarantees(
    50, 1.2, {"lac": {0.9: 0.8}, "raps": {0.9: float("inf")}}, {0.1: 0.7}, {0.1: 29}, 0.95, {0.1: None}
)


def write_seeds(folder: Path) -> None:
    """models/*.grunlock, onnx_words/, onnx_series/, run/, pretrained/, vectors.npz, series.npz."""
    (folder / "models").mkdir(parents=True)
    made = {name: text_artifact(overrides) for name, overrides in MODELS.items()}
    made["transformer"] = _transformer()
    made["series"] = series_artifact(["series.changes=true", "stem.widths=[3]", "series.size=6", FORWARD])
    for name, artifact in made.items():
        save(_promising(artifact), folder / "models" / f"{name}.grunlock")
    for name in ("words", "series"):
        save(replace(made[name], storage="int8"), folder / "models" / f"{name}_int8.grunlock")
    for name in ("words", "series"):
        write_onnx(portable(made[name], "a seed"), folder / f"onnx_{name}", int8=False)
    _write_run(folder)
    words = np.array(["the", "cat", "red"])
    np.savez(folder / "vectors.npz", vectors=np.ones((3, 4), np.float32), vocab=words)
    x, y = np.ones((4, 5, 2), np.float32), np.array(["a", "b", "a", "b"])
    lengths = np.full(4, 5)
    np.savez(folder / "series.npz", X_train=x, y_train=y, len_train=lengths, channels=np.array(["u", "v"]))


def _transformer() -> Artifact:
    return text_artifact([*TRANSFORMER, "encoder.positions=learned", "text.max_tokens=5"])


def _promising(artifact: Artifact) -> Artifact:
    return replace(
        artifact, guarantees=GUARANTEES, step_temperatures=(2.0, 1.5), metrics={"accuracy": 0.5, "nll": 1.0}
    )


def _write_run(folder: Path) -> None:
    """run/: a finished run with its data and last checkpoint; pretrained/: its network to start from."""
    rows = colour_rows(60)
    data = InMemory([text for _, text in rows], [label for label, _ in rows], "rows")
    settings = [
        "training.epochs=1",
        "embedding.size=4",
        "encoder.hidden_size=4",
        "embedding.ngrams.buckets=16",
    ]
    made = train(data, read_recipe("tiny", settings), folder / "run").artifact
    assert isinstance(made.front_end, TextFrontEnd)
    weights = {name: value for name, value in made.weights.items() if not name.startswith("head.")}
    (folder / "pretrained").mkdir()
    save_pretrained(folder / "pretrained", made.front_end, made.recipe, weights, {"tokens_seen": 3})


if __name__ == "__main__":
    write_seeds(Path(sys.argv[1]))
