"""grunlock report on runs, searches, duels, ablations and roads: numbers, the page in a browser, errors."""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from grunlock.comparison.ablation import ablate
from grunlock.comparison.contenders import Contender
from grunlock.comparison.duel import duel
from grunlock.comparison.runs import Source
from grunlock.data.sources import InMemory
from grunlock.errors import MissingDependencyError, ReportError, RunError
from grunlock.evaluation import evaluate_run
from grunlock.recipe import Recipe, read_recipe
from grunlock.report import write_report
from grunlock.report.words import LONGEST_NAME
from grunlock.training.run import train
from grunlock.unlock import UnlockSettings, unlock
from grunlock.unlock.steps import kept_run, runs_of_road, verdicts_on_steps
from tests.conftest import COLOURS, THOROUGH, colour_rows
from tests.workflows.conftest import SMALL, CommandLine
from tests.workflows.report_pages import CONTRASTS, OF_MARKS, opened
from tests.workflows.series_data import slopes, write_npz

if TYPE_CHECKING:
    from playwright.sync_api import Browser

LABELS = dict(zip(COLOURS, ["<script>window.hit=1</script>", "أحمر", '好 {{ 7 * 7 }} "x"'], strict=True))
BEGINNINGS = ["</script><img src=x onerror=window.hit=1>", "هذا نص من اليمين", "这是一段中文"]
PHONE = {"width": 360, "height": 780}


def tiny(*settings: str) -> Recipe:
    return read_recipe("tiny", [*SMALL, *settings])


def nasty_rows(count: int) -> list[tuple[str, str]]:
    """Labels and texts of other scripts and directions, some like markup; a quarter of labels is wrong."""
    rows = [
        (LABELS[label], f"{BEGINNINGS[i // 3 % 3]} {text}")
        for i, (label, text) in enumerate(colour_rows(count))
    ]
    return [(rows[(i + 1) % count][0] if i % 4 == 0 else label, text) for i, (label, text) in enumerate(rows)]


