"""Tokenisers of every kind: what they learn, that they repeat themselves, what they refuse."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from grunlock.errors import DataError
from grunlock.recipe.text_options import NgramOptions, TextOptions
from grunlock.text import TextFrontEnd, default_tokens, detect_script
from grunlock.text.types import context_ngrams, word_ngrams

ENGLISH = ["The film is good , very good !", "A bad film .", "It is bad", "Café ½ ﬁne"] * 3
CHINESE = ["很快。好吃。味道足、量大", "没有送水没有送水", "送餐很快 好吃"] * 3
KINDS = ["words", "characters", "bpe", "unigram", "chinese_words"]


def train(texts, tokens="words", ngrams=None, **options):
    return TextFrontEnd.train(lambda: iter(texts), TextOptions(tokens=tokens, **options), ngrams)


def words_of(front_end, text):
    encoded = front_end.encode([text], front_end.new_types())
    return [front_end.vocab()[i] for i in encoded.tokens]


@pytest.mark.parametrize(
    ("texts", "script"),
    [
        (ENGLISH, "spaced"),
        (CHINESE, "han"),
        (["iPhone 手机很好用 OK"], "han"),
        (["これは良い映画です", "面白くない"], "unspaced"),
        (["หนังดีมาก"], "unspaced"),
        (["좋은 영화"], "spaced"),
        (["123 !!"], "spaced"),
        ([], "spaced"),
    ],
)
def test_script(texts, script):
    assert detect_script(texts) == script
    assert default_tokens(script) == ("words" if script == "spaced" else "characters")


def test_words_are_normalised_and_ordered_by_count_then_alphabet():
    front_end = train(ENGLISH)
    assert front_end.vocab()[:6] == ["[unk]", "[empty]", "bad", "film", "good", "is"]
    assert words_of(front_end, "FILM? good") == ["film", "[unk]", "good"]
    assert {"café", "1", "2", "fine"} <= set(front_end.vocab())


def test_vocab_size_counts_specials_and_min_count_drops():
    assert train(ENGLISH, vocab_size=8).vocab_size == 8
    assert train(["a a b"], min_count=2).vocab() == ["[unk]", "[empty]", "a"]
    assert train(["a a b"], tokens="characters", min_count=2).vocab() == ["[unk]", "[empty]", "a"]


def test_characters_drop_whitespace():
    front_end = train(CHINESE, "characters")
    assert words_of(front_end, "好 吃\u3000很x") == ["好", "吃", "很", "[unk]"]


def test_chinese_words_are_segmented():
    assert words_of(train(CHINESE, "chinese_words"), "味道好吃") == ["味道", "好吃"]


def test_lowercase_can_be_kept():
    assert "The" in train(ENGLISH, lowercase=False).vocab()


@pytest.mark.parametrize("tokens", KINDS)
def test_special_names_in_a_text_are_text(tokens):
    front_end = train([*ENGLISH, *CHINESE, "[unk] [empty]"], tokens)
    encoded = front_end.encode(["[empty] [unk]"], front_end.new_types())
    assert len(encoded.tokens) > 2
    assert not {0, 1} & set(encoded.tokens.tolist())


@pytest.mark.parametrize("tokens", KINDS)
def test_json_round_trip_and_empty_texts(tokens):
    front_end = train(ENGLISH + CHINESE, tokens, max_tokens=3)
    text = front_end.to_json()
    assert Tokenizer.from_str(text).token_to_id("[unk]") == 0
    again = TextFrontEnd.from_json(text, tokens, 3, None)
    assert again.to_json() == text
    encoded = again.encode(["", " \n\u3000", "a good bad good film 很快好吃"], again.new_types())
    assert encoded.tokens[:2].tolist() == [1, 1]
    assert encoded.lengths.tolist() == [1, 1, 3]
    assert encoded.empty.tolist() == [True, True, False]
    assert encoded.cut.tolist() == [False, False, True]
    assert (encoded.tokens.dtype, encoded.lengths.dtype) == (np.int32, np.int64)


@pytest.mark.parametrize("tokens", KINDS)
def test_same_texts_same_bytes_in_any_process(tokens):
    code = (
        "import sys, hashlib\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from test_text_front_end import *\n"
        "print(hashlib.sha256(train(ENGLISH + CHINESE, sys.argv[2]).to_json().encode()).hexdigest())"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent), tokens]
    seen = {
        subprocess.run(
            command, env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(seen) == 1


@pytest.mark.parametrize("tokens", ["bpe", "unigram"])
def test_pieces_keep_to_the_vocab_size_even_with_many_characters(tokens):
    front_end = train(["".join(chr(0x4E00 + i) for i in range(50))], tokens, vocab_size=20)
    assert front_end.vocab_size <= 20


def test_bpe_respects_min_count_for_characters():
    vocab = train(["aaaa bb c"], "bpe", min_count=2).vocab()
    assert "b" in vocab
    assert "c" not in vocab


def test_auto_follows_the_script():
    assert train(CHINESE, "auto").tokens == "characters"
    assert train(ENGLISH, "auto").tokens == "words"


def test_unigram_refuses_min_count():
    with pytest.raises(DataError, match=r"min_count cannot act(.|\n)*--set text.min_count=1"):
        train(ENGLISH, "unigram", min_count=2)


@pytest.mark.parametrize("tokens", KINDS)
def test_nothing_to_learn_from(tokens):
    with pytest.raises(DataError, match=r"hold no token(.|\n)*data.text_column"):
        train(["", "  "], tokens)


def test_broken_tokenizer_json():
    with pytest.raises(DataError, match="cannot be read"):
        TextFrontEnd.from_json("{}", "words", None, None)
    fields = json.loads(train(ENGLISH).to_json())
    fields["model"]["vocab"] = {"a": 0, "[unk]": 1}
    with pytest.raises(DataError, match="lacks the special tokens"):
        TextFrontEnd.from_json(json.dumps(fields), "words", None, None)
    with pytest.raises(DataError, match=r"Unknown kind of token(.|\n)*chinese_words"):
        TextFrontEnd.from_json(train(ENGLISH).to_json(), "auto", None, None)


def test_what_is_no_text_is_refused():
    front_end = train(ENGLISH)
    with pytest.raises(DataError, match=r"not a string(.|\n)*text 2(.|\n)*None"):
        front_end.encode(["a", None], front_end.new_types())
    with pytest.raises(DataError, match=r"not valid Unicode(.|\n)*text 1, character 2"):
        front_end.encode(["a\ud800"], front_end.new_types())


def test_unknown_words_are_types_of_their_own():
    options = NgramOptions(buckets=1000, min_length=3, max_length=4)
    front_end = train(ENGLISH, ngrams=options)
    types = front_end.new_types()
    encoded = front_end.encode(["good zebra film zebra okapi"], types)
    size = front_end.vocab_size
    good, film = front_end.vocab().index("good"), front_end.vocab().index("film")
    assert encoded.tokens.tolist() == [good, size, film, size, size + 1]
    distinct = types.distinct(encoded.tokens)
    assert distinct.vocab_ids[distinct.inverse].tolist() == [good, 0, film, 0, 0]
    by_type = np.split(distinct.ngram_ids, distinct.ngram_offsets[1:-1])
    assert by_type[distinct.inverse[1]].tolist() == word_ngrams("zebra", options)
    assert by_type[distinct.inverse[0]].tolist() == word_ngrams("good", options)
    assert front_end.encode(["zebra"], types).tokens.tolist() == [size]


def test_character_ngrams_end_at_the_character():
    options = NgramOptions(buckets=1000, min_length=2, max_length=3)
    front_end = train(CHINESE, "characters", ngrams=options)
    types = front_end.new_types()
    distinct = types.distinct(front_end.encode(["好吃很"], types).tokens)
    by_token = [
        np.split(distinct.ngram_ids, distinct.ngram_offsets[1:-1])[i].tolist() for i in distinct.inverse
    ]
    assert by_token == [[], context_ngrams("好吃", options), context_ngrams("好吃很", options)]
    assert [front_end.vocab()[i] for i in distinct.vocab_ids[distinct.inverse]] == ["好", "吃", "很"]


def test_no_ngrams_over_special_tokens():
    front_end = train(ENGLISH, ngrams=NgramOptions())
    types = front_end.new_types()
    distinct = types.distinct(front_end.encode([""], types).tokens)
    assert distinct.vocab_ids.tolist() == [1]
    assert len(distinct.ngram_ids) == 0


def test_import_is_light():
    code = "import sys, grunlock.text; print({'torch', 'duckdb', 'rjieba'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("limit", "kept"), [(1, "a"), (2, "a f"), (3, "a b f"), (4, "a b e f"), (6, "a b c d e f")]
)
def test_a_long_text_may_lose_its_middle(limit, kept):
    front_end = train(["a b c d e f"], max_tokens=limit, cut="middle")
    assert words_of(front_end, "a b c d e f") == kept.split()
    again = TextFrontEnd.from_json(front_end.to_json(), "words", limit, None, "middle")
    assert words_of(again, "a b c d e f") == kept.split()


def test_unknown_words_keep_their_types_behind_the_cut():
    ngrams = NgramOptions(buckets=100, min_length=1)
    front_end = train(["a b c"], max_tokens=2, cut="middle", ngrams=ngrams)
    types = front_end.new_types()
    tokens = front_end.encode(["zebra b b lion"], types).tokens
    assert len(set(tokens.tolist())) == 2
    assert min(tokens) >= front_end.vocab_size
