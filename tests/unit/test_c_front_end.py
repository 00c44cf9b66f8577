"""The C front end finds the tokens that Python's finds, whatever the characters."""

import ctypes
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grunlock.errors import ExportError
from grunlock.export.c.compiled import find_compiler
from grunlock.export.c.unicode_tables import LATIN, UnicodeRange
from grunlock.text import TextFrontEnd
from tests.parity.c_models import CONTEXT, exported, text_artifact

TRACE = Path(__file__).with_name("token_trace.c")
READERS = ("reading", "unicode", "numbers", "cut")
ROOM = 1 << 16

MARKS = (
    "\u0300\u0301\u0323\u0327\u0328\u0334\u0338\u0345\u035c\u0591\u05b0\u064b\u0651\u093c"
    "\u0f71\u0f74\u1dce\u20d0\u302a\u3099"
)
HARD = (
    "가각힣\u1100\u1161\u11a8\u1112\u1175\u11c2\u3131\uffa1",  # Hangul in every form
    "ﬁﬃſⅷ½㎏㍿ﷺﷻ①㋿Ⅻ℀ªº²¼",  # ligatures, numbers, words in one character
    "\uff21\uff3a\uff41\uff5a\uff10｡ｶﾞ\u3000",  # full and half width
    "İ\u0131IiΣ\u03c3ςẞßǅǄﬆΩÅ\u212a",  # whose lowercase is special
    "👩\u200d🚀\ufe0f🇩🇪✊🏽\u20e3#",
    "àạ̈ốσ\u0345ᾳ\u0627\u0653\u09c7\u09be\u0b47\u0b57\u0cc6\u0cd5\u0d46\u0d3e\u1025\u102e",  # that compose
    "a b_c-d'e\t\n\x0b\x1c\x1f\x85\xa0\u1680\u180e\u2028\u202f\u200b\u2060\ufeff\0",
    "नमस्ते สวัสดี שָׁלוֹם مُحَمَّد 你好。𝔘𝟘𐐀𑄮𞤀",
)
ANY = st.text(st.characters(codec="utf-8"), max_size=40)
MIXED = st.text(st.sampled_from(sorted(set("".join(HARD) + MARKS))), max_size=40)
ONLY_MARKS = st.text(st.sampled_from(MARKS), max_size=30).map(lambda marks: "e" + marks)
LETTERS_OF_LATIN = "".join(chr(c) for run in LATIN for c in run)
MODELS = {
    "words": [],
    "words, capitals kept": ["text.lowercase=false"],
    "characters": ["text.tokens=characters"],
    "characters in context": CONTEXT,
}


class Tracer:
    def __init__(self, overrides: list[str], folder: Path, covered: UnicodeRange = "full") -> None:
        artifact = text_artifact([*overrides, "text.max_tokens=off"])
        assert isinstance(artifact.front_end, TextFrontEnd)
        self._front_end = artifact.front_end
        export = exported(artifact, folder, unicode=covered)
        names = [f"grunlock_{name}.c" for name in READERS]
        names += ["unicode_tables.c"] if covered != "ascii" else []
        library = folder / "trace.so"
        flags = ["-std=c99", "-O1", "-fsanitize=undefined", "-fno-sanitize-recover", f"-I{folder}"]
        sources = [export.folder / name for name in names]
        command = [find_compiler(), *flags, "-fPIC", "-shared", TRACE, *sources, "-o", library]
        subprocess.run(command, check=True)
        self._library = ctypes.CDLL(str(library))
        self._room = ctypes.create_string_buffer(ROOM)

    def found(self, text: str, piece: int = 1 << 20) -> list[str]:
        error, tokens = self.trace(text.encode(), piece)
        assert error == 0
        return tokens

    def trace(self, content: bytes, piece: int = 1 << 20) -> tuple[int, list[str]]:
        size = ctypes.c_size_t(ROOM)
        given_sizes = ctypes.c_size_t(len(content)), ctypes.c_size_t(piece)
        error = self._library.trace(content, *given_sizes, self._room, ctypes.byref(size))
        return error, self._room.raw[: size.value].decode().split("\n")[:-1]

    def expected(self, text: str) -> list[str]:
        tokenizer = self._front_end.tokenizer
        normalized = tokenizer.normalizer.normalize_str(text)
        if self._front_end.ngrams is not None and self._front_end.tokens == "characters":
            return list("".join(normalized.split()))
        return [piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normalized)]


@pytest.fixture(scope="module", params=MODELS)
def tracer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tracer:
    return traced(MODELS[request.param], tmp_path_factory.mktemp("trace"))


@pytest.fixture(scope="module", params=["latin", "ascii"])
def narrow(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Tracer]:
    return request.param, traced([], tmp_path_factory.mktemp("trace"), request.param)


def traced(overrides: list[str], folder: Path, covered: UnicodeRange = "full") -> Tracer:
    try:
        return Tracer(overrides, folder, covered)
    except ExportError as error:
        pytest.skip(error.what)


@pytest.mark.parametrize("text", HARD)
def test_hard_texts(tracer: Tracer, text: str) -> None:
    assert tracer.found(text) == tracer.expected(text)
    assert tracer.found(text[::-1]) == tracer.expected(text[::-1])


@settings(max_examples=1000, deadline=None)
@given(text=ANY | MIXED | ONLY_MARKS)
def test_any_text(tracer: Tracer, text: str) -> None:
    assert tracer.found(text) == tracer.expected(text)


@settings(max_examples=200, deadline=None)
@given(text=MIXED, piece=st.integers(1, 9))
def test_pieces_of_any_size(tracer: Tracer, text: str, piece: int) -> None:
    assert tracer.found(text, piece) == tracer.found(text)


def test_every_character(tracer: Tracer) -> None:
    """By itself, in front of a letter and behind one."""
    for block in range(0, 0x110000, 0x400):
        characters = [chr(c) for c in range(block, block + 0x400) if not 0xD800 <= c < 0xE000]
        text = "".join(f"a{character}a {character} a" for character in characters)
        assert tracer.found(text) == tracer.expected(text)


@settings(max_examples=500, deadline=None)
@given(text=st.text(st.sampled_from(LETTERS_OF_LATIN), max_size=40))
def test_latin_is_enough_for_latin(narrow: tuple[str, Tracer], text: str) -> None:
    covered, tracer = narrow
    text = text if covered == "latin" else text.encode("ascii", "ignore").decode()
    assert tracer.found(text) == tracer.expected(text)


def test_what_is_not_covered_stays(narrow: tuple[str, Tracer]) -> None:
    covered, tracer = narrow
    assert tracer.found("A ДОМ \uff21") == (
        ["a", "ДОМ", "a"] if covered == "latin" else ["a", "ДОМ", "\uff21"]
    )
    assert tracer.found("ок😀") == (["ок", "😀"] if covered == "latin" else ["ок😀"])


@given(content=st.binary(max_size=12) | st.text(max_size=4).map(lambda text: text.encode()[:-1]))
def test_what_is_no_utf8_is_refused(tracer: Tracer, content: bytes) -> None:
    try:
        content.decode()
    except UnicodeDecodeError:
        assert tracer.trace(content)[0] == 3
    else:
        assert tracer.trace(content)[0] == 0


def test_many_marks_are_put_in_order_lot_by_lot(tracer: Tracer) -> None:
    """Beyond what Unicode's stream-safe form has, order may differ; no mark is lost."""
    text = "e" + "\u0323\u0301" * 50
    found = "".join(tracer.found(text))
    assert len(found) == len("".join(tracer.expected(text)))
