"""An exported page in a browser: what it shows while somebody types is what Python answers."""

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from grunlock.artifact import Artifact, load, read
from grunlock.errors import ExportError
from grunlock.export.certificate import CERTIFICATE
from grunlock.export.export import export
from grunlock.export.portable import portable
from grunlock.export.web import write_web
from grunlock.export.web.compiler import compiled
from grunlock.export.web.target import WebTarget
from grunlock.shapes import FloatArray
from tests.parity.c_models import LABELS, some_texts, text_artifact
from tests.parity.exported_models import text_artifact as artifact_of_classes
from tests.workflows.browser import WCAG, OpenPage, opened, wait_until
from tests.workflows.conftest import CommandLine

if TYPE_CHECKING:
    from playwright.sync_api import Browser

TOLERANCE = 1e-5
FORWARD = ["encoder.bidirectional=false", "wide.characters=true", "text.max_tokens=off"]
PIECES = [
    *("the", "cat", "sat", "你好", "水送", "很吃", "👩\u200d🚀", "🇩🇪", "👍🏽", "שלום", "مرحبا"),
    *("\u202eabc\u202c", "e\u0301", "a\u0323\u0301\u0302", "İstanbul", "ﬁne", "½", "don't", "a\tb"),
    *("\n", "한국어", "Ω", "\x00", "�"),
]

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ziglang") is None or importlib.util.find_spec("wasmtime") is None,
    reason="the packages of grunlock[web] are not installed",
)


@pytest.fixture(scope="module")
def forward() -> Artifact:
    return text_artifact(FORWARD)


