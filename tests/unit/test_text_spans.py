"""Where tokens stand in the text as it was given, through normalising."""

import numpy as np
import pytest

from grunlock.recipe import read_recipe
from grunlock.text.front_end import TextFrontEnd
from grunlock.text.spans import token_spans, word_spans

TEXTS = [
    "Hello, ﬁne World! naïve 👩‍👩‍👧 ok 😀😀",
    "我爱北京天安门。 今天 天气ＡＢＣ很好",
    "שלום עולם, مرحبا بالعالم",
    "cafe\u0301 e\u0301e\u0301 ½ ㎏ … ™",
    "",
    "   ",
    "a\x1cb\u00a0c\u3000d ¨x",
    "İstanbul STRASSE ß ẞ",
]
KINDS = ["words", "characters", "bpe", "unigram", "chinese_words"]


def front_end(kind: str, *, ngrams: bool, cut: tuple[str, ...] = ()) -> TextFrontEnd:
    without = [] if ngrams else ["embedding.ngrams=off", "wide=off"]
    recipe = read_recipe("default", [f"text.tokens={kind}", *without, *cut])
    assert recipe.text is not None
    return TextFrontEnd.train(lambda: TEXTS * 3, recipe.text, recipe.ngrams_of(kind))


@pytest.mark.parametrize("ngrams", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_there_is_a_span_for_each_token(kind: str, ngrams: bool) -> None:
    tokeniser, rng = front_end(kind, ngrams=ngrams), np.random.default_rng(0)
    letters = list("".join(TEXTS) + "\x1c\x1d\x85\u2028 \t\n")
    drawn = ["".join(rng.choice(letters, rng.integers(40))) for _ in range(200)]
    for text in [*TEXTS, *drawn]:
        spans = token_spans(tokeniser, text)
        assert len(spans) == tokeniser.encode([text], tokeniser.new_types()).lengths[0], text
        assert all(0 <= start <= end <= len(text) for start, end in spans)
        assert [start for start, _ in spans] == sorted(start for start, _ in spans)
        for start, end in word_spans(tokeniser, text):
            assert 0 <= start < end <= len(text)


def pieces(kind: str, text: str, ngrams: bool = True) -> list[str]:
    return [text[start:end] for start, end in token_spans(front_end(kind, ngrams=ngrams), text)]


def test_spans_are_of_the_text_as_it_was_given() -> None:
    assert pieces("words", TEXTS[0])[:6] == ["Hello", ",", "ﬁne", "World", "!", "naïve"]
    assert pieces("words", TEXTS[2]) == ["שלום", "עולם", ",", "مرحبا", "بالعالم"]
    assert pieces("chinese_words", TEXTS[1])[:5] == ["我", "爱", "北京", "天安门", "。"]
    assert pieces("chinese_words", TEXTS[1])[7] == "\uff21\uff22\uff23"
    assert pieces("bpe", TEXTS[2])[0] == "שלום"  # without the space that a piece begins with


def test_an_accent_belongs_to_its_letter() -> None:
    assert pieces("words", "cafe\u0301 x") == ["cafe\u0301", "x"]
    assert pieces("characters", "e\u0301x") == ["e\u0301", "x"]


def test_what_becomes_several_characters_is_the_span_of_each() -> None:
    assert pieces("characters", "ﬁn") == ["ﬁ", "ﬁ", "n"]
    assert pieces("characters", "😀a") == ["😀", "a"]


def test_a_cut_text_keeps_the_spans_of_its_tokens() -> None:
    cut = front_end("words", ngrams=True, cut=("text.max_tokens=4", "text.cut=middle"))
    text = "one two three four five six"
    assert [text[a:b] for a, b in token_spans(cut, text)] == ["one", "two", "five", "six"]


def test_an_empty_text_has_one_empty_span() -> None:
    assert token_spans(front_end("words", ngrams=True), "  ") == [(0, 0)]


def test_words_of_characters() -> None:
    tokeniser, text = front_end("characters", ngrams=True), "我爱北京天安门 ok, ﬁne"
    words = [text[start:end] for start, end in word_spans(tokeniser, text)]
    assert words[:4] == ["我", "爱", "北京", "天安门"]
    assert "ﬁne" in words
