"""Lend a model other weights for a while. Knows nothing of where they come from."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def restored_afterwards(tensors: Iterable[Tensor]) -> Iterator[None]:
    """Whatever happens to the tensors' values inside, afterwards they are bit for bit as before.

    Values are copied, not recomputed: adding and subtracting the same number does not give the old float.
    """
    held = list(tensors)
    saved = [tensor.detach().clone() for tensor in held]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in zip(held, saved, strict=True):
                tensor.copy_(value)
