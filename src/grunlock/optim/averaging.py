"""Exponential moving average of the weights, on top of torch's. Decides nothing about when to use it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from grunlock.errors import RunError
from grunlock.optim.weight_swap import restored_afterwards


@final
class WeightAverage:
    """average <- d * average + (1 - d) * weights, after each step.

        d = min(decay, (1 + t) / (10 + t)),   t the number of earlier updates

    so that a short training is not dominated by its first weights. The first update copies the weights.
    Parameters only: buffers, such as BatchNorm's statistics, stay the model's own.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model = model
        self._decay = decay
        self._averaged = AveragedModel(model, multi_avg_fn=self._average)
        self._averaged.requires_grad_(False)

    def update(self) -> None:
        """Take the model's present weights into the average. Call after each optimiser step."""
        self._averaged.update_parameters(self._model)

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """The model has the averaged weights inside; its own, bit for bit, again afterwards.

        Before the first update the average is what the weights were when this object was made.
        """
        parameters = list(self._model.parameters())
        with restored_afterwards(parameters):
            with torch.no_grad():
                for parameter, averaged in zip(parameters, self._averaged.module.parameters(), strict=True):
                    parameter.copy_(averaged)
            yield

    def state_dict(self) -> dict[str, Any]:
        """Live tensors by parameter name, and the number of updates."""
        parameters = dict(self._averaged.module.named_parameters())
        return {
            "num_updates": int(self._averaged.n_averaged),
            "parameters": {name: tensor.detach() for name, tensor in parameters.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on bit for bit from a state of the same model."""
        self._averaged.n_averaged.fill_(state["num_updates"])
        own = dict(self._averaged.module.named_parameters())
        if own.keys() != state["parameters"].keys():
            raise RunError(
                "The averaged weights in the checkpoint are another model's.",
                got=sorted(state["parameters"].keys() ^ own.keys()),
                expected="the same parameter names",
            )
        for name, parameter in own.items():
            parameter.copy_(state["parameters"][name])

    def _average(self, averaged: Any, current: Any, num_averaged: Tensor | int) -> None:
        updates = int(num_averaged)
        decay = min(self._decay, (1 + updates) / (10 + updates))
        ema = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        ema(averaged, current, num_averaged)
