"""A written page in Chromium, opened from its file."""

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from grunlock.shapes import FloatArray

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
# Luminance and contrast of colours as getComputedStyle writes them (WCAG 2.1), for functions in pages.
WCAG = """
  const light = (colour) => {
    const numbers = colour.match(/[\\d.]+/g).slice(0, 3).map(Number);
    const shares = numbers.map((c) => (colour.includes("srgb") ? c : c / 255));
    const [r, g, b] = shares.map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
"""
ASK = "text => { const found = classifier.predict(text); return found && [...found.probabilities]; }"
SHOWN = "() => [...document.querySelectorAll('li')].map(row => [...row.children].map(x => x.textContent))"


def start(playwright: "Playwright") -> "Browser":
    """Skips the test without Chromium."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("Chromium is not installed")
    return playwright.chromium.launch(executable_path=found, args=list(FLAGS))


def wait_until(page: "Page", question: str, argument: Any = None, seconds: float = 30.0) -> None:
    """Returns when the page answers the question (JavaScript) with yes.

    Asked from outside: what Playwright's wait_for_function leaves in the page to ask again is eval, which
    the policy of our pages forbids.
    """
    end = time.monotonic() + seconds
    while not page.evaluate(question, argument):
        if time.monotonic() > end:
            pytest.fail(f"not within {seconds:g} s: {question}")
        page.wait_for_timeout(20)


@dataclass
class OpenPage:
    """page: Playwright's. complaints: errors, console messages and requests beside the page's own."""

    page: "Page"
    complaints: list[str] = field(default_factory=list)

    def give(self, text: str) -> None:
        """As if pasted over what is there."""
        self.page.get_by_label("Text").fill(text)

    def wait_for_answer(self) -> None:
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))")

    def asked(self, texts: Sequence[str]) -> FloatArray:
        """[n, K] of the page's classifier, in turn, without the text area."""
        return np.array([self.page.evaluate(ASK, text) for text in texts], np.float32)

    def of_what_is_there(self) -> tuple[str, list[float]]:
        """The text in the text area and its probabilities."""
        text: str = self.page.get_by_label("Text").input_value()
        return text, self.page.evaluate(ASK, text)

    def shown(self) -> list[tuple[str, str]]:
        """Label and percentage of each bar, from above."""
        self.wait_for_answer()
        rows: list[list[str]] = self.page.evaluate(SHOWN)
        return [(label, share) for label, share, _ in rows]

    def numbers(self) -> str:
        return self.page.locator("#numbers").inner_text()


@contextmanager
def opened(browser: "Browser", folder: Path, **options: Any) -> Iterator[OpenPage]:
    """A page without complaints. options: of Playwright's contexts: colour scheme, size, ..."""
    url = (folder / "index.html").as_uri()
    context = browser.new_context(**options)
    found = OpenPage(context.new_page())
    found.page.on("console", lambda message: found.complaints.append(message.text))
    found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
    found.page.on(
        "request", lambda request: found.complaints.append(request.url) if request.url != url else None
    )
    found.page.goto(url)
    wait_until(found.page, "document.querySelectorAll('li').length > 0")
    yield found
    context.close()
    assert not found.complaints, found.complaints
