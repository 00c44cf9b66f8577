"""Text to token ids: writing systems, tokenisers, token types. Shared by training and runtime.

Reads no files and knows no model; nothing here imports torch.
"""

from grunlock.text.front_end import EncodedTexts, TextFrontEnd
from grunlock.text.script import Script, default_tokens, detect_script
from grunlock.text.token_kinds import EMPTY_ID, SPECIAL_TOKENS, UNKNOWN_ID
from grunlock.text.types import DistinctTokens, TokenTypes, TypeTable

__all__ = [
    "EMPTY_ID",
    "SPECIAL_TOKENS",
    "UNKNOWN_ID",
    "DistinctTokens",
    "EncodedTexts",
    "Script",
    "TextFrontEnd",
    "TokenTypes",
    "TypeTable",
    "default_tokens",
    "detect_script",
]
