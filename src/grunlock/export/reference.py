"""The model through torch: what an export is compared with."""

from dataclasses import dataclass, replace
from typing import cast

import torch

from grunlock.artifact import Artifact
from grunlock.models import SequenceClassifier, network_inputs
from grunlock.recipe import Recipe
from grunlock.runtime.classifier import TextClassifier
from grunlock.runtime.network import Network, wide_logits
from grunlock.runtime.norms import Weights
from grunlock.runtime.series_classifier import SeriesClassifier
from grunlock.shapes import FloatArray, PackedLayout
from grunlock.text import DistinctTokens
from grunlock.training.start import continue_from


@dataclass(frozen=True)
class TorchNetwork:
    """What runtime.network.Network computes, by the modules that were trained."""

    recipe: Recipe
    model: SequenceClassifier
    weights: Weights

    def logits(self, inputs: DistinctTokens | FloatArray, layout: PackedLayout) -> FloatArray:
        """[B, K], longest sequence first."""
        with torch.inference_mode():
            found: FloatArray = self.model(network_inputs(inputs, layout)).numpy()
        apart = self.recipe.wide_apart
        if apart is None or not isinstance(inputs, DistinctTokens):
            return found
        # Linear models were never torch modules; their sum is a product of arrays here as well.
        return found + wide_logits(self.weights, apart, inputs, layout.batch_sizes)


def torch_classifier(artifact: Artifact) -> TextClassifier | SeriesClassifier:
    """A classifier of the artifact whose network is torch's."""
    model = SequenceClassifier(artifact.recipe, artifact.derived)
    continue_from(model, artifact, artifact.labels)
    network = cast("Network", TorchNetwork(artifact.recipe, model.eval(), artifact.weights))
    return replace(artifact.classifier(), network=network)
