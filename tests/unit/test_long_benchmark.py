"""The length benchmark: cells learn and repeat, the document is continued or refused, tables and curves.

No test looks at how long anything takes.
"""

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from grunlock.benchmark.long import run as running
from grunlock.benchmark.long.curves import Point, curves
from grunlock.benchmark.long.experiment import Cell, Effort, Score, build_model, run_cell, training_steps
from grunlock.benchmark.long.model import encoder_sections
from grunlock.benchmark.long.picture import picture
from grunlock.benchmark.long.run import Found, Listener, Scope, plan, read_cells, run_long
from grunlock.benchmark.long.tasks import TASKS
from grunlock.cli.main import app
from grunlock.errors import BenchmarkError, RunInterruptedError, StorageError

KINDS = ("gru", "lstm", "mingru", "minlstm", "qrnn", "conv", "transformer", "bag")
TINY = Effort(num_updates=3, batch_size=8, hidden_size=8, num_test=50)
CELLS = [Cell("recall", kind, 6, 0) for kind in ("gru", "conv", "bag")]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Cell]:
    """Cells are not trained but noted; a bag's gradients are not finite."""
    seen: list[Cell] = []

    def fake(cell: Cell, effort: Effort, tell: object) -> Score:
        seen.append(cell)
        return Score(None if cell.encoder == "bag" else 0.5 + len(seen) / 100, 1.5, 7)

    monkeypatch.setattr(running, "run_cell", fake)
    return seen


# ---- cells -----------------------------------------------------------------------------------------


def test_every_kind_is_there() -> None:
    sections = encoder_sections(64)
    assert tuple(sections) == KINDS
    assert all(section.kind == kind for kind, section in sections.items())


@pytest.mark.parametrize("kind", KINDS)
def test_a_cell_repeats_whatever_ran_before(kind: str) -> None:
    cell = Cell("selective", kind, 7, 3)
    updates: list[int] = []
    once = run_cell(cell, TINY, updates.append).accuracy
    torch.rand(5)
    weights = [dict(build_model(c, TINY).named_parameters()) for c in (cell, cell, replace(cell, seed=4))]
    assert run_cell(cell, TINY).accuracy == once
    assert updates == [1, 2, 3]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert any(not torch.equal(weights[0][name], weights[2][name]) for name in weights[0])


def test_sequences_grow_to_the_length_that_is_scored() -> None:
    effort = replace(TINY, num_updates=8)
    cell = Cell("adding", "gru", 32, 0)
    assert [training_steps(cell, effort, update) for update in range(8)] == [2, 4, 8, 16, 32, 32, 32, 32]
    assert training_steps(cell, replace(effort, growing_fraction=0.0), 0) == 32


def test_a_gru_learns_to_recall_and_a_bag_does_not_learn_parity() -> None:
    effort = Effort(num_updates=100, hidden_size=16, lr=1e-2, num_test=500)
    learned = run_cell(Cell("recall", "gru", 6, 0), effort).accuracy
    counted = run_cell(Cell("parity", "bag", 6, 0), effort).accuracy
    assert learned is not None
    assert learned > 0.95
    assert counted is not None
    assert counted < 0.75  # a threshold on the count reaches 0.66, see the task


def test_a_cell_ends_when_all_is_answered_rightly_at_full_length() -> None:
    cell, told = Cell("recall", "gru", 6, 0), list[int]()
    effort = Effort(num_updates=400, hidden_size=16, lr=1e-2, num_test=500, growing_fraction=0.25)
    found = run_cell(cell, replace(effort, right_batches=5), told.append)
    assert found.updates == told[-1] < 400
    assert training_steps(cell, effort, found.updates - 5) == cell.num_steps
    assert found.accuracy is not None
    assert found.accuracy > 0.95
    assert run_cell(cell, replace(effort, right_batches=320)).updates == 400


def test_gradients_that_are_not_finite_give_no_accuracy() -> None:
    found = run_cell(Cell("recall", "bag", 6, 0), replace(TINY, lr=float("inf"), num_updates=40))
    assert found.accuracy is None
    assert found.updates == 21  # the first step was finite


