"""The page at / in Chromium: what it shows is what the server answers, and it asks nobody else."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.parity.exported_models import text_artifact
from tests.workflows.browser import WCAG, wait_until
from tests.workflows.live_server import LiveServer, live
from tests.workflows.served_models import of_series, promising, put

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TEXT = "the cat sat on 北京 שלום naïve \U0001f680 mat"
SETTLED = """([n, part]) => [...document.querySelectorAll(".card")].filter(
    card => card.querySelectorAll(part).length > 0).length === n"""
BARS = """card => [...card.querySelectorAll(".bars li")].map(
    row => [row.querySelector(".label").textContent, row.querySelector(".share").textContent])"""
CONTRAST = """() => {
    %s
    const behind = at => {
        for (; at; at = at.parentElement) {
            const found = getComputedStyle(at).backgroundColor;
            if (found !== "rgba(0, 0, 0, 0)" && !found.startsWith("color(")) return light(found);
        }
    };
    const seen = [...document.querySelectorAll("h1, h2, h3, p, label, .label, .share, select, a, summary")];
    return Math.min(...seen.filter(x => x.checkVisibility()).map(
        x => ratio(light(getComputedStyle(x).color), behind(x))));
}""".replace("%s", WCAG)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("served")
    artifacts = {"words": promising(), "both": text_artifact(), "waves": of_series()}
    for name, artifact in artifacts.items():
        put(artifact, folder / f"{name}.grunlock")
    return {name: folder / f"{name}.grunlock" for name in artifacts}


@pytest.fixture(scope="module")
def server(files: dict[str, Path]) -> Iterator[LiveServer]:
    with live({"words": files["words"], "both": files["both"]}) as running:
        yield running


@contextmanager
def opened(browser: "Browser", server: LiveServer, *, refused: int = 0, **options: Any) -> Iterator["Page"]:
    """A page without complaints; refused: how many refusals the browser notes by itself."""
    context = browser.new_context(**options)
    page, complaints, own = context.new_page(), [], f"127.0.0.1:{server.port}"
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: complaints.append(request.url) if own not in request.url else None)
    page.goto(f"http://{own}/")
    yield page
    context.close()
    unexpected = [each for each in complaints if "401" not in each]
    assert not unexpected
    assert len(complaints) == refused


def give(page: "Page", text: str, cards: int) -> None:
    page.locator("#text").fill(text)
    wait_until(page, SETTLED, [cards, ".token"])


@pytest.mark.parametrize(
    "options",
    [{}, {"color_scheme": "dark"}, {"viewport": {"width": 360, "height": 740}}],
    ids=["light", "dark", "phone"],
)
def test_two_models_side_by_side(options: dict[str, Any], server: LiveServer, chromium: "Browser") -> None:
    with opened(chromium, server, **options) as page:
        give(page, TEXT, 2)
        assert page.locator("h2").all_inner_texts() == ["words", "both"]
        for card, name in zip(page.locator(".card").element_handles(), ("words", "both"), strict=True):
            probs = server.post("/v1/predict", {"text": TEXT, "model": name}).fields["probs"]
            expected = sorted(probs.items(), key=lambda item: -item[1])
            for (label, share), (shown, percent) in zip(expected, card.evaluate(BARS), strict=True):
                assert shown == label
                assert float(percent.removesuffix(" %")) == pytest.approx(100 * share, abs=0.051)
            explained = server.post("/v1/explain", {"text": TEXT, "model": name}).fields
            pieces = [TEXT[each["start"] : each["end"]] for each in explained["tokens"]]
            shown_pieces = card.eval_on_selector_all(".token", "all => all.map(x => x.textContent)")
            assert shown_pieces == pieces
            assert card.query_selector(".tokens").text_content() == TEXT
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate(CONTRAST) >= 4.5
        assert page.locator("#text").get_attribute("dir") == "auto"


def test_a_stream_while_somebody_types(server: LiveServer, chromium: "Browser") -> None:
    with opened(chromium, server) as page:
        sent: list[str] = []
        page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(str(frame))))
        page.reload()
        page.locator("#text").press_sequentially("the cat", delay=20)
        wait_until(page, SETTLED, [2, ".token"])
        assert len([each for each in sent if "open" in each]) == 1  # what follows goes on
        page.get_by_label("errors at most").select_option("0.1")
        wait_until(page, "document.querySelector('.verdict').textContent.includes('%')")
        page.locator("#text").fill("")
        wait_until(page, "document.querySelectorAll('.bars li').length === 0")


def test_explained_for_another_label(server: LiveServer, chromium: "Browser") -> None:
    with opened(chromium, server) as page:
        give(page, "the cat sat", 2)
        card = page.locator(".card").first
        labels = card.locator(".towards option").all_inner_texts()
        other = next(each for each in labels if each != card.locator(".towards").input_value())
        card.locator(".towards").select_option(other)
        card.locator("summary").click()
        assert card.locator("thead th").nth(1).inner_text() == f"for {other}"
        found = server.post("/v1/explain", {"text": "the cat sat"}).fields
        shares = [f"{each['shares'][labels.index(other)]:.2f}" for each in found["tokens"]]
        assert card.locator("tbody tr td:nth-child(2)").all_inner_texts()[:-1] == shares


def test_the_keyboard_reaches_everything(server: LiveServer, chromium: "Browser") -> None:
    with opened(chromium, server) as page:
        give(page, "the cat", 2)
        page.locator("#text").focus()
        reached = []
        for _ in range(20):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.tagName + document.activeElement.className"))
        for part in ("INPUT", "SELECT", "OLbars", "SELECTtowards", "DIVgates", "SUMMARY", "A"):
            assert part in reached


def test_it_asks_for_the_token(files: dict[str, Path], chromium: "Browser") -> None:
    with live(files["words"], token="secret") as server, opened(chromium, server, refused=2) as page:
        page.get_by_label("Token").fill("wrong")
        page.get_by_role("button").click()
        wait_until(page, "document.querySelector('#summary').textContent.includes('not the token')")
        page.get_by_label("Token").fill("secret")
        page.get_by_role("button").click()
        give(page, "the cat", 1)
        assert page.locator(".bars li").count() == 3


def test_series(files: dict[str, Path], chromium: "Browser") -> None:
    with live(files["waves"]) as server, opened(chromium, server) as page:
        page.get_by_label("Series: one step a line, a, b").fill("3.5, 2\n1, \n2, 4")
        wait_until(page, "document.querySelectorAll('.bars li').length === 3")
        values = [[3.5, 2], [1, None], [2, 4]]
        label = server.post("/v1/predict", {"values": values}).fields["label"]
        assert page.locator(".bars .label").first.inner_text() == label
        page.locator("#text").fill("3.5, x")
        wait_until(page, "document.querySelector('#problem').textContent === 'x is not a number.'")
