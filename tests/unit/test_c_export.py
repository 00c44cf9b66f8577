"""What the C export refuses, and the arrays that it writes."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from grunlock.artifact.int8_storage import rounded_rows
from grunlock.errors import ExportError, StorageError
from grunlock.export.c import CModel
from grunlock.export.c.constants import Constants, c_string, numbers, rising_numbers
from grunlock.export.c.unicode_tables import unicode_tables
from grunlock.export.c.vocabulary import distinct_fingerprints, fingerprints
from grunlock.text import TextFrontEnd
from tests.parity.c_models import exported, series_artifact, text_artifact

REFUSED = {
    "encoder.kind=conv": ("convolution", "encoder.kind=gru"),
    'pooling.parts=["attention", "max"]': ("pooling that attends", "pooling.parts"),
    "text.tokens=bpe": ("cannot make these tokens", "text.tokens=words"),
    "text.tokens=unigram": ("cannot make these tokens", "text.tokens=words"),
    "text.tokens=chinese_words": ("cannot make these tokens", "text.tokens=characters"),
}


@pytest.mark.parametrize("override", REFUSED)
def test_what_the_sources_lack_is_refused_before_anything_is_written(override: str, tmp_path: Path) -> None:
    what, cure = REFUSED[override]
    with pytest.raises(ExportError, match=what) as caught:
        exported(text_artifact([override]), tmp_path / "out")
    assert cure in str(caught.value.cure)
    assert "--to onnx" in str(caught.value.cure)
    assert not (tmp_path / "out").exists()


def test_no_room_for_a_step_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="room for a step"):
        exported(series_artifact([]), tmp_path / "out", max_steps=0)
    assert not (tmp_path / "out").exists()


def test_a_tokeniser_of_another_kind_is_refused(tmp_path: Path) -> None:
    artifact = text_artifact([])
    assert isinstance(artifact.front_end, TextFrontEnd)
    strange = Tokenizer.from_str(artifact.front_end.to_json().replace('"NFKC"', '"NFC"'))
    with pytest.raises(ExportError, match="none that the C front end knows"):
        exported(
            replace(artifact, front_end=replace(artifact.front_end, tokenizer=strange)), tmp_path / "out"
        )


@pytest.mark.parametrize("name", ["head.bias", "head.weight", "embedding.tokens.weight"])
def test_numbers_that_are_not_finite_are_refused(name: str, tmp_path: Path) -> None:
    artifact = text_artifact([])
    artifact.weights[name].reshape(-1)[-1] = np.nan
    with pytest.raises(ExportError, match="not finite"):
        exported(artifact, tmp_path / "out", int8=True)


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(ExportError, match="A file has the name"):
        exported(series_artifact([]), tmp_path / "out")
    with pytest.raises(StorageError):
        exported(series_artifact([]), tmp_path / "out" / "below")
    assert (tmp_path / "out").read_text() == "mine"


def test_an_older_export_leaves_nothing_behind(tmp_path: Path) -> None:
    """Somebody may compile every .c that is there. What is not ours stays."""
    exported(text_artifact(["wide.characters=true"]), tmp_path)
    (tmp_path / "application.c").write_text("int application;")
    export = exported(series_artifact([]), tmp_path)
    sources = {path.name for path in tmp_path.glob("*.c")}
    assert sources == {*export.sources, "main.c", "application.c"}


def test_equal_models_make_equal_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        exported(text_artifact(["wide.characters=true"]), tmp_path / name, int8=True)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export = exported(series_artifact([]), tmp_path)
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(ExportError, match="no C compiler") as caught:
        CModel(export)
    assert "apt install gcc" in str(caught.value.cure)
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(ExportError, match="no-such-compiler"):
        CModel(export)


def test_sources_that_do_not_compile(tmp_path: Path) -> None:
    export = exported(series_artifact([]), tmp_path)
    (tmp_path / "grunlock_pool.c").write_text("this is no C")
    with pytest.raises(ExportError, match="do not compile"):
        CModel(export)


def test_memory_grows_by_a_few_bytes_a_step(tmp_path: Path) -> None:
    def state_bytes(max_steps: int) -> int:
        return exported(text_artifact(["text.max_tokens=off"]), tmp_path, max_steps=max_steps).state_bytes

    assert state_bytes(2000) - state_bytes(1000) == 2000
    assert exported(text_artifact(["encoder.bidirectional=false"]), tmp_path).max_steps is None


def test_texts_that_are_cut_need_no_more_room(tmp_path: Path) -> None:
    export = exported(text_artifact(["text.max_tokens=20"]), tmp_path, max_steps=1000)
    assert export.max_steps == 20


def test_int8_takes_a_quarter(tmp_path: Path) -> None:
    artifact = text_artifact(["encoder.hidden_size=128", "embedding.size=64"])
    whole = exported(artifact, tmp_path / "a", unicode="ascii")
    small = exported(artifact, tmp_path / "b", unicode="ascii", int8=True)
    assert small.const_bytes < whole.const_bytes / 3.5


def test_the_readme_says_the_sizes(tmp_path: Path) -> None:
    export = exported(text_artifact([]), tmp_path, int8=True, unicode="latin")
    page = (tmp_path / "README.md").read_text()
    assert f"| {export.const_bytes} |" in page
    assert f"| {export.state_bytes} |" in page
    assert "Texts in Latin letters" in page


def test_no_torch_is_needed() -> None:
    check = "import sys, grunlock.export.c; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


# Arrays -------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_every_float_reads_back_the_same(values: list[float]) -> None:
    array = np.array(values, np.float32)
    written = numbers(array)
    assert all(
        re.fullmatch(r"-?\d+(\.\d+)?(e[+-]?\d+)?f", word) and re.search(r"[.e]", word) for word in written
    )
    np.testing.assert_array_equal(np.array([float(word[:-1]) for word in written]).astype(np.float32), array)


@given(st.text(max_size=20))
def test_strings_are_what_c_reads(text: str) -> None:
    literal = c_string(text.encode("utf-8", "replace").decode())
    body = re.sub(rb"\\(\d{3})", lambda match: bytes([int(match[1], 8)]), literal[1:-1].encode())
    assert body == text.encode("utf-8", "replace")


@settings(max_examples=200)
@given(st.sets(st.integers(0, 2**32 - 1), max_size=50) | st.sets(st.integers(0, 4000), max_size=50))
def test_rising_numbers_are_all_there(values: set[int]) -> None:
    constants = Constants({"INT8": 0})
    constants.begin("numbers.c", "numbers.h")
    rising_numbers(constants, "n", np.array(sorted(values), np.int64))
    text = constants.files()["numbers.c"]
    starts, lows = (
        [int(word.strip("u")) for word in re.search(rf"n_{part}\[\d+\] = {{([^}}]*)}}", text)[1].split(",")]  # type: ignore[index]
        for part in ("starts", "lows")
    )
    num_highs, low_bits = map(int, re.search(r"n_lows, (\d+), (\d+)\}", text).groups())  # type: ignore[union-attr]
    bits = int.from_bytes(bytes(lows), "little")
    found = [
        (high << low_bits) + (bits >> i * low_bits) % (1 << low_bits)
        for high in range(num_highs)
        for i in range(starts[high], starts[high + 1])
    ]
    assert found == sorted(values)


def test_fingerprints_of_a_vocabulary_differ() -> None:
    words = [f"w{i}" for i in range(200_000)]
    seed, found = distinct_fingerprints(words)
    assert len(set(found.tolist())) == len(words)
    np.testing.assert_array_equal(fingerprints(words[:10], seed), found[:10])


def test_quantized_rows_come_back_as_they_were_stored() -> None:
    """A model that was stored as int8 loses nothing more."""
    values = np.random.default_rng(0).normal(0, 1, (20, 30)).astype(np.float32)
    values[3] = 0
    codes, scales = rounded_rows(values)
    rounded = codes * scales.astype(np.float32)[:, None]
    assert np.abs(rounded - values).max() < np.abs(values).max() / 127
    again, same = rounded_rows(rounded)
    np.testing.assert_array_equal(again, codes)
    np.testing.assert_array_equal(
        same[[i for i in range(20) if i != 3]], scales[[i for i in range(20) if i != 3]]
    )


def test_latin_tables_are_a_fraction() -> None:
    whole, latin = (
        unicode_tables(covered, lowercase=True, words=True, python_spaces=False)
        for covered in ("full", "latin")
    )
    assert len(latin.decompositions) < len(whole.decompositions) / 5
    assert latin.pairs.items() <= whole.pairs.items()