def test_a_step_that_is_not_finite_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    clip, calls = torch.nn.utils.clip_grad_norm_, []

    def explodes_once(parameters: Iterator[torch.Tensor], most: float) -> torch.Tensor:
        calls.append(most)
        norm = clip(parameters, most)
        return norm * float("nan") if len(calls) == 1 else norm

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", explodes_once)
    assert run_cell(Cell("recall", "bag", 6, 0), TINY).accuracy is not None
    assert len(calls) == TINY.num_updates


# ---- the document ----------------------------------------------------------------------------------


def test_the_plan_has_short_lengths_of_the_first_seed_first() -> None:
    cells = plan(Scope((5, 9), (0, 1), TINY), ("recall", "parity"))
    assert len(set(cells)) == len(cells) == 2 * 2 * 2 * len(KINDS)
    assert cells == sorted(cells, key=lambda cell: (cell.seed, cell.num_steps))


def test_a_small_run_end_to_end(tmp_path: Path) -> None:
    path, before = tmp_path / "long.json", torch.get_num_threads()
    cells = plan(Scope((5,), (0,), TINY), tuple(TASKS))
    result = run_long(cells, TINY, threads=1, json_path=path)
    assert torch.get_num_threads() == before
    assert set(result.cells) == set(cells)
    assert read_cells(path, TINY) == result.cells
    document = json.loads(path.read_text())
    assert document["interrupted"] is False
    assert {entry["chance"] for entry in document["cells"]} == {0.5, 0.125}
    assert all(0.0 <= entry["accuracy"] <= 1.0 for entry in document["cells"])


def test_a_run_goes_on_where_ctrl_c_ended_it(trained: list[Cell], tmp_path: Path) -> None:
    path = tmp_path / "long.json"

    def press_control_c(cell: Cell) -> None:
        if cell == CELLS[2]:
            raise KeyboardInterrupt

    first = run_long(CELLS, TINY, 1, path, Listener(begun=press_control_c))
    assert first.interrupted
    assert json.loads(path.read_text())["interrupted"] is True
    assert trained == CELLS[:2]
    done: list[Cell] = []
    second = run_long(CELLS, TINY, 1, path, Listener(done=lambda cell, score: done.append(cell)))
    assert done == [CELLS[2]]
    assert trained == CELLS
    assert {cell: second.cells[cell] for cell in CELLS[:2]} == first.cells
    assert second.cells[CELLS[2]].score.accuracy is None
    assert json.loads(path.read_text())["interrupted"] is False


def test_cells_outside_the_plan_stay_in_the_file(trained: list[Cell], tmp_path: Path) -> None:
    path = tmp_path / "long.json"
    run_long(CELLS[:1], TINY, 1, path)
    run_long(CELLS[1:], TINY, 1, path)
    assert list(read_cells(path, TINY)) == CELLS


def test_other_settings_are_refused_and_the_file_is_left(trained: list[Cell], tmp_path: Path) -> None:
    path = tmp_path / "long.json"
    run_long(CELLS[:1], TINY, 1, path)
    before = path.read_bytes()
    with pytest.raises(BenchmarkError, match="other settings") as refused:
        run_long(CELLS, replace(TINY, num_updates=4), 1, path)
    assert (refused.value.got, refused.value.expected) == ("num_updates = 3", "num_updates = 4")
    assert path.read_bytes() == before
    assert trained == CELLS[:1]


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"benchmark": "grunlock bench", "format": 1}', "\N{LATIN SMALL LETTER E WITH ACUTE}"],
)
def test_a_file_of_something_else_is_refused(trained: list[Cell], tmp_path: Path, content: str) -> None:
    path = tmp_path / "long.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(BenchmarkError, match="no results that could be continued"):
        run_long(CELLS, TINY, 1, path)
    assert path.read_text(encoding="latin-1") == content
    assert trained == []


