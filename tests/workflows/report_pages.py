"""A report in Chromium: opened without complaints, and the contrast of what is on it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.workflows.browser import WCAG

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# Text elements with the contrast of their colour to what is behind them; text on marks is judged apart.
CONTRASTS = """() => {
  %s
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (Number(colour.match(/[\\d.]+/g)[3] ?? 1) === 1) return colour;
    }
    throw new Error("no background");
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility() || element.closest("script, .plot, .heatmaplayer, .hm")) continue;
    const style = getComputedStyle(element);
    const colour = element instanceof SVGElement ? style.fill : style.color;
    found.push([ratio(light(colour), light(behind(element))), element.textContent.slice(0, 40)]);
  }
  return found;
}""".replace("%s", WCAG)
OF_MARKS = """() => {
  const style = getComputedStyle(document.documentElement);
  const box = document.createElement("i");
  document.body.append(box);
  const rgb = (name) => {
    box.style.color = style.getPropertyValue(name);
    return getComputedStyle(box).color;
  };
  %s
  const against = (a, b) => ratio(light(rgb(a)), light(rgb(b)));
  const marks = ["--c1", "--c2", "--c3", "--c4", "--c5", "--c6", "--quiet"];
  const found = { marks: Math.min(...marks.map((name) => against(name, "--page"))) };
  found.words = Math.min(against("--ink", "--heat"), against("--ink", "--paper"));
  box.remove();
  return found;
}""".replace("%s", WCAG)


@contextmanager
def opened(browser: "Browser", path: Path, **options: Any) -> Iterator["Page"]:
    """A report without errors, console messages, dialogs and requests. options: of Playwright's contexts."""
    context = browser.new_context(**options)
    complaints: list[str] = []
    page, url = context.new_page(), path.as_uri()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.on("request", lambda r: complaints.append(r.url) if r.url != url and r.url[:5] != "data:" else None)
    page.goto(url)
    page.wait_for_selector("html[data-drawn=yes]")
    yield page
    context.close()
    assert not complaints, complaints
