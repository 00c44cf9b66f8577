"""grunlock explain as a user meets it: in the terminal, as a page, as numbers, over many texts."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from grunlock.artifact import save
from grunlock.explanation import METHODS, explain, explain_corpus, faithfulness, validation_examples
from grunlock.explanation.page import page
from tests.conftest import colour_rows
from tests.parity.exported_models import series_artifact, text_artifact
from tests.planted_triggers import found_triggers, planted_texts, trained_on
from tests.workflows.browser import WCAG
from tests.workflows.conftest import CommandLine

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TEXT = "the red house is very <b>big</b>"
FOREIGN = 'שלום "עולם" 我爱北京 cafe\u0301 ﬁne 😀 <script>alert(1)</script> & red'


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "more.csv"
    rows = [*colour_rows(12, 90), ("blue", "red red red")]
    path.write_text("label,text\n" + "".join(f"{label},{text}\n" for label, text in rows))
    return path


# What is shown ------------------------------------------------------------------------------------------


def test_a_text_is_explained(grunlock: CommandLine, model: Path) -> None:
    done = grunlock("explain", model, TEXT)
    assert done.code == 0, done.err
    for part in (
        "label     red",
        TEXT,
        "bias + shares = logit",
        "for red",
        "not the effect of the token alone",
    ):
        assert part in " ".join(done.out.split()) or part in done.out
    first = next(line for line in done.out.splitlines() if line.startswith("│ "))
    assert "red" in first  # the strongest token


def test_every_number_is_in_the_json(grunlock: CommandLine, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    done = grunlock(
        "explain", model, "-t", TEXT, "-t", FOREIGN, "--method", "all", "--class", "blue", "--json", path
    )
    assert done.code == 0, done.err
    first, second = json.loads(path.read_text())["explanations"]
    assert [each["method"] for each in first["attributions"]] == list(METHODS)
    assert first["explained_label"] == "blue"
    exact = first["exact"]
    for k, logit in enumerate(exact["logits"]):
        total = exact["bias"][k] + sum(token["shares"][k] for token in exact["tokens"])
        assert total == pytest.approx(logit, abs=1e-5)
    start, end = second["spans"][0]
    assert FOREIGN[start:end] == "שלום"


def test_a_text_may_be_longer_than_a_file_name(grunlock: CommandLine, model: Path) -> None:
    done = grunlock("explain", model, "the red house " * 40)
    assert done.code == 0, done.err


def test_no_text_steers_the_terminal(grunlock: CommandLine, model: Path) -> None:
    done = grunlock("explain", model, "red \x1b[2J\rcar\x07 \x9b31m")
    assert done.code == 0, done.err
    assert not {"\x1b", "\r", "\x07", "\x9b"} & set(done.out)


def test_rows_of_files_are_explained(grunlock: CommandLine, model: Path, data: Path) -> None:
    done = grunlock("explain", model, data, "--row", 13, "--method", "occlusion")
    assert done.code == 0, done.err
    assert "red red red" in done.out
    assert "becomes the unknown token" in done.out


def test_series_are_explained_by_step_and_channel(grunlock: CommandLine, tmp_path: Path) -> None:
    model = tmp_path / "series.grunlock"
    save(series_artifact(), model)
    table = tmp_path / "series.csv"
    rows = "".join(f"s1,{t},{0.1 * t},{1.5}\n" for t in range(6))
    table.write_text("series,step,a,b\n" + rows)
    out = tmp_path / "found.json"
    options = ["--set", "data.id_column=series", "--set", "data.time_column=step"]
    done = grunlock(
        "explain",
        model,
        table,
        "--row",
        1,
        *options,
        "--method",
        "exact",
        "--method",
        "gradient_x_input",
        "--json",
        out,
    )
    assert done.code == 0, done.err
    (found,) = json.loads(out.read_text())["explanations"]
    assert found["spans"] == [[t, t + 1] for t in range(6)]
    assert len(found["attributions"][1]["channels"][0]) == 2


def test_a_corpus_and_the_faithfulness_of_methods(
    grunlock: CommandLine, model: Path, data: Path, tmp_path: Path
) -> None:
    out, html = tmp_path / "found.json", tmp_path / "found.html"
    done = grunlock(
        "explain", model, data, "--corpus", "--faithfulness", "--method", "exact", "--method", "occlusion",
        "--json", out, "--html", html,
    )  # fmt: skip
    assert done.code == 0, done.err
    found = json.loads(out.read_text())
    tops = {each["label"]: each["ngrams"][0]["text"] for each in found["corpus"]["classes"] if each["ngrams"]}
    assert all(label in ngram for label, ngram in tops.items())
    assert len(tops) == 3
    assert found["corpus"]["wrong"][0]["text"] == "red red red"
    assert found["corpus"]["wrong"][0]["strongest"][0][0] == "red"
    assert found["faithfulness"]["methods"][-1]["method"] == "random"
    assert "because of red" in done.out
    assert "most faithful" in done.out
    assert "<svg" in html.read_text()


def test_without_a_file_it_is_the_validation_split(grunlock: CommandLine, model: Path) -> None:
    done = grunlock("explain", model, "--corpus", "--limit", 5)
    assert done.code == 0, done.err
    assert "the validation split of" in " ".join(done.out.split())
    assert "5 of 9 drawn" in " ".join(done.out.split())


# What is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to explain"),
        (["a text", "--class", "rad"], "did you mean 'red'"),
        (["a text", "--method", "oclusion"], "did you mean occlusion"),
        (["a text", "--row", "1"], "a text"),
        (["--corpus", "--text", "x"], "about many examples"),
        (["--row", "1"], "Rows are those of a file"),
        (["a text", "--text", "another"], "Give one text"),
        (["a text", "--set", "data.encoding=utf-8"], "none is read"),
        (["--corpus", "--class", "red"], "lists all classes"),
        (["--corpus", "--method", "occlusion"], "adds up exact shares"),
        (["a text", "--limit", "5"], "--corpus or --faithfulness as well"),
    ],
)
def test_wrong_questions_say_what_is_right(
    grunlock: CommandLine, model: Path, arguments: list[str], said: str
) -> None:
    done = grunlock("explain", model, *arguments)
    assert done.code == 1
    assert said in done.err


def test_a_file_without_a_row_is_not_taken_for_a_text(grunlock: CommandLine, model: Path, data: Path) -> None:
    done = grunlock("explain", model, data)
    assert done.code == 1
    assert "--row 1, --corpus or --faithfulness" in done.err
    done = grunlock("explain", model, data, "--row", 99)
    assert done.code == 1
    assert "1 to 13" in done.err


def test_a_model_that_cannot_be_divided_names_other_methods(grunlock: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "lstm.grunlock"
    save(text_artifact(["encoder.kind=lstm"]), path)
    refused = grunlock("explain", path, TEXT)
    assert refused.code == 1
    assert "--method integrated_gradients or occlusion" in refused.err
    assert grunlock("explain", path, TEXT, "--method", "all").code == 0


def test_only_a_run_has_a_validation_split(grunlock: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "model.grunlock"
    save(text_artifact(), path)
    done = grunlock("explain", path, "--corpus")
    assert done.code == 1
    assert "no run with its data" in done.err


# Methods ------------------------------------------------------------------------------------------------


def test_every_method_finds_planted_words(tmp_path: Path) -> None:
    settings = ["embedding.size=16", "encoder.hidden_size=16", "batches.size=16", "training.epochs=8"]
    artifact = trained_on(planted_texts(300, 0), "tiny", settings, tmp_path)
    found = found_triggers(artifact, planted_texts(45, 1), METHODS)
    assert found["random"].hit_rate < 0.3
    for method in METHODS[:-1]:
        assert found[method].hit_rate > 0.9, method
        assert found[method].reciprocal_rank >= found[method].hit_rate


# The page -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    path, valid = tmp_path_factory.mktemp("page") / "found.html", validation_examples(model)
    explained = explain(model, [TEXT, FOREIGN], methods=["exact", "occlusion"])
    path.write_text(page(explained, explain_corpus(valid), faithfulness(valid, ["exact"])))
    return path


@pytest.fixture(params=[("light", 1000), ("dark", 1000), ("light", 360)], ids=["light", "dark", "phone"])
def opened(request: pytest.FixtureRequest, chromium: "Browser", written: Path) -> "Iterator[Page]":
    scheme, width = request.param
    context = chromium.new_context(color_scheme=scheme, viewport={"width": width, "height": 800})
    shown, complaints = context.new_page(), list[str]()
    shown.on("console", lambda message: complaints.append(message.text))
    shown.on("request", lambda asked: complaints.append(asked.url) if asked.url != written.as_uri() else None)
    shown.goto(written.as_uri())
    yield shown
    context.close()
    assert complaints == []


CONTRAST = """() => {
  %s
  const ink = light(getComputedStyle(document.body).color);
  const strongest = e => e.style.getPropertyValue('--s') === '100%';
  const shown = [...document.querySelectorAll('.t')].filter(strongest);
  return shown.map(e => ratio(ink, light(getComputedStyle(e).backgroundColor)));
}""".replace("%s", WCAG)


def test_the_page_is_readable_everywhere(opened: "Page") -> None:
    """No sideways scrolling, no text lost or run as code, contrast of the strongest colours above 4.5."""
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    texts = [each.inner_text() for each in opened.locator(".text").all()]
    assert texts[:4] == [TEXT, TEXT, FOREIGN, FOREIGN]
    assert opened.locator("script").count() == 0
    assert opened.locator(".text").nth(2).get_attribute("dir") == "auto"
    ratios = opened.evaluate(CONTRAST)
    assert len(ratios) >= 4
    assert min(ratios) > 4.5


def test_tokens_are_reached_by_the_keyboard(opened: "Page") -> None:
    opened.keyboard.press("Tab")
    label = opened.evaluate("document.activeElement.getAttribute('aria-label')")
    assert label.startswith("the: ")
    assert "of the state" in label
    shown = opened.evaluate("getComputedStyle(document.activeElement, '::after').content")
    assert "the: " in shown
