"""Transformers of Hugging Face's library, from a folder on disk: as teachers, and for vectors of words.

Nothing is downloaded.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

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

    def __init__(self, folder: str | Path, *, quick: bool = True) -> None:
        """quick: products in bfloat16 where the processor has them, in half the time."""
        self._quick = quick and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
        self._tokenizer = _open(folder, "AutoTokenizer")
        self._model = _open(folder, "AutoModelForSequenceClassification").eval()
        self.name = str(folder)

    @property
    def labels(self) -> tuple[str, ...]:
        names = self._model.config.id2label
        return tuple(names[i] for i in range(len(names)))

    def probabilities(self, texts: Sequence[str]) -> FloatArray:
        """[B, K]"""
        found = np.empty((len(texts), len(self.labels)), np.float32)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self._quick):
            for rows, batch in _batches(self._tokenizer, self._model, texts):
                found[rows] = torch.softmax(self._model(**batch).logits.float(), dim=1).numpy()
        return found


def whole_words(folder: str | Path) -> list[str]:
    """The words of a Transformer's own vocabulary that are whole words, in its order.

    Raises as HuggingFaceTeacher.
    """
    tokenizer = _open(folder, "AutoTokenizer")
    by_id = sorted(tokenizer.get_vocab().items(), key=lambda pair: pair[1])
    specials = set(tokenizer.all_special_tokens)
    return [word for word, _ in by_id if word.isalpha() and word not in specials]


def word_vectors(folder: str | Path, words: Sequence[str], how: Literal["run", "embeddings"]) -> FloatArray:
    """[words, E] static vectors of words by themselves.

    run: the mean of what the Transformer gives for a word's pieces where it reads that word alone, as in
        model2vec (Tulkens & van Dongen 2024). embeddings: the mean of the pieces' input embeddings.

    Raises as HuggingFaceTeacher.
    """
    tokenizer, model = _open(folder, "AutoTokenizer"), _open(folder, "AutoModel").eval()
    table = model.get_input_embeddings()
    found = np.empty((len(words), model.config.hidden_size), np.float32)
    specials = torch.tensor(tokenizer.all_special_ids)
    with torch.inference_mode():
        for rows, batch in _batches(tokenizer, model, words):
            ids = batch["input_ids"]
            states = model(**batch).last_hidden_state if how == "run" else table(ids)
            own = ~torch.isin(ids, specials)
            own |= ~own.any(dim=1, keepdim=True)  # a word of unknown pieces: all of them
            own &= batch["attention_mask"].bool()
            weights = own.float() / own.sum(dim=1, keepdim=True)
            found[rows] = torch.einsum("bt,bte->be", weights, states.float()).numpy()
    return found


def _open(folder: str | Path, kind: str) -> Any:
    """What the library's class of that name reads from the folder."""
    try:
        import transformers
    except ImportError as error:
        raise MissingDependencyError(
            "A model from Hugging Face's library needs transformers.",
            where=folder,
            got="transformers is not installed",
            cure='pip install "grunlock[teachers]"',
        ) from error
    logging: Any = transformers.utils.logging
    logging.disable_progress_bar()
    try:
        return getattr(transformers, kind).from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            "The folder holds no Transformer with its tokenizer.",
            where=folder,
            got=error,
            expected="what save_pretrained writes of the model and of its tokenizer",
        ) from error


def _batches(tokenizer: Any, model: Any, texts: Sequence[str]) -> Iterator[tuple[list[int], Any]]:
    """Texts of like length together, padded: their places, and what the model takes."""
    limit = min(tokenizer.model_max_length, model.config.max_position_embeddings)
    ids = tokenizer(list(texts), truncation=True, max_length=limit)["input_ids"]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and (stop + 1 - start) * len(ids[order[stop]]) <= BATCH_TOKENS:
            stop += 1
        rows = order[start:stop]
        yield rows, tokenizer.pad({"input_ids": [ids[i] for i in rows]}, return_tensors="pt")
        start = stop
