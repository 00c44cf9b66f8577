"""A sequence classifier of Hugging Face's library as teacher, from a folder. Nothing is downloaded."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from grunlock.errors import DataError, MissingDependencyError
from grunlock.shapes import FloatArray

BATCH_TOKENS = 8192  # padded ones, at a time


class HuggingFaceTeacher:
    """What `save_pretrained` wrote of a model for sequence classification and its tokenizer.

    Its label names are config.id2label. Texts are cut where the model cannot read further.

    Raises MissingDependencyError without transformers, DataError for a folder that holds no such model.
    """

    def __init__(self, folder: str | Path) -> None:
        try:
            from transformers import AutoModelForSequenceClassification, AutoTokenizer
        except ImportError as error:
            raise MissingDependencyError(
                "A teacher from Hugging Face's library needs transformers.",
                where=folder,
                got="transformers is not installed",
                cure="pip install transformers",
            ) from error
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            self._model: Any = AutoModelForSequenceClassification.from_pretrained(
                folder, local_files_only=True
            )
        except (OSError, ValueError, KeyError) as error:
            raise DataError(
                "The folder holds no sequence classifier.",
                where=folder,
                got=error,
                expected="what save_pretrained writes of the model and of its tokenizer",
            ) from error
        self._model.eval()
        self.name = str(folder)

    @property
    def labels(self) -> tuple[str, ...]:
        names = self._model.config.id2label
        return tuple(names[i] for i in range(len(names)))

    def probabilities(self, texts: Sequence[str]) -> FloatArray:
        """[B, K]; texts of like length are read together."""
        limit = min(self._tokenizer.model_max_length, self._model.config.max_position_embeddings)
        ids = self._tokenizer(list(texts), truncation=True, max_length=limit)["input_ids"]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        found = np.empty((len(ids), len(self.labels)), np.float32)
        start = 0
        with torch.inference_mode():
            while start < len(order):
                stop = start + 1
                while stop < len(order) and (stop + 1 - start) * len(ids[order[stop]]) <= BATCH_TOKENS:
                    stop += 1
                part = order[start:stop]
                padded = self._tokenizer.pad({"input_ids": [ids[i] for i in part]}, return_tensors="pt")
                found[part] = torch.softmax(self._model(**padded).logits.float(), dim=1).numpy()
                start = stop
        return found
