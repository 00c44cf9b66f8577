"""Write model files as Keras and torch.onnx write them, with what they answer, for tests of the doctor.

Run it with a Python that has Keras 3, torch, onnx and onnxscript, from the root of the repository:

    pip install keras torch onnx onnxscript
    KERAS_BACKEND=torch python benchmarks/doctor_models.py

It writes to tests/parity/golden/:

    doctor_reset_after.keras     Embedding (mask_zero), GRU, GRU, Dense (softmax); reset_after=True
    doctor_reset_before.keras    the same with reset_after=False
    doctor_pooled.keras          functional: Embedding (mask_zero), BatchNormalization, two directions,
                                 maximum beside mean, Dropout, Dense
    doctor_unmasked.keras        Embedding without mask_zero, GRU, Dense (sigmoid)
    doctor_torch.onnx            nn.Embedding, nn.GRU, out[:, -1], nn.Linear by torch.onnx.export(dynamo=True)
    doctor_outputs.npz           `about` (JSON: versions), `post` and `pre` [n, T] ids padded with 0 on that
                                 side, `lengths` [n], and for each file and side `NAME/SIDE` [n, K]

All weights are random, biases too, so that forms of the GRU differ.
"""

import json
import platform
from pathlib import Path

import keras
import numpy as np
import onnx
import onnxscript
import torch
from torch import nn

GOLDEN = Path("tests/parity/golden")
V, D, H, K, T, N = 14, 4, 5, 3, 9, 8


class TorchModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(V, D, padding_idx=0)
        self.gru = nn.GRU(D, H, batch_first=True)
        self.head = nn.Linear(H, K)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        states, _ = self.gru(self.embedding(ids))
        return self.head(states[:, -1])


def stacked(reset_after: bool) -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            keras.layers.Embedding(V, D, mask_zero=True),
            keras.layers.GRU(H, return_sequences=True, reset_after=reset_after),
            keras.layers.GRU(H, reset_after=reset_after),
            keras.layers.Dense(K, activation="softmax"),
        ]
    )


def pooled() -> keras.Model:
    ids = keras.Input((None,), dtype="int32")
    vectors = keras.layers.BatchNormalization()(keras.layers.Embedding(V, D, mask_zero=True)(ids))
    states = keras.layers.Bidirectional(keras.layers.GRU(H, return_sequences=True))(vectors)
    parts = [keras.layers.GlobalMaxPooling1D()(states), keras.layers.GlobalAveragePooling1D()(states)]
    dropped = keras.layers.Dropout(0.2)(keras.layers.Concatenate()(parts))
    return keras.Model(ids, keras.layers.Dense(K, activation="softmax")(dropped))


def unmasked() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            keras.layers.Embedding(V, D),
            keras.layers.GRU(H),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )


def without_traces(path: Path) -> None:
    """torch writes beside every node where it was called from, on the machine that wrote it."""
    model = onnx.load(path)
    for owner in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.functions):
        del owner.metadata_props[:]
    onnx.save(model, path)


def main() -> None:
    random = np.random.default_rng(0)
    lengths = np.array([T, 1, 4, 7, 2, T, 5, 3])
    post, pre = np.zeros((N, T), np.int64), np.zeros((N, T), np.int64)
    for i, length in enumerate(lengths):
        words = random.integers(1, V, length)
        post[i, :length], pre[i, T - length :] = words, words
    about = {
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
        "torch": torch.__version__,
        "onnx": onnx.__version__,
        "onnxscript": onnxscript.__version__,
        "python": platform.python_version(),
    }
    found = {"about": np.array(json.dumps(about)), "post": post, "pre": pre, "lengths": lengths}
    models = {
        "reset_after": stacked(True),
        "reset_before": stacked(False),
        "pooled": pooled(),
        "unmasked": unmasked(),
    }
    for name, model in models.items():
        model.set_weights(
            [
                np.abs(w) if "variance" in v.path else w
                for v in model.weights
                for w in [random.normal(0, 0.7, v.shape).astype(np.float32)]
            ]
        )
        model.save(GOLDEN / f"doctor_{name}.keras")
        for side, ids in (("post", post), ("pre", pre)):
            found[f"{name}/{side}"] = np.asarray(model.predict(ids, verbose=0))
    torch.manual_seed(0)
    module = TorchModel().eval()
    sizes = ({0: torch.export.Dim("batch"), 1: torch.export.Dim("steps")},)
    ids = torch.from_numpy(post)
    torch.onnx.export(
        module, (ids,), GOLDEN / "doctor_torch.onnx", dynamo=True, dynamic_shapes=sizes, external_data=False
    )
    without_traces(GOLDEN / "doctor_torch.onnx")
    found["torch/post"] = module(ids).detach().numpy()
    np.savez_compressed(GOLDEN / "doctor_outputs.npz", **found)


if __name__ == "__main__":
    main()
