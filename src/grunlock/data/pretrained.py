"""A pretrained network on disk: how it reads texts, and its weights. Who makes it is pretraining/'s business.

tokenizer.json             the Hugging Face tokenizers format
pretrained.json            {"version", "tokens", "embedding_size", "encoder", "sha256", ...}
weights.safetensors        float32 tensors embedding.* and encoder.* under a classifier's names
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from grunlock.errors import ArtifactError, RecipeError
from grunlock.files import atomic_file, write_atomically
from grunlock.recipe.schema import Recipe
from grunlock.text import TextFrontEnd

VERSION = 1
TOKENIZER, FACTS, WEIGHTS = "tokenizer.json", "pretrained.json", "weights.safetensors"

Weights = dict[str, NDArray[np.float32]]

# What of an encoder's options decides the shapes of its weights, or what they compute.
SAME = ("kind", "hidden_size", "num_layers", "bidirectional", "norm", "cell_norm", "reset_after")


@dataclass(frozen=True)
class Pretrained:
    """A folder whose facts have been read."""

    folder: Path
    facts: Mapping[str, Any]

    @property
    def sha256(self) -> str:
        """Of the weights."""
        return str(self.facts["sha256"])

    def front_end(self, recipe: Recipe) -> TextFrontEnd:
        """How it reads texts, with the n-grams that the recipe wants beside.

        Raises RecipeError for a recipe of another network or other tokens.
        """
        self._check_fits(recipe)
        assert recipe.text is not None
        try:
            stored = (self.folder / TOKENIZER).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise ArtifactError("The tokeniser cannot be read.", where=self.folder, got=error) from error
        tokens, text = self.facts["tokens"], recipe.text
        return TextFrontEnd.from_json(stored, tokens, text.max_tokens, recipe.ngrams_of(tokens), text.cut)

    def weights(self) -> Weights:
        """Raises ArtifactError if they are not those that were written."""
        try:
            content = (self.folder / WEIGHTS).read_bytes()
        except OSError as error:
            raise ArtifactError("The weights cannot be read.", where=self.folder, got=error) from error
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise ArtifactError(
                "The pretrained weights are not those that were written.",
                where=self.folder / WEIGHTS,
                cure="copy the folder again, or pretrain again",
            )
        try:
            return safetensors.numpy.load(content)
        except (SafetensorError, ValueError, LookupError, TypeError) as error:
            raise ArtifactError("The weights cannot be read.", where=self.folder, got=error) from error

    def _check_fits(self, recipe: Recipe) -> None:
        embedding, encoder = recipe.embedding, recipe.encoder.model_dump(mode="json")
        wanted = {f"encoder.{name}": encoder.get(name) for name in SAME}
        wanted["embedding.size"] = None if embedding is None else embedding.size
        own = {f"encoder.{name}": self.facts["encoder"].get(name) for name in SAME}
        own["embedding.size"] = self.facts["embedding_size"]
        differing = [name for name, value in own.items() if wanted[name] != value]
        if differing:
            raise RecipeError(
                "The pretrained network is another one than the recipe's.",
                where=f"pretrained.path = {self.folder}",
                got=", ".join(f"{name} = {wanted[name]}" for name in differing),
                expected=", ".join(f"{name} = {own[name]}" for name in differing),
                cure=" ".join(f"--set {name}={json.dumps(own[name])}" for name in differing),
            )


def open_pretrained(folder: str | Path) -> Pretrained:
    """Raises ArtifactError if there is nothing pretrained in the folder."""
    folder = Path(folder)
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        if facts["version"] != VERSION:
            raise ValueError(f"version {facts['version']}, expected {VERSION}")
        _ = facts["tokens"], dict(facts["encoder"]), facts["embedding_size"], facts["sha256"]
        if type(facts.get("tokens_seen", 0)) is not int:
            raise TypeError("tokens_seen is no number")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError(
            "There is no pretrained network here.",
            where=folder,
            got=error,
            expected="a folder that `grunlock pretrain` filled",
        ) from error
    return Pretrained(folder, facts)


def save_pretrained(
    folder: Path, front_end: TextFrontEnd, recipe: Recipe, weights: Weights, about: Mapping[str, Any]
) -> None:
    """Write a folder, its facts last. `about` joins them."""
    assert recipe.embedding is not None
    content = safetensors.numpy.save(weights)
    write_atomically(folder / TOKENIZER, front_end.to_json())
    with atomic_file(folder / WEIGHTS) as file:
        file.write(content)
    facts = {
        "version": VERSION,
        "tokens": front_end.tokens,
        "embedding_size": recipe.embedding.size,
        "encoder": recipe.encoder.model_dump(mode="json"),
        "sha256": hashlib.sha256(content).hexdigest(),
        **about,
    }
    write_atomically(folder / FACTS, json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