@pytest.fixture(scope="module")
def folder(forward: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of the model that reads forward."""
    made = tmp_path_factory.mktemp("forward")
    write_web(portable(forward, "a test"), made)
    return made


def answers(artifact: Artifact, texts: list[str]) -> FloatArray:
    found: FloatArray = artifact.classifier().predict_proba(texts)
    return found


def many_texts() -> list[str]:
    """200 texts of many scripts."""
    draw = np.random.default_rng(0)
    drawn = [
        draw.choice([" ", ""]).join(draw.choice(np.array(PIECES, object), draw.integers(1, 30)))
        for _ in range(400)
    ]
    return [*some_texts(), *(text for text in drawn if text.strip("\n\t "))][:200]


def as_rows(labels: tuple[str, ...], probabilities: FloatArray) -> list[tuple[str, float]]:
    """The likeliest first, in percent."""
    order = np.argsort(-probabilities, kind="stable")
    return [(labels[k], 100 * float(probabilities[k])) for k in order]


def check_bars(page: OpenPage, artifact: Artifact) -> None:
    text, _ = page.of_what_is_there()
    rows = as_rows(artifact.labels, answers(artifact, [text])[0])
    for (label, share), (shown, percent) in zip(rows, page.shown(), strict=True):
        assert shown == label
        assert float(percent.removesuffix(" %")) == pytest.approx(share, abs=0.051)


def test_the_command(model: Path, tmp_path: Path, grunlock: CommandLine, chromium: "Browser") -> None:
    folder = tmp_path / "page"
    done = grunlock("export", model, "--to", "web", "--max-steps", 500, "-o", folder)
    assert done.code == 0
    assert "agree on 100.00%" in done.out
    assert sorted(each.name for each in folder.iterdir()) == ["README.md", CERTIFICATE, "index.html"]
    stored = json.loads((folder / CERTIFICATE).read_text())
    assert (stored["target"], stored["precision"], stored["agreement"]) == ("web", "float32", 1.0)
    assert stored["size_bytes"] == (folder / "index.html").stat().st_size
    assert stored["largest_difference"] < TOLERANCE
    refused = grunlock("export", model, "--to", "web", "--unicode", "ascii", "-o", tmp_path / "other")
    assert refused.code == 1
    assert "--to c" in refused.err
    with opened(chromium, folder) as page:
        page.give("the blue house")
        expected = load(model).predict_proba(["the blue house"])
        np.testing.assert_allclose(page.asked(["the blue house"]), expected, atol=TOLERANCE, rtol=0)
        assert page.shown()[0][0] == "blue"


@pytest.mark.parametrize("spoilt", ["weight", "label"])
def test_what_was_compiled_wrongly_is_not_kept(
    spoilt: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = load(model)
    row = read(model).weights["embedding.tokens.weight"][artifact.front_end.vocab().index("red")]
    right, wrong = (row.tobytes(), (-row).tobytes()) if spoilt == "weight" else (b"green\0", b"grees\0")

    def compiled_wrongly(folder: Path, sources: tuple[str, ...]) -> bytes:
        found = compiled(folder, sources)
        assert found.count(right) == 1
        return found.replace(right, wrong)

    monkeypatch.setattr("grunlock.export.web.page.compiled", compiled_wrongly)
    complaint = "probabilities differ by" if spoilt == "weight" else "does not name the model's classes"
    with pytest.raises(ExportError, match=complaint):
        export(model, tmp_path / "page", WebTarget(), "float32")
    assert list(tmp_path.iterdir()) == []


def test_pasted_texts(folder: Path, forward: Artifact, chromium: "Browser") -> None:
    texts, found = many_texts(), []
    with opened(chromium, folder) as page:
        for text in texts:
            page.give(text)
            assert page.of_what_is_there()[0] == text
            found.append(page.of_what_is_there()[1])
        check_bars(page, forward)
    expected = answers(forward, texts)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=0)
    np.testing.assert_array_equal(np.argmax(found, axis=1), expected.argmax(axis=1))
    assert np.ptp(expected, axis=0).max() > 0.05


def test_typed_and_edited(folder: Path, forward: Artifact, chromium: "Browser") -> None:
    """Each key, at the end and in the middle, what is deleted and what is undone."""
    seen: list[tuple[str, list[float]]] = []
    keys = [*"The cat 👍 sat, 你好", "ArrowLeft", "ArrowLeft", "ArrowLeft", "Backspace", *" no", "Home"]
    keys += [
        "Delete",
        "t",
        "ArrowRight",
        "ArrowRight",
        "é",
        "e",
        "\u0301",
        "End",
        "Backspace",
        "Enter",
        *"!?",
    ]
    keys += ["Control+z", "Control+Shift+ArrowLeft", "x", "Control+a", "שלום", "Backspace", *" مر"]
    with opened(chromium, folder) as page:
        area = page.page.get_by_label("Text")
        assert area.evaluate("area => area === document.activeElement")
        for key in keys:
            if len(key) > 1 and key.isascii():
                area.press(key)
            else:
                page.page.keyboard.insert_text(key)
            text, found = page.of_what_is_there()
            if text.strip():
                seen.append((text, found))
                check_bars(page, forward)
        assert len({text for text, _ in seen}) > 30
        area.press("Control+a")
        area.press("Delete")
        assert {share for _, share in page.shown()} == {"\u2013"}
        assert page.numbers() == "Nothing to read yet"
    expected = answers(forward, [text for text, _ in seen])
    np.testing.assert_allclose([found for _, found in seen], expected, atol=TOLERANCE, rtol=0)


def test_a_very_long_text(folder: Path, forward: Artifact, chromium: "Browser") -> None:
    text = " ".join(np.random.default_rng(0).choice(np.array(PIECES[:9], object), 20_000))
    texts = [text, text[:-1], text + " cat", text[:50_000] + " unlock " + text[50_001:], "cat"]
    with opened(chromium, folder) as page:
        found = page.asked(texts)
        page.give(text)
        check_bars(page, forward)
        assert page.page.evaluate("predict => classifier.predict('a cat').tokens") == 2
    np.testing.assert_allclose(found, answers(forward, texts), atol=TOLERANCE, rtol=0)


HALVES = """() => ["a \\ud83d b", "a \\ude00 b", "a \\ufffd b"].map(
  (text) => [...classifier.predict(text).probabilities])"""


def test_half_a_character(folder: Path, chromium: "Browser") -> None:
    with opened(chromium, folder) as page:
        halves = page.page.evaluate(HALVES)
    np.testing.assert_array_equal(halves, [halves[2]] * 3)


def test_many_classes(tmp_path: Path, chromium: "Browser") -> None:
    artifact = artifact_of_classes(["text.max_tokens=off"], num_labels=40)
    write_web(portable(artifact, "a test"), tmp_path, max_steps=8)
    with opened(chromium, tmp_path) as page:
        page.give("the cat")
        rows = as_rows(artifact.labels, answers(artifact, ["the cat"])[0])
        assert [label for label, _ in page.shown()] == [label for label, _ in rows[:10]]
        page.page.keyboard.press("Tab")
        page.page.keyboard.press("Enter")
        assert [label for label, _ in page.shown()] == [label for label, _ in rows]
        assert page.page.get_by_role("button").count() == 0
        assert page.page.evaluate("() => document.activeElement.id") == "classes"
        page.give("the " * 9)
        page.wait_for_answer()
        assert page.numbers() == "The text is longer than this model reads."
        page.give("the " * 8)
        page.wait_for_answer()
        assert page.numbers().startswith("8 tokens read, ")


CONTRASTS = """() => {
  %s
  const style = (id) => getComputedStyle(document.querySelector(id));
  const page = light(style("body").backgroundColor), field = light(style("#text").backgroundColor);
  const fill = getComputedStyle(document.querySelector(".bar"), "::before").backgroundColor;
  return {
    text: [...["h1", "p", "#numbers", ".label", ".share"].map((id) => ratio(light(style(id).color), page)),
           ratio(light(style("#text").color), field)],
    parts: [ratio(light(style("#text").borderTopColor), page), ratio(light(fill), page)],
  };
}""".replace("%s", WCAG)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 900])
def test_it_can_be_read(scheme: str, width: int, folder: Path, chromium: "Browser") -> None:
    """WCAG 2.1 AA: contrast of text 4.5, of parts 3; nothing to scroll sideways at 320 px; names, roles."""
    options: dict[str, Any] = {"color_scheme": scheme, "viewport": {"width": width, "height": 700}}
    with opened(chromium, folder, **options) as page:
        page.give("the cat " + "x" * 200)
        page.wait_for_answer()
        found = page.page.evaluate(CONTRASTS)
        assert min(found["text"]) >= 4.5
        assert min(found["parts"]) >= 3
        assert page.page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
        assert page.page.get_by_role("list", name="Classes, the likeliest first").count() == 1
        spoken = page.page.get_by_role("status")
        assert spoken.text_content() == ""  # while keys come
        label, share = page.shown()[0]
        wait_until(page.page, "() => document.getElementById('spoken').textContent !== ''")
        assert spoken.text_content() == f"{label}, {share}"


def test_what_a_page_shows_wrongly_is_caught(
    folder: Path, forward: Artifact, tmp_path: Path, chromium: "Browser"
) -> None:
    right = "const numbers = [...Array(wasm.grunlock_page_num_classes()).keys()];"
    content = (folder / "index.html").read_text()
    assert content.count(right) == 1
    (tmp_path / "index.html").write_text(content.replace(right, right[:-1] + ".reverse();"))
    with opened(chromium, tmp_path) as page:
        page.give("the cat")
        assert sorted(label for label, _ in page.shown()) == sorted(LABELS)
        with pytest.raises(AssertionError):
            check_bars(page, forward)


def test_a_page_that_asks_for_something_is_caught(folder: Path, tmp_path: Path, chromium: "Browser") -> None:
    content = (folder / "index.html").read_text()
    (tmp_path / "index.html").write_text(content.replace("\nstart();", "\nfetch('other.json');start();"))
    with pytest.raises(AssertionError, match="Content Security Policy"):
        open_and_wait(chromium, tmp_path)


def open_and_wait(browser: "Browser", folder: Path) -> None:
    with opened(browser, folder) as page:
        page.wait_for_answer()
