"""A text in pieces gives the tokens of the text, however it is cut and wherever it stops."""

import string
import unicodedata
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import normalizers

from grunlock.errors import DataError
from grunlock.recipe.text_options import NgramOptions, TextOptions
from grunlock.text import TextFrontEnd, streamed
from grunlock.text.streamed import StreamedText, settled_end

TRAINED = [
    "The film is good , very good !",
    "café caf\u00e9s ½ ﬁne <b> x\u0308y",
    "很快。好吃。 味道 足",
    "가나 다 が き",
]
# What is awkward: marks, ligatures, Korean letters, halfwidth Kana, quarters, wide spaces, an İ, separators.
AWKWARD = (
    "ab eé\u0301\u0308\u0323 ﬁ½㍿ﷺ가ᄀ\u1161\u11a8か\u3099ｶﾞㄱㅏ中国\ufe0f<>=\u0338 "
    "\u3000\u00a0\t\n\x1cIİ.,!?'_-9²\u200d\ufeff🙂"
)

CASES = {
    "words": ("words", None),
    "words with n-grams": ("words", NgramOptions(buckets=50, min_length=2, max_length=4)),
    "characters": ("characters", None),
    "characters in context": ("characters", NgramOptions(buckets=50, min_length=2, max_length=3)),
    "characters by themselves": ("characters", NgramOptions(buckets=50, min_length=1, max_length=1)),
}
texts = st.text(
    alphabet=st.one_of(st.sampled_from(AWKWARD), st.characters(exclude_categories=["Cs"])), max_size=24
)
cuts = st.lists(st.integers(0, 24), max_size=8)


def trained(case: str, **options: object) -> TextFrontEnd:
    tokens, ngrams = CASES[case]
    return TextFrontEnd.train(lambda: TRAINED, TextOptions(tokens=tokens, **options), ngrams)


FRONT_ENDS = {case: trained(case) for case in CASES}


def listed(distinct) -> list[tuple[int, tuple[int, ...]]]:
    """Each token's id, and its n-grams."""
    ids = distinct.vocab_ids[distinct.inverse].tolist()
    if distinct.ngram_ids is None:
        return [(vocab_id, ()) for vocab_id in ids]
    edges, ngrams = distinct.ngram_offsets.tolist(), distinct.ngram_ids.tolist()
    return [(i, tuple(ngrams[edges[u] : edges[u + 1]])) for i, u in zip(ids, distinct.inverse, strict=True)]


def of_whole(front_end: TextFrontEnd, text: str) -> list[tuple[int, tuple[int, ...]]]:
    types = front_end.new_types()
    encoded = front_end.encode([text], types)
    return listed(types.distinct(encoded.tokens))


def check(front_end: TextFrontEnd, text: str, places: list[int], reader_type=StreamedText) -> None:
    reader, complete = reader_type(front_end, empty_token=True), []
    edges = sorted({0, len(text), *(place for place in places if place < len(text))})
    for start, end in pairwise(edges):
        complete += [token for block in reader.feed(text[start:end]) for token in listed(block)]
        for _ in range(2):  # looking changes nothing
            rest = [token for block in reader.rest() for token in listed(block)]
            assert complete + rest == of_whole(front_end, text[:end])


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=300, deadline=None)
@given(text=texts, places=cuts)
@example(text="cafe\u0301s", places=[4])
@example(text="the film, is", places=[2, 5, 8, 9])
@example(text="\u1100\u1161\u11a8", places=[1, 2])
@example(text="ｶﾞ ﬁne", places=[1])
def test_any_text_in_any_pieces(case: str, text: str, places: list[int]) -> None:
    check(FRONT_ENDS[case], text, places)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("lowercase", [True, False])
def test_one_character_at_a_time(case: str, lowercase: bool) -> None:
    text = "The café, Caf\u0065\u0301s: very GOOD!  が か\u3099 很快 ½ \u1100\u1161"
    check(trained(case, lowercase=lowercase), text, list(range(len(text))))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("max_tokens", [1, 3, 5])
def test_what_is_cut_off_is_not_read(case: str, max_tokens: int) -> None:
    text = "the film is very good , caf\u0065\u0301 !"
    check(trained(case, max_tokens=max_tokens), text, list(range(len(text))))
    check(trained(case, max_tokens=max_tokens), text, [7])
    reader = StreamedText(trained(case, max_tokens=max_tokens), empty_token=True)
    reader.feed("the film is good and " * 100)
    reader.feed("x" * 1000)
    assert (reader._raw, reader._word, reader._context) == ("", "", "")


