"""What a page's WebAssembly answers is what Python answers, whatever was asked before."""

import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from grunlock.artifact import Artifact
from grunlock.errors import ExportError, MissingDependencyError
from grunlock.export.portable import portable
from grunlock.export.web import PageModel, write_web
from grunlock.export.web.compiler import INSTALL
from grunlock.export.web.page import PAGE, page_of, wasm_of
from grunlock.shapes import FloatArray
from grunlock.text import TextFrontEnd
from tests.conftest import one_in
from tests.parity.c_models import CONTEXT, LABELS, series_artifact, some_texts, text_artifact

FLOAT_TOLERANCE = 1e-5
INT8_TOLERANCE = 0.05
ONE_WAY = ["encoder.bidirectional=false"]
APART = ["wide.characters=true"]
FORWARD = [*ONE_WAY, *APART, "text.max_tokens=off"]
LONG = 5000  # bytes; some places of a page's text have to go

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ziglang") is None or importlib.util.find_spec("wasmtime") is None,
    reason="the packages of grunlock[web] are not installed",
)


def written(artifact: Artifact, folder: Path, **options: object) -> PageModel:
    write_web(portable(artifact, "a test"), folder, **options)  # type: ignore[arg-type]
    return PageModel(folder)


def answers(artifact: Artifact, texts: Sequence[str]) -> FloatArray:
    found: FloatArray = artifact.classifier().predict_proba(texts)
    return found


@pytest.fixture(scope="module")
def forward() -> Artifact:
    return text_artifact(FORWARD)


@pytest.fixture(scope="module")
def forward_page(forward: Artifact, tmp_path_factory: pytest.TempPathFactory) -> PageModel:
    return written(forward, tmp_path_factory.mktemp("forward"))


OPTIONS = [
    [],
    ["text.max_tokens=7", "text.cut=middle", *ONE_WAY],
    ["encoder.kind=lstm", "encoder.norm=layer", "encoder.num_layers=2"],
    [*CONTEXT, *APART, "encoder.num_layers=2", "int8"],
    ["encoder.kind=bag", *APART, "int8"],
    ["stem.widths=[3, 4]", *ONE_WAY],
]


@pytest.mark.parametrize("overrides", one_in(3, OPTIONS), ids=" ".join)
def test_texts(overrides: list[str], tmp_path: Path) -> None:
    int8, overrides = "int8" in overrides, [each for each in overrides if each != "int8"]
    artifact, texts = text_artifact(overrides), some_texts()
    page = written(artifact, tmp_path, int8=int8)
    found, expected = page.probabilities(texts), answers(artifact, texts)
    tolerance = INT8_TOLERANCE if int8 else FLOAT_TOLERANCE
    np.testing.assert_allclose(found, expected, atol=tolerance, rtol=0)
    assert np.ptp(expected, axis=0).max() > 0.05  # texts are told apart
    assert page.labels == LABELS
    np.testing.assert_array_equal(page.probabilities(texts[::-1])[::-1], found)
    typed = [f"the {texts[6]}"[:end] for end in range(1, 100)]
    np.testing.assert_allclose(page.probabilities(typed), answers(artifact, typed), atol=tolerance, rtol=0)


def edits(draw: np.random.Generator, text: str, count: int) -> Iterator[str]:
    """Versions of a text: something is typed, pasted or taken away, at the end or anywhere."""
    pieces = [
        *"aé你 👩\u200d🚀,\n",
        "the cat",
        " unlock ",
        "e\u0301",
        "水送",
        "\u05d0\u05d1",
        *some_texts([40])[:1],
    ]
    for _ in range(count):
        at = len(text) if draw.random() < 0.4 else int(draw.integers(0, len(text) + 1))
        if draw.random() < 0.4:
            text = text[: max(0, at - int(draw.integers(0, 30)))] + text[at:]
        else:
            text = text[:at] + str(draw.choice(np.array(pieces, object))) + text[at:]
        yield text


