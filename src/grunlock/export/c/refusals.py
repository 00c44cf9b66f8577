"""What the C sources cannot compute, said before any file is written."""

import json

from grunlock.errors import ExportError
from grunlock.export.portable import PortableModel
from grunlock.recipe.model_options import ConvOptions
from grunlock.text import TextFrontEnd

POOLED = ("max", "mean", "last")
NEAREST_TOKENS = {"bpe": "words", "unigram": "words", "chinese_words": "characters"}
PRE_TOKENIZERS = {
    "words": {"type": "Whitespace"},
    "characters": {
        "type": "Sequence",
        "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "FixedLength", "length": 1}],
    },
}


def refuse_unless_in_c(model: PortableModel, max_steps: int) -> None:
    """Raises ExportError for a convolution, pooling that attends, tokens that are pieces of words, and a
    tokeniser that is not as this version trains it."""
    if max_steps < 1:
        raise ExportError(
            "A model needs room for a step.", where="max_steps", got=max_steps, expected="1 or more"
        )
    if isinstance(model.encoder, ConvOptions):
        raise ExportError(
            "The C sources have no convolution.",
            where="encoder.kind",
            got=model.encoder.kind,
            expected="gru, lstm or bag",
            cure="export with --to onnx, or train with --set encoder.kind=gru",
        )
    others = [part for part in model.pooling if part not in POOLED]
    if others:
        raise ExportError(
            "The C sources have no pooling that attends.",
            where="pooling.parts",
            got=", ".join(others),
            expected=", ".join(POOLED),
            cure='export with --to onnx, or train with --set \'pooling.parts=["max", "mean"]\'',
        )
    if isinstance(model.front_end, TextFrontEnd):
        _refuse_tokens(model.front_end)


def _refuse_tokens(front_end: TextFrontEnd) -> None:
    if front_end.tokens in NEAREST_TOKENS:
        raise ExportError(
            "The C front end cannot make these tokens.",
            where="text.tokens",
            got=front_end.tokens,
            expected="words or characters",
            cure=f"export with --to onnx, or train with --set text.tokens={NEAREST_TOKENS[front_end.tokens]}",
        )
    stored = json.loads(front_end.to_json())
    steps = stored["normalizer"].get("normalizers", [])
    known = [{"type": "NFKC"}], [{"type": "NFKC"}, {"type": "Lowercase"}]
    if steps not in known or stored["pre_tokenizer"] != PRE_TOKENIZERS[front_end.tokens]:
        raise ExportError(
            "The tokeniser is none that the C front end knows.",
            where="tokenizer.json",
            got=f"{stored['normalizer']}, {stored['pre_tokenizer']}",
            expected="NFKC, perhaps lowercase, then words or characters",
            cure="train the model again with this version",
        )


def makes_lowercase(front_end: TextFrontEnd) -> bool:
    return {"type": "Lowercase"} in json.loads(front_end.to_json())["normalizer"]["normalizers"]