def test_a_path_that_cannot_be_written_is_found_first(trained: list[Cell], tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        run_long(CELLS, TINY, 1, tmp_path / "nowhere" / "long.json")
    assert trained == []


# ---- curves ----------------------------------------------------------------------------------------


def found(**accuracies: float | None) -> dict[Cell, Found]:
    """Accuracies by kind, length and seed, as in gru_16_0."""
    cells = {}
    for name, accuracy in accuracies.items():
        kind, num_steps, seed = name.split("_")
        cells[Cell("parity", kind, int(num_steps), int(seed))] = Found(Score(accuracy, 1.0, 7), None)
    return cells


def test_a_point_is_the_mean_over_seeds_that_did_not_diverge() -> None:
    done = found(gru_32_0=0.5, gru_32_1=1.0, gru_16_0=1.0, gru_32_2=None, bag_16_0=None)
    lines = curves([*done, Cell("adding", "gru", 16, 0)], done)  # the last is not done
    assert lines == {
        "parity": {"gru": {16: Point((1.0,)), 32: Point((0.5, 1.0), 1)}, "bag": {16: Point((), 1)}}
    }
    assert list(lines["parity"]["gru"]) == [16, 32]
    assert lines["parity"]["gru"][32].mean == 0.75
    assert lines["parity"]["bag"][16].mean is None


def test_the_picture_has_a_line_for_each_encoder() -> None:
    done = found(gru_16_0=1.0, gru_64_0=0.5, gru_64_1=0.0, bag_16_0=None)
    root = ElementTree.fromstring(picture(curves(done, done)))
    name = "{http://www.w3.org/2000/svg}"
    lines = [line.get("points", "").split() for line in root.iter(f"{name}polyline")]
    assert [len(points) for points in lines] == [2, 0]
    (x_first, y_first), (x_last, y_last) = ([float(v) for v in point.split(",")] for point in lines[0])
    assert x_first < x_last
    assert y_first < y_last  # downwards: less accurate
    assert len(list(root.iter(f"{name}circle"))) == 3
    texts = {text.text for text in root.iter(f"{name}text")}
    assert {"parity, chance 0.5", "gru", "bag", "16", "64"} <= texts
    ElementTree.fromstring(picture({}))  # interrupted before the first cell was done


# ---- the command -----------------------------------------------------------------------------------


def bench(*arguments: str | Path) -> "tuple[int, str, BaseException | None]":
    done = CliRunner().invoke(app, ["bench", *map(str, arguments)])
    return done.exit_code, " ".join(done.output.replace("│", " ").split()), done.exception


def test_the_command_shows_tables_draws_and_continues(trained: list[Cell], tmp_path: Path) -> None:
    path, drawing = tmp_path / "long.json", tmp_path / "long.svg"
    arguments = ("--long", "--quick", "-g", "parity", "--json", path, "--picture", drawing)
    code, output, _ = bench(*arguments)
    assert code == 0
    for words in ("parity: accuracy on 1,000 fresh sequences, chance 0.5", "T=8", "diverged", "gru 0.51"):
        assert words in output
    assert drawing.read_text().startswith("<svg")
    num_cells = len(trained)
    assert num_cells == 2 * len(KINDS)
    code, output, _ = bench(*arguments)
    assert code == 0
    assert "16 of 16 cells are done" in output
    assert len(trained) == num_cells


def test_the_command_keeps_what_is_done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def stopped(cell: Cell, effort: Effort, tell: object) -> Score:
        if cell.encoder == "lstm":
            raise KeyboardInterrupt
        return Score(0.75, 1.0, 7)

    monkeypatch.setattr(running, "run_cell", stopped)
    code, output, error = bench("--long", "--quick", "-g", "recall", "--json", tmp_path / "long.json")
    assert code == 1
    assert isinstance(error, RunInterruptedError)
    assert "recall: accuracy" in output
    assert "gru 0.75" in output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--long", "-g", "speed"], "speed is no task: choose among"),
        (["--long", "--rounds", "3"], "--rounds does not go with --long"),
        (["--long", "--picture", "curves.png"], "does not end in .svg"),
        (["--long", "--picture", "nowhere/curves.svg"], "there is no folder"),
        (["--picture", "curves.svg"], "--picture does not go with a benchmark of speed"),
    ],
)
def test_wrong_usage_is_told(arguments: list[str], words: str) -> None:
    code, output, _ = bench(*arguments)
    assert code == 2
    assert words in output
