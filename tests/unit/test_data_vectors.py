"""Pretrained vectors from every format, and what a wrong file says."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from grunlock.data import read_vectors
from grunlock.data.vectors import new_words
from grunlock.errors import DataError, RecipeError
from grunlock.recipe import read_recipe
from grunlock.recipe.text_options import TextOptions
from grunlock.text import TextFrontEnd

TENCENT = Path(__file__).parents[2].parent / "shared" / "vectors" / "tencent_zh_char_200d.npz"

VOCAB = ["[unk]", "[empty]", "cat", "Dog", "fish", ". . ."]
WORDS = {"dog": [1.0, 2.0], "cat": [3.0, 4.0], "Cat": [5.0, 6.0], ". . .": [7.0, 8.0], "other": [9.0, 9.0]}


def as_text(header=""):
    return header + "".join(f"{word} {' '.join(map(str, v))}\n" for word, v in WORDS.items())


def write(folder, name):
    path = folder / name
    matrix = np.array(list(WORDS.values()), np.float32)
    if name.endswith(".npz"):
        np.savez(path, vectors=matrix.astype(np.float16), vocab=np.array(list(WORDS)))
    elif name.endswith(".npy"):
        np.save(path, matrix)
        path.with_suffix(".vocab").write_text("\n".join(WORDS) + "\n")
    elif ".bin" in name:
        words = [w for w in WORDS if " " not in w]
        body = b"".join(w.encode() + b" " + np.array(WORDS[w], "<f4").tobytes() + b"\n" for w in words)
        path.write_bytes(f"{len(words)} 2\n".encode() + body)
    else:
        text = as_text("5 2\n" if ".vec" in name else "").encode()
        path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    return path


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.vec", "a.npz", "a.npy", "a.bin"])
def test_every_format(tmp_path, name):
    vectors = read_vectors(write(tmp_path, name), VOCAB, 2)
    has_spaced = ".bin" not in name
    assert vectors.matrix.tolist()[:5] == [[0, 0], [0, 0], [3, 4], [1, 2], [0, 0]]
    assert vectors.found.tolist() == [False, False, True, True, False, has_spaced]
    assert vectors.num_lowercased == 1
    assert vectors.matrix.dtype == np.float32
    count, share = (3, "50%") if has_spaced else (2, "33%")
    assert vectors.describe() == f"{count} of 6 tokens ({share}) have a vector, 1 of them in lower case"


def test_exact_wins_over_lower_case(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("dog 1 2\nDog 3 4\nDog 5 6\n")
    vectors = read_vectors(path, ["Dog"], 2)
    assert vectors.matrix.tolist() == [[3, 4]]
    assert vectors.num_lowercased == 0


@pytest.mark.parametrize("name", ["a.txt", "a.vec", "a.npz", "a.npy", "a.bin"])
def test_wrong_width(tmp_path, name):
    with pytest.raises(DataError, match=r"another width(.|\n)*got: +2(.|\n)*--set embedding.size=2"):
        read_vectors(write(tmp_path, name), VOCAB, 128)


def test_faults(tmp_path):
    def refused(name, data, match):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=match):
            read_vectors(tmp_path / name, ["cat"], 2)

    refused("a.txt", b"cat 1 2\ncow 1\n", r"too few numbers(.|\n)*a.txt, line 2")
    refused("b.txt", b"cat 1 x\n", r"something else than numbers(.|\n)*'cat'")
    refused("c.txt", b"cat 1 nan\n", r"not finite(.|\n)*'cat'")
    refused("d.bin", b"hello\n", "no word2vec binary")
    refused("e.bin", b"2 2\ncat \0\0\0\0", r"ends too early(.|\n)*word 1")
    refused("f.npy", b"", "The file is empty")
    refused("g.json", b"{}", r"not supported(.|\n)*\.vec")
    np.save(tmp_path / "h.npy", np.zeros((1, 2)))
    with pytest.raises(DataError, match=r"no word list(.|\n)*h\.vocab beside it"):
        read_vectors(tmp_path / "h.npy", ["cat"], 2)
    np.savez(tmp_path / "i.npz", other=np.zeros(2))
    with pytest.raises(DataError, match=r"cannot be read(.|\n)*`vectors`"):
        read_vectors(tmp_path / "i.npz", ["cat"], 2)
    with pytest.raises(DataError, match="no such file"):
        read_vectors(tmp_path / "none.npz", ["cat"], 2)


@pytest.mark.skipif(not TENCENT.is_file(), reason="the shared vectors are not beside the repository")
def test_shared_vectors():
    vectors = read_vectors(TENCENT, ["[unk]", "的", "好"], 200)
    assert vectors.found.tolist() == [False, True, True]


TEXTS = ["The cat sat", "a Dog ran"]


def front_end(**options):
    return TextFrontEnd.train(lambda: TEXTS, TextOptions(**options), None)


def test_new_words_come_in_the_files_order_and_are_tokens_of_their_own(tmp_path):
    path = write(tmp_path, "a.txt")
    trained = front_end(tokens="words")
    assert new_words(path, trained, 2, 10) == [
        "other"
    ]  # cat and dog are known, Cat is no spelling, ". . ." is three
    assert new_words(path, front_end(tokens="words", lowercase=False), 2, 10) == ["dog", "Cat", "other"]
    assert new_words(path, trained, 2, 0) == []


def test_new_words_join_behind_the_vocabulary():
    trained = front_end(tokens="words")
    more = trained.with_words(["other"])
    assert more.vocab() == [*trained.vocab(), "other"]
    encoded = more.encode(["other cat"], more.new_types())
    assert [more.vocab()[i] for i in encoded.tokens] == ["other", "cat"]
    assert trained.encode(["other"], trained.new_types()).tokens.tolist() == [0]


def test_pieces_of_words_take_no_words_in():
    with pytest.raises(DataError, match=r"vocabulary of whole words(.|\n)*vector_words(.|\n)*bpe"):
        front_end(tokens="bpe", vocab_size=40).with_words(["other"])


def test_words_need_a_file_of_vectors():
    with pytest.raises(RecipeError, match="vector_words = 0 without vectors"):
        read_recipe("tiny", ["embedding.vector_words=5"])