@pytest.fixture(scope="module")
def nasty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, calibrated, refitted, with a test split."""
    folder = tmp_path_factory.mktemp("nasty")
    data = folder / "data.tsv"
    data.write_text("label\ttext\n" + "".join(f"{a}\t{b}\n" for a, b in nasty_rows(240)), encoding="utf-8")
    settings = (
        "training.epochs=3",
        "data.valid_fraction=0.4",
        "data.calibration_fraction=0.4",
        "training.refit=true",
    )
    return train(data, tiny(*settings), folder / "run").folder


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("colours") / "colours.csv"
    path.write_text("label,text\n" + "".join(f"{label},{text}\n" for label, text in colour_rows(150)))
    return path


@pytest.fixture(scope="module")
def road(colours: Path) -> Path:
    """A whole road; its search is a study, its usual GRU a run."""
    space = colours.with_name("space.toml")
    space.write_text(
        'base = "tiny"\n[embedding]\nsize = { choices = [8, 16] }\n[encoder]\nhidden_size = 8\n'
        "[batches]\nsize = 8\n"
        "[optim]\nlr = { low = 3e-3, high = 3e-2, log = true }\n[training]\nepochs = 3\n"
    )
    settings = UnlockSettings(source=str(colours), recipe=str(space), minutes=3, trials=4)
    return unlock(settings, colours.with_name("unlocked")).folder


@pytest.fixture(scope="module")
def duelled(colours: Path) -> Path:
    contenders = [
        Contender("one", tiny()),
        Contender("two <b>", tiny("encoder.hidden_size=3")),
        Contender("linear", None),
    ]
    source = Source(str(colours), None, None, "valid")
    return duel(source, contenders, colours.with_name("duel"), range(3)).folder


@pytest.fixture(scope="module")
def ablated(colours: Path) -> Path:
    folder = colours.with_name("ablation")
    full = tiny("embedding.size=16", "head.dropout=0.2")
    ablate(Source(str(colours), None, None, "valid"), full, tiny("head.dropout=0"), folder, range(2))
    return folder


def read(path: Path) -> str:
    """The report without scripts, so without what Plotly holds."""
    html = path.read_text(encoding="utf-8")
    return re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)


def test_the_report_of_a_run_has_the_runs_numbers(nasty: Path, grunlock: CommandLine, tmp_path: Path) -> None:
    done = grunlock("report", nasty)
    assert done.code == 0, done.err
    metrics = json.loads((nasty / "metrics.json").read_text())
    said = f"{100 * metrics['accuracy']:.1f}\u00a0% of {metrics['num_examples']} validation examples"
    assert said in done.out.replace("\n", " ")
    first = (nasty / "report.html").read_bytes()
    assert write_report(nasty).num_bytes == len(first)
    assert (nasty / "report.html").read_bytes() == first  # the same folder, the same bytes
    html = read(nasty / "report.html")
    for part in (
        f'<td class="number" data-order="{metrics["nll"]}">{metrics["nll"]:.4f}</td>',
        "Epoch",
        "Learning anew with the validation examples",
        "promised error, at most",
        json.loads((nasty / "data" / "prepared.json").read_text())["fingerprint"],
        f"grunlock train {json.loads((nasty / 'run.json').read_text())['request']['source']}",
        f"grunlock explain {nasty}/before_refit.grunlock --text",  # the model that gave these answers
        "processor",
    ):
        assert part in re.sub(r"</?span[^>]*>", "", html)
    assert "test split" not in html


def test_the_test_split_is_looked_at_only_when_asked_and_said_so(nasty: Path, tmp_path: Path) -> None:
    found = write_report(nasty, tmp_path / "new" / "looked.html", split="test")
    assert found.notice is not None
    assert "Choose nothing by it" in read(found.path)
    assert f"{100 * evaluate_run(nasty, 'test').accuracy:.1f}\u00a0%" in found.verdict[0]


def test_the_page_in_a_browser(nasty: Path, chromium: "Browser", tmp_path: Path) -> None:
    path = write_report(nasty, tmp_path / "report.html").path
    with opened(chromium, path, color_scheme="light", viewport=PHONE) as page:
        assert page.evaluate("window.hit") is None
        assert page.evaluate("document.documentElement.scrollWidth") == 360  # nothing stands out
        shown = page.evaluate(
            "[...document.querySelectorAll('.chart')].map(c => c.querySelectorAll('.main-svg').length)"
        )
        assert shown
        assert all(shown)
        ticks = page.locator("#chart-1 .ytick text").all_text_contents()
        cut = [
            label if len(label) <= LONGEST_NAME else label[: LONGEST_NAME - 1] + "…"
            for label in LABELS.values()
        ]
        assert sorted(ticks) == sorted(cut)
        quotes = page.evaluate(
            "[...document.querySelectorAll('blockquote')]"
            ".map(b => [b.textContent, getComputedStyle(b).direction])"
        )
        beginnings = {begin for begin in BEGINNINGS for text, _ in quotes if text.startswith(begin)}
        assert beginnings == set(BEGINNINGS)
        assert all((direction == "rtl") == text.startswith(BEGINNINGS[1]) for text, direction in quotes)
        cells = page.evaluate("[...document.querySelectorAll('td bdi')].map(b => b.textContent)")
        assert set(LABELS.values()) <= set(cells)


def test_contrasts_in_both_themes(nasty: Path, chromium: "Browser", tmp_path: Path) -> None:
    path = write_report(nasty, tmp_path / "report.html").path
    with opened(chromium, path, color_scheme="light", reduced_motion="reduce") as page:
        page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
        for theme in ("light", "dark"):  # as the system has it, then by the button
            assert page.evaluate("document.documentElement.dataset.theme") == theme
            found = page.evaluate(CONTRASTS)
            assert len(found) > 100
            assert [each for each in found if each[0] < 4.5] == []
            marks = page.evaluate(OF_MARKS)
            assert marks["marks"] >= 3.0
            assert marks["words"] >= 4.5  # in a matrix
            before = page.evaluate("getComputedStyle(document.querySelector('.xtitle')).fill")
            page.get_by_role("button", name=re.compile("Show the")).click()
            after = page.evaluate("getComputedStyle(document.querySelector('.xtitle')).fill")
            assert after != before  # charts too
        page.evaluate("document.documentElement.style.setProperty('--quiet', '#999')")
        assert [each for each in page.evaluate(CONTRASTS) if each[0] < 4.5]  # what is too pale would be seen


def test_a_page_that_reaches_out_would_be_noticed(nasty: Path, chromium: "Browser", tmp_path: Path) -> None:
    path = write_report(nasty, tmp_path / "report.html").path
    html = path.read_text(encoding="utf-8")
    path.write_text(html.replace("</main>", '<img src="http://127.0.0.1:9/x.png"></main>'), encoding="utf-8")
    with (
        pytest.raises(AssertionError, match="Content Security Policy"),
        opened(chromium, path),
    ):
        pass


def test_by_keyboard(nasty: Path, chromium: "Browser", tmp_path: Path) -> None:
    path = write_report(nasty, tmp_path / "report.html").path
    with opened(chromium, path, color_scheme="light") as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        assert page.evaluate("document.activeElement.getBoundingClientRect().top >= 0")  # it can be seen now
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        page.keyboard.press("Enter")
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"
        heading = page.locator("#classes th button", has_text="recall")
        column = "[...document.querySelectorAll('#classes table')].at(-1)"
        for order, sign in (("ascending", 1), ("descending", -1)):
            heading.press("Enter")
            assert page.locator("#classes th[aria-sort]").get_attribute("aria-sort") == order
            values = page.evaluate(
                f"[...{column}.tBodies[0].rows].map(row => Number(row.cells[2].dataset.order))"
            )
            assert values == sorted(values, reverse=sign < 0)


def test_on_paper(nasty: Path, chromium: "Browser", tmp_path: Path) -> None:
    path = write_report(nasty, tmp_path / "report.html").path
    with opened(chromium, path, color_scheme="dark") as page:
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        page.emulate_media(media="print")
        assert page.evaluate("document.documentElement.dataset.theme") == "light"
        assert not page.locator("#theme").is_visible()
        widths = page.evaluate("[...document.querySelectorAll('.main-svg')].map(each => each.clientWidth)")
        assert max(widths) <= 660
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"
        assert page.pdf().startswith(b"%PDF")


def test_the_report_of_a_road(road: Path, chromium: "Browser") -> None:
    found = write_report(road)
    final = json.loads((road / "stages" / "final.json").read_text())["facts"]
    for sentence, remark in zip(final["verdicts"], found.remarks, strict=True):
        assert remark.rstrip(".").lower() == sentence.lower()
    assert len(found.verdict) == 2
    assert found.verdict[1].startswith("The kept model ")
    assert found.verdict[1].count("points") == len(final["verdicts"])
    html = read(found.path)
    for station in ("linear SVM", "the usual GRU", "the best trial", "the best recipe"):
        assert station in html
    steps = verdicts_on_steps(road)
    assert [(each.name_b, each.name_a) for each in steps] == [
        ("linear SVM", "the usual GRU"),
        ("the usual GRU", "the best trial"),
    ]
    runs = runs_of_road(road)
    assert runs.usual is not None
    assert steps[0].accuracy_a == json.loads((runs.usual / "metrics.json").read_text())["accuracy"]
    assert len(runs.seeds) > 1
    kept = kept_run(road)
    assert kept is not None
    assert (kept / "model.grunlock").read_bytes() == (road / "model.grunlock").read_bytes()
    with opened(chromium, found.path) as page:
        assert page.locator(".chart .main-svg").count() > 10
        texts = page.locator("#chart-1 .ytick text").all_text_contents()
        assert texts[0].startswith("linear SVM")


def test_a_road_that_was_moved_is_read_where_it_is(road: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(road, moved, symlinks=True)
    assert runs_of_road(moved).best_trial == moved.joinpath(
        *(runs_of_road(road).best_trial or road).parts[-4:]
    )


def test_a_road_that_is_not_finished_says_what_is_to_come(road: Path, tmp_path: Path) -> None:
    part = tmp_path / "part"
    shutil.copytree(road, part, symlinks=True)
    for name in ("seeds", "final"):
        (part / "stages" / f"{name}.json").unlink()
    found = write_report(part)
    assert found.notice is not None
    assert f"seeds, final to come. Go on with: grunlock unlock --resume {part}" in found.notice
    assert "the best recipe" not in read(found.path)


def test_the_report_of_a_search(road: Path, chromium: "Browser", tmp_path: Path) -> None:
    found = write_report(road / "search", tmp_path / "search.html")
    assert re.match(r"Trial \d is the best of 4: nll 0\.\d{4}\.", found.verdict[0])
    html = read(found.path)
    assert "optim.lr" in html
    assert "Search again, in a new folder" in html
    with opened(chromium, found.path) as page:
        assert page.locator("#search .chart .main-svg").count() > 4


def test_the_report_of_a_duel(duelled: Path, chromium: "Browser") -> None:
    found = write_report(duelled)
    result = json.loads((duelled / "duel.json").read_text())
    assert len(found.verdict) == 2
    assert [each.rstrip(".").lower() for each in found.remarks] == [
        each["sentence"].rstrip(".").lower() for each in result["verdicts"]
    ]
    with opened(chromium, found.path) as page:
        matrix = page.locator("#everyone table td").all_text_contents()
        first = result["verdicts"][0]
        assert (
            any(f"{100 * first['difference']:+.2f}"[1:] in cell for cell in matrix)
            or first["difference"] == 0
        )
        assert "minus two <b>" in page.locator("#differences .ytick text").all_text_contents()[0]
        points = page.locator("#contenders .scatterlayer .point").count()
        assert points == 9
    (duelled / "answers.npz").rename(duelled / "answers.away")
    assert "kept no single answers" in read(write_report(duelled).path)
    (duelled / "answers.away").rename(duelled / "answers.npz")
    (duelled / "duel.json").rename(duelled / "away.json")
    unfinished = write_report(duelled)
    assert unfinished.notice is not None
    assert "not finished" in unfinished.notice
    assert "contenders/one/runs/2" in read(unfinished.path)
    (duelled / "away.json").rename(duelled / "duel.json")


def test_the_report_of_an_ablation(ablated: Path, chromium: "Browser") -> None:
    found = write_report(ablated)
    result = json.loads((ablated / "ablation.json").read_text())
    full = sum(result["full"]["accuracies"]) / 2
    assert f"{100 * full:.2f}\u00a0%" in found.verdict[0]
    html = read(found.path)
    for trick in result["taken_out"]:
        assert f"{100 * trick['low']:+.2f} to {100 * trick['high']:+.2f}" in html
    with opened(chromium, found.path) as page:
        assert page.locator("#road .ytick text").all_text_contents()[0].startswith("plain")
    assert "--plain" in html


@THOROUGH
def test_series_have_reports_too(chromium: "Browser", tmp_path: Path) -> None:
    data = tmp_path / "slopes.npz"
    write_npz(data, slopes(60))
    settings = ["encoder.hidden_size=4", "batches.size=8", "training.epochs=1"]
    run = train(data, read_recipe("series", settings), tmp_path / "run").folder
    with opened(chromium, write_report(run).path) as page:
        assert "series have no text to show" in page.content() or "There is none" in page.content()


def test_what_is_left_of_a_run_is_reported(nasty: Path, grunlock: CommandLine, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(nasty, run)
    source = Path(json.loads((run / "run.json").read_text())["request"]["source"])
    hidden = source.with_suffix(".away")
    source.rename(hidden)
    try:
        assert "No text is shown" in read(write_report(run).path)
    finally:
        hidden.rename(source)
    shutil.rmtree(run / "data")
    html = read(write_report(run).path)
    assert "Reliability and single errors are left out" in html
    assert "Classes and confusions" in html
    with pytest.raises(RunError, match="no run with its data"):
        write_report(run, split="test")
    (run / "metrics.json").unlink()
    done = grunlock("report", run)
    assert done.code == 0, done.err
    assert f"Go on with: grunlock train --resume {run}" in done.out.replace("\n", " ")
    assert "How it learned" in read(run / "report.html")


def test_a_run_of_data_in_memory(tmp_path: Path) -> None:
    rows = colour_rows(60)
    data = InMemory([text for _, text in rows], [label for label, _ in rows])
    run = train(data, tiny(), tmp_path / "run").folder
    html = read(write_report(run).path)
    assert "data in memory" in html
    assert "No text is shown: the run was trained on texts in memory" in html


def test_wrong_use(nasty: Path, duelled: Path, grunlock: CommandLine, tmp_path: Path) -> None:
    assert "nothing to report here" in grunlock("report", tmp_path).err
    assert "did you mean --split valid?" in grunlock("report", nasty, "--split", "validation").err
    with pytest.raises(ReportError, match="valid or test"):
        write_report(nasty, split="dev")  # type: ignore[arg-type]
    with pytest.raises(ReportError, match=r"settled when it was run(.|\n)*--on test"):
        write_report(duelled, split="test")
    shutil.copytree(duelled, tmp_path / "duel", symlinks=True)
    for text in ("{", "[]", '{"on": "valid"}'):
        (tmp_path / "duel" / "duel.json").write_text(text)
        with pytest.raises(ReportError, match=r"file of results cannot be read(.|\n)*run the command again"):
            write_report(tmp_path / "duel")


@pytest.mark.parametrize(
    ("name", "text"),
    [("run.json", '{"request": {"source": "a", "valid": null, "test": null}}'), ("history.jsonl", "{\n")],
)
def test_damaged_files_of_a_run_are_named(nasty: Path, tmp_path: Path, name: str, text: str) -> None:
    shutil.copytree(nasty, tmp_path / "run")
    (tmp_path / "run" / name).write_text(text)
    with pytest.raises(ReportError, match=rf"cannot be read(.|\n)*{re.escape(name)}"):
        write_report(tmp_path / "run")


def test_a_damaged_road_is_named(road: Path, tmp_path: Path) -> None:
    shutil.copytree(road, tmp_path / "road", symlinks=True)
    (tmp_path / "road" / "verdicts.json").write_text('[{"name_a": "x"}]')
    with pytest.raises(ReportError, match=r"verdicts.json(.|\n)*KeyError"):
        write_report(tmp_path / "road")
    (tmp_path / "road" / "unlock.json").write_text("{}")
    with pytest.raises(ReportError, match=r"cannot be read(.|\n)*unlock.json"):
        write_report(tmp_path / "road")


def test_without_plotly_the_extra_is_named(
    nasty: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(MissingDependencyError, match=r"grunlock\[report\]"):
        write_report(nasty, tmp_path / "report.html")