def test_a_word_is_complete_when_its_end_is_seen() -> None:
    def completed(case: str, text: str) -> str:
        reader = StreamedText(FRONT_ENDS[case], empty_token=False)
        return "".join(str(sum(len(block.inverse) for block in reader.feed(piece))) for piece in text)

    assert completed("words", "it is, now ") == "00100110001"  # a comma may be followed by another
    assert completed("characters", "很快ab ") == "11011"  # only the letters wait for an accent


def test_long_pieces_come_in_blocks() -> None:
    reader = StreamedText(FRONT_ENDS["words"], empty_token=False)
    blocks = reader.feed("film " * 300)
    assert [len(block.inverse) for block in blocks] == [256, 44]


def test_an_empty_text() -> None:
    front_end = FRONT_ENDS["words"]
    for text in ("", "  \n"):
        reader = StreamedText(front_end, empty_token=True)
        assert reader.feed(text) == []
        assert [listed(block) for block in reader.rest()] == [of_whole(front_end, text)]
        assert StreamedText(front_end, empty_token=False).rest() == []


def test_what_is_no_text_is_refused_and_changes_nothing() -> None:
    reader = StreamedText(FRONT_ENDS["words"], empty_token=False)
    reader.feed("the fi")
    for piece in ("a\ud800", 3, None):
        with pytest.raises(DataError, match=r"not valid Unicode|not a string"):
            reader.feed(piece)
    assert listed(reader.feed("lm ")[-1]) == of_whole(FRONT_ENDS["words"], "the film")[1:]


def test_every_character_is_known_to_combine_or_not() -> None:
    """Of those that begin anew what stands before them is no other, in the library that is in use; of those
    that combine with nothing what follows is none."""
    normalize = normalizers.NFKC().normalize_str
    before = ["a", "か", "가", "ᄀ", "<", "ে"]
    settled = {text: normalize(text) for text in before}
    for point in (p for p in range(0x110000) if not 0xD800 <= p <= 0xDFFF):
        character = chr(point)
        if streamed._begins_anew(character):
            own = normalize(character)
            assert all(normalize(text + character) == settled[text] + own for text in before), hex(point)
    marks = [chr(point) for point in range(0x110000) if unicodedata.combining(chr(point))]
    for character in (c for c in " \t.,!?'0\x7f中\uf900\u3000\u00a0" + string.punctuation if c not in "<=>"):
        assert streamed._combines_with_nothing(character)
        own = normalize(character)
        assert all(normalize(character + mark) == own + normalize(mark) for mark in marks), character
    assert not any(streamed._combines_with_nothing(c) for c in "aZ<=>éかᄀ가")


MUTATIONS = {
    "every piece is normalised by itself": (
        "    for place in range(len(text) - 1, -1, -1):",
        "    for place in (len(text),):\n        return place\n    for place in range(0):",
    ),
    "every word at an end is complete": ("if ended or not pieces or", "if True or"),
    "looking takes the word away": (
        "tokens, _, _ = self._read(self._normalize(self._raw), ended=True)",
        "tokens, self._word, _ = self._read(self._normalize(self._raw), ended=True)",
    ),
    "the context is forgotten": ("context = self._context", 'context = ""'),
    "the limit counts pieces": ("self._num_tokens += len(tokens)", "self._num_tokens += 1"),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_planted_errors_are_caught(mutation: str) -> None:
    source = Path(streamed.__file__).read_text(encoding="utf-8")
    old, new = MUTATIONS[mutation]
    assert source.count(old) == 1, "the module was rewritten: write this mutation anew"
    for changed in (False, True):
        module = SimpleNamespace()
        code = source.replace(old, new) if changed else source
        exec(compile(code, "mutated_streamed.py", "exec"), module.__dict__)
        text = "cafe\u0301s, the film 很快 is good"
        caught = False
        for case in CASES:
            for front_end in (FRONT_ENDS[case], trained(case, max_tokens=4)):
                try:
                    check(front_end, text, list(range(len(text))), module.StreamedText)
                except AssertionError:
                    caught = True
        assert caught == changed


def test_settled_end_by_hand() -> None:
    assert [settled_end(text) for text in ("", "a", "ab", "a ", "很", "e\u0301", "xe\u0301")] == [
        0,
        0,
        1,
        2,
        1,
        0,
        1,
    ]
