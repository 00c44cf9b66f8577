"""A described model through torch's own nn.GRU: what a conversion of torch weights is held against."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grunlock.doctor.foreign import ForeignModel, GruLayer
from grunlock.doctor.twin import head_logits
from grunlock.shapes import FloatArray, IntArray

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class TorchReference:
    """See foreign.Original. Texts are read one by one, without pads; it gives logits. Reset after the product
    only, as in torch."""

    model: ForeignModel
    runner: str = "torch.nn.GRU"

    def outputs(self, ids: IntArray, lengths: IntArray) -> FloatArray:
        """[B, K] logits."""
        import torch

        layers = [_torch_layer(layer) for layer in self.model.layers]
        rows = []
        with torch.inference_mode():
            for text, length in zip(ids, lengths.tolist(), strict=True):
                states = torch.from_numpy(self._vectors(text[:length]))[None]
                for layer in layers:
                    states, last = layer(states)
                rows.append(self._pooled(states[0].numpy(), last[:, 0].numpy()))
        return head_logits(self.model.head, np.stack(rows))

    def _vectors(self, ids: IntArray) -> FloatArray:
        assert self.model.embedding is not None
        vectors = self.model.embedding.weight[ids]
        for norm in self.model.norms:
            if norm.place == "embedding":
                vectors = vectors * norm.gain + norm.shift
        return vectors.astype(np.float32)

    def _pooled(self, states: FloatArray, last: FloatArray) -> FloatArray:
        parts = {
            "last": last.ravel(),
            "last_step": states[-1],
            "max": states.max(axis=0),
            "mean": states.mean(axis=0),
        }
        pooled = np.concatenate([parts[part] for part in self.model.pooling or ()])
        for norm in self.model.norms:
            if norm.place == "pooled":
                pooled = pooled * norm.gain + norm.shift
        return pooled.astype(np.float32)


def _torch_layer(layer: GruLayer) -> "nn.GRU":
    import torch

    gru = torch.nn.GRU(
        layer.input_size, layer.hidden_size, batch_first=True, bidirectional=len(layer.directions) > 1
    )
    with torch.no_grad():
        for suffix, direction in zip(("_l0", "_l0_reverse"), layer.directions, strict=False):
            for name, value in vars(direction).items():
                if value is not None:
                    getattr(gru, name + suffix).copy_(torch.from_numpy(np.ascontiguousarray(value)))
    return gru
