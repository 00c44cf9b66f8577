"""Files in a wrong encoding are refused with the place and the likely cure."""

import gzip

import pytest

from grunlock.data.encoding import check_encoding, open_text
from grunlock.errors import DataError

CHINESE = "很快就送到了\t好评\n味道非常好吃\t好评\n没有送水\t差评\n" * 20


def write(folder, data, name="a.tsv"):
    path = folder / name
    path.write_bytes(data)
    return path


def read(path, encoding="utf-8"):
    with open_text(path, encoding, "\n") as text:
        return text.read()


def refusal(path, encoding="utf-8"):
    with pytest.raises(DataError) as raised:
        read(path, encoding)
    return str(raised.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16", "big5"])
def test_good_files_are_read_without_mark(tmp_path, encoding):
    text = "很好\t1\n不好\t0\n"
    path = write(tmp_path, text.encode(encoding))
    assert read(path, "utf-8" if encoding == "utf-8-sig" else encoding) == text
    check_encoding(path, encoding)


def test_gzip_is_known_by_its_bytes(tmp_path):
    assert read(write(tmp_path, gzip.compress("é\n".encode()), "a.csv")) == "é\n"


def test_gb18030_is_proposed(tmp_path):
    message = refusal(write(tmp_path, b"text\tlabel\n" + CHINESE.encode("gb18030")))
    assert "line 2, byte 11" in message
    assert "bytes ba dc" in message
    assert "looks like GB18030: --set data.encoding=gb18030" in message


def test_latin1_is_not_guessed(tmp_path):
    message = refusal(write(tmp_path, b"plain\ncaf\xe9 noir\nna\xefve\n"))
    assert "not valid UTF-8" in message
    assert "line 2, byte 9" in message
    assert "GB18030" not in message
    assert "--set data.encoding=" in message


def test_mixed_encodings(tmp_path):
    lines = [b"plain", "很好".encode(), "café".encode("latin-1"), "不好".encode()]
    message = refusal(write(tmp_path, b"\n".join(lines)))
    assert "mixes encodings" in message
    assert "line 2 is UTF-8, line 3 is not: bytes e9" in message


def test_fault_far_into_the_file(tmp_path):
    good = "很好吃\n".encode() * 200_000
    message = refusal(write(tmp_path, gzip.compress(good + b"\xff\n", 1), "a.tsv.gz"))
    assert f"line 200001, byte {len(good)}" in message


def test_cut_off_character_at_the_end(tmp_path):
    assert "line 2, byte 7" in refusal(write(tmp_path, "很好\n很".encode()[:-1]))


def test_other_encoding_that_does_not_fit(tmp_path):
    assert "not valid gb18030" in refusal(write(tmp_path, b"a\n\xff\xff\n"), "gb18030")


@pytest.mark.parametrize("name", ["utf-9", "zlib"])
def test_unknown_encoding(tmp_path, name):
    assert "Unknown encoding" in refusal(write(tmp_path, b"a"), name)


def test_empty_missing_damaged(tmp_path):
    assert "The file is empty." in refusal(write(tmp_path, b""))
    assert "no such file" in refusal(tmp_path / "none.tsv")
    assert "cannot be read" in refusal(tmp_path)
    assert "compressed file is damaged" in refusal(write(tmp_path, gzip.compress(b"abc\n" * 99)[:-9], "b.gz"))
