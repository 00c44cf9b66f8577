"""Data prepared once for all recipes that read it alike."""

import hashlib
import json
import shutil
import time
from pathlib import Path
from typing import Any

from grunlock.data.prepare import Examples, prepare
from grunlock.data.prepared import is_prepared
from grunlock.data.pretrained import open_pretrained
from grunlock.files import alone
from grunlock.recipe import Recipe


def prepared_for(
    recipe: Recipe,
    folder: Path,
    source: Examples,
    valid: Examples | None = None,
    test: Examples | None = None,
) -> Path:
    """The prepared data of these sources as this recipe reads it, below `folder`.

    Whoever asks first makes them, while others wait.

    Raises what `prepare` raises.
    """
    own = folder / _key(recipe)
    if not is_prepared(own):
        with alone(folder.with_name(f".{folder.name}-{own.name}.lock")):
            if not is_prepared(own):
                _prepare_into(own, source, recipe, valid, test)
    return own


def _prepare_into(
    own: Path, source: Examples, recipe: Recipe, valid: Examples | None, test: Examples | None
) -> None:
    working = own.with_name(f"{own.name}.{time.time_ns()}")  # whole under its own name, or not there
    working.mkdir(parents=True)
    try:
        prepare(source, recipe, working, valid=valid, test=test)
        working.rename(own)
    except BaseException:
        shutil.rmtree(working, ignore_errors=True)
        raise


def _key(recipe: Recipe) -> str:
    """Of all that `prepare` looks at in a recipe."""
    embedding = recipe.embedding
    sections = {
        "data": recipe.data,
        "text": recipe.text,
        "series": recipe.series,
    }
    plain: dict[str, Any] = {
        name: None if found is None else found.model_dump(mode="json") for name, found in sections.items()
    }
    plain["ngrams"] = None if embedding is None else embedding.model_dump(mode="json", include={"ngrams"})
    plain["characters"] = recipe.wide is not None and recipe.wide.characters
    if embedding is not None and embedding.vector_words:
        plain["words"] = embedding.model_dump(mode="json", include={"vectors", "vector_words", "size"})
    if recipe.pretrained is not None:
        plain["pretrained"] = {"sha256": open_pretrained(recipe.pretrained.path).sha256}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]
