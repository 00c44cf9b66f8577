"""What the script beside a graph must know to read texts or series as the model does.

tokenizer.json   as in the model file (texts)
front_end.json   options and statistics; FrontEnd in predict_text.py and predict_series.py reads them
wide_rows.npz    of a wide path that learned apart: gaps between the buckets it knows, and their rarity
"""

import io
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grunlock.export.portable import PortableModel, WidePart
from grunlock.series import SeriesFrontEnd
from grunlock.shapes import FloatArray
from grunlock.text import TextFrontEnd

FACTS, TOKENIZER, WIDE_ROWS = "front_end.json", "tokenizer.json", "wide_rows.npz"


def front_end_files(model: PortableModel) -> dict[str, bytes]:
    """Contents by file name."""
    if isinstance(model.front_end, SeriesFrontEnd):
        return {FACTS: _json(_series_facts(model.front_end))}
    files = {TOKENIZER: model.front_end.to_json().encode(), FACTS: _json(_text_facts(model, model.front_end))}
    wide = model.wide
    if wide is not None and wide.rows is not None and wide.rarity is not None and len(wide.rows):
        files[WIDE_ROWS] = _known_rows(wide.rows, wide.rarity)
    return files


def _text_facts(model: PortableModel, front_end: TextFrontEnd) -> dict[str, Any]:
    return {
        "tokens": front_end.tokens,
        "max_tokens": front_end.max_tokens,
        "cut": front_end.cut,
        "keeps_empty": model.keeps_empty,
        "ngrams": None if front_end.ngrams is None else front_end.ngrams.model_dump(),
        "ngram_vectors": None if model.ngrams is None else len(model.ngrams),
        "wide": None if model.wide is None else _wide_facts(model.wide),
    }


def _wide_facts(wide: WidePart) -> dict[str, Any] | None:
    """rows: the file of the buckets that have a row; None where all have one."""
    if not len(wide.weights):
        return None
    options = wide.options
    return {
        "buckets": options.buckets,
        "max_length": options.max_length,
        "characters": options.characters,
        "rows": None if wide.rows is None else WIDE_ROWS,
    }


def _known_rows(rows: NDArray[np.int32], rarity: FloatArray) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, gaps=np.diff(rows, prepend=np.int32(0)), rarity=rarity)
    return stream.getvalue()


def _series_facts(front_end: SeriesFrontEnd) -> dict[str, Any]:
    scale = front_end.change_scale
    return {
        **front_end.standardization.to_dict(),
        "change_scale": None if scale is None else scale.tolist(),
        "each_alone": front_end.options.each_alone,
    }


def _json(value: object) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()
