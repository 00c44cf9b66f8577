"""Starting from a pretrained embedding and encoder: their weights, and how fast each part learns."""

from collections.abc import Mapping

import numpy as np
import torch

from grunlock.data.pretrained import open_pretrained
from grunlock.errors import ArtifactError
from grunlock.models import SequenceClassifier
from grunlock.recipe.optimization_options import PretrainedOptions

ENCODER, EMBEDDING = "encoder", "embedding"  # parts of SequenceClassifier


class PartRates:
    """Factors on the learning rate of what was pretrained: discriminative rates and gradual unfreezing.

    Howard & Ruder 2018 (ULMFiT, 1801.06146): each part below learns lr_decay times slower, and joins
    unfreeze_epochs after the part above.
    """

    def __init__(self, options: PretrainedOptions) -> None:
        self._options = options

    def __call__(self, epoch: int) -> Mapping[str, float]:
        """The factors in this epoch, counted from 0."""
        wait, decay = self._options.unfreeze_epochs, self._options.lr_decay
        return {
            ENCODER: 1 / decay if epoch >= wait else 0.0,
            EMBEDDING: 1 / decay**2 if epoch >= 2 * wait else 0.0,
        }


def take_pretrained(model: SequenceClassifier, options: PretrainedOptions) -> tuple[str, ...]:
    """Put the pretrained weights in place of the fresh ones. Returns what to tell the user.

    Raises ArtifactError if they do not fit, as after a change of the folder.
    """
    pretrained = open_pretrained(options.path)
    weights, state = pretrained.weights(), model.state_dict()
    for name, value in weights.items():
        if name not in state or tuple(state[name].shape) != value.shape or not np.isfinite(value).all():
            raise ArtifactError(
                "The pretrained weights do not fit the network.",
                where=options.path,
                got=f"{name} {list(value.shape)} of {value.dtype}",
                expected=f"{list(state[name].shape)}, finite" if name in state else "no such weight",
                cure="pretrain again",
            )
        state[name] = torch.from_numpy(value)
    model.load_state_dict(state)
    seen = pretrained.facts.get("tokens_seen", 0)
    return (f"embedding and encoder from {options.path}, pretrained on {seen:,} tokens",)