@pytest.mark.parametrize("start", ["", "x" * 300 + "".join(some_texts([LONG // 6]))])
def test_edits_anywhere_change_nothing_else(start: str, forward: Artifact, forward_page: PageModel) -> None:
    texts = [text for text in edits(np.random.default_rng(0), start, 150) if text.strip()]
    found, expected = forward_page.probabilities(texts), answers(forward, texts)
    np.testing.assert_allclose(found, expected, atol=FLOAT_TOLERANCE, rtol=0)
    in_turn = np.concatenate(
        [
            forward_page.probabilities([other, text])[1:]
            for other, text in zip(texts[::-1], texts, strict=True)
        ]
    )
    np.testing.assert_array_equal(in_turn, found)  # bit for bit, whatever was read before


def test_every_beginning_of_a_long_text(forward: Artifact, forward_page: PageModel) -> None:
    """Typed, then taken away again, character by character: states are kept and given up on the way."""
    text = "".join(some_texts([LONG // 6]))
    beginnings = [text[:end] for end in range(1, len(text))]
    typed = forward_page.probabilities(beginnings)
    np.testing.assert_array_equal(forward_page.probabilities(beginnings[::-1])[::-1], typed)
    some = beginnings[:: len(text) // 50]
    np.testing.assert_allclose(
        typed[:: len(text) // 50], answers(forward, some), atol=FLOAT_TOLERANCE, rtol=0
    )


def test_tokens_are_counted(forward_page: PageModel) -> None:
    for text, count in (("the cat sat", 3), ("the cat", 2), ("the cat , 你好", 4), ("x" * 9, 1)):
        forward_page.probabilities([text])
        assert forward_page.num_tokens() == count


def test_text_that_is_not_read(tmp_path: Path) -> None:
    """The page is as good as new behind each of them."""
    page = written(text_artifact(["text.max_tokens=off"]), tmp_path, max_steps=4)
    before = page.probabilities(["the cat"])
    for text, complaint in (("", "nothing to answer"), (" \n", "nothing to"), ("a " * 5, "longer than")):
        with pytest.raises(ExportError, match=complaint):
            page.probabilities([text])
        np.testing.assert_array_equal(page.probabilities(["the cat"]), before)
    halves = page.probabilities(["a \ud83d b", "a \ude00 b", "a \ufffd b"])
    np.testing.assert_array_equal(halves, halves[[2, 2, 2]])


def test_series_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"reads texts(.|\n)*--to c or --to onnx"):
        write_web(portable(series_artifact([]), "a test"), tmp_path / "page")
    assert list(tmp_path.iterdir()) == []


def test_without_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ziglang", None)
    with pytest.raises(MissingDependencyError, match="no compiler for WebAssembly") as refused:
        write_web(portable(text_artifact([]), "a test"), tmp_path / "page")
    assert (refused.value.got, refused.value.cure) == ("no package ziglang", INSTALL)
    assert list(tmp_path.iterdir()) == []


def test_without_what_runs_it(forward_page: PageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wasmtime", None)
    with pytest.raises(MissingDependencyError, match="Running a page's WebAssembly") as refused:
        PageModel(forward_page.folder)
    assert (refused.value.got, refused.value.cure) == ("no module wasmtime", INSTALL)


def swapped_labels(wasm: bytes) -> bytes:
    return wasm.replace(b"k\xc3\xa4se\n\0", b"k\xc3\xb6se\n\0")


def changed_weight(wasm: bytes) -> bytes:
    """A sign in the vector of a known word."""
    artifact = text_artifact(FORWARD)
    assert isinstance(artifact.front_end, TextFrontEnd)
    row = artifact.weights["embedding.tokens.weight"][artifact.front_end.vocab().index("the")]
    assert wasm.count(row.tobytes()) == 1
    return wasm.replace(row.tobytes(), (row * np.float32([1, -1, 1, 1, 1, 1])).tobytes())


def cut_off(wasm: bytes) -> bytes:
    return wasm[:-100]


@pytest.mark.parametrize("spoil", [swapped_labels, changed_weight, cut_off])
def test_a_spoilt_page_is_caught(
    spoil: Callable[[bytes], bytes], forward: Artifact, forward_page: PageModel, tmp_path: Path
) -> None:
    page = (forward_page.folder / PAGE).read_text()
    wasm = wasm_of(page, "a test")
    assert page_of(wasm, len(LABELS)) == page
    (tmp_path / PAGE).write_text(page_of(spoil(wasm), len(LABELS)))
    texts = some_texts()
    if spoil is cut_off:
        with pytest.raises(ExportError, match="damaged"):
            PageModel(tmp_path)
        return
    spoilt = PageModel(tmp_path)
    found = spoilt.probabilities(texts)
    same = np.abs(found - answers(forward, texts)).max() < FLOAT_TOLERANCE
    assert not same or spoilt.labels != LABELS


def test_a_folder_without_a_page(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no exported page"):
        PageModel(tmp_path)
    (tmp_path / PAGE).write_text("<p>Hello</p>")
    with pytest.raises(ExportError, match="no model that can be read"):
        PageModel(tmp_path)
