"""benchmarks/encoders: epochs of a budget, what is refused, what counts as noise, a tiny set end to end.

No test looks at how long anything takes.
"""

import json
import os
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from benchmarks.encoders.bench import Bench, log_line
from benchmarks.encoders.latency import NUM_EXAMPLES, examples_of, spread_evenly
from benchmarks.encoders.pace import spread
from benchmarks.encoders.plan import ENCODERS, SETS, DataSet, Task, epochs_within, pairs
from benchmarks.encoders.processes import Listener, run_tasks
from benchmarks.encoders.store import Store
from benchmarks.encoders.table import Row, clear_winner, markdown, noise_margin, section
from benchmarks.encoders.worker import do, from_json, to_json
from rich.console import Console

from grunlock.errors import BenchmarkError
from grunlock.recipe import read_recipe

SET = DataSet("colours", Path("colours.csv"), "tiny", 10.0, 2)


@pytest.mark.parametrize(
    ("seconds_per_epoch", "epochs"), [(0.001, 30), (2.0, 20), (2.1, 19), (39.0, 1), (41.0, 1), (1000.0, 1)]
)
def test_as_many_whole_epochs_as_fit(seconds_per_epoch: float, epochs: int) -> None:
    assert epochs_within(40.0, seconds_per_epoch, max_epochs=30) == epochs


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_is_a_recipe(encoder: str) -> None:
    recipe = read_recipe("default", Task("train", SETS["sst2"], encoder, seed=2, epochs=7).overrides)
    assert recipe.encoder.kind == encoder.partition("+")[0]
    assert (recipe.seed, recipe.training.epochs) == (2, 7)
    parts = {"attention": recipe.attention, "stem": recipe.stem, "wide": recipe.wide}
    assert [name for name, part in parts.items() if part is not None] == [
        name for name in parts if encoder == f"gru+{name}"
    ]
    assert (recipe.pooling.parts == ("multi_attention",)) == (encoder == "gru+multi_attention")


def test_kinds_keep_the_number_of_layers_that_they_have_by_default() -> None:
    layers = {
        kind: read_recipe("default", ENCODERS[kind]).encoder.num_layers  # type: ignore[union-attr]
        for kind in ("gru", "lstm", "mingru", "minlstm", "qrnn", "transformer")
    }
    assert layers == {"gru": 1, "lstm": 1, "mingru": 2, "minlstm": 2, "qrnn": 2, "transformer": 2}


def test_series_have_no_tokens_to_hash() -> None:
    found = pairs([SETS["trec6"], SETS["Adiac"]], ["gru", "gru+wide"])
    assert [(s.name, e) for s, e in found] == [("trec6", "gru"), ("trec6", "gru+wide"), ("Adiac", "gru")]


def test_sampled_steps_are_spread_over_sizes() -> None:
    sizes = [7, 1, 5, 3, 9, 2]
    assert [sizes[i] for i in spread(sizes, count=3)] == [2, 5, 9]
    assert [sizes[i] for i in spread(sizes, count=12)] == [1, 1, 2, 2, 3, 3, 5, 5, 7, 7, 9, 9]


def test_a_task_survives_the_way_to_its_worker(tmp_path: Path) -> None:
    task = Task("train", SETS["imdb"], "gru+stem", 2, 5)
    assert from_json(to_json(task, tmp_path)) == (task, tmp_path)


# ---- results on disk -------------------------------------------------------------------------------


def test_results_with_other_settings_are_refused(tmp_path: Path) -> None:
    store, task = Store(tmp_path), Task("train", SET, "gru", 0, epochs=2)
    assert store.read(task) is None
    store.write(task, {"test_accuracy": 0.5})
    found = store.read(task)
    assert found is not None
    assert found["test_accuracy"] == 0.5
    with pytest.raises(BenchmarkError, match="other settings") as refused:
        store.read(replace(task, epochs=3))
    assert "training.epochs=3" in str(refused.value.expected)


def test_training_needs_the_pace(tmp_path: Path) -> None:
    bench = Bench([SET], ["gru"], [0], 1, Store(tmp_path), Console(file=StringIO()))
    with pytest.raises(BenchmarkError, match="how long an epoch takes"):
        bench.run("train")
    with pytest.raises(BenchmarkError, match="nothing to make a table of"):
        bench.write_table(tmp_path)


# ---- the table -------------------------------------------------------------------------------------


def row(encoder: str, *accuracies: float) -> Row:
    return Row(
        encoder=encoder,
        seeds=tuple(range(len(accuracies))),
        test_accuracies=accuracies,
        valid_accuracies=accuracies,
        test_macro_f1s=accuracies,
        num_test=500,
        parameters=1234,
        epochs=20,
        paced_seconds=39.5,
        wall_seconds=50.0,
        microseconds=None if encoder == "bag" else 101.7,
    )


def test_the_margin_is_students_with_the_spread_of_all() -> None:
    rows = [row("gru", 0.80, 0.82, 0.84), row("lstm", 0.80, 0.84, 0.88)]
    # variances 0.0004 and 0.0016, pooled 0.001 with 4 degrees of freedom; t(0.975, 4) = 2.776445
    assert noise_margin(rows, *rows) == pytest.approx(2.776445 * (0.001 * 2 / 3) ** 0.5)
    # a third encoder: two comparisons and 6 degrees of freedom; t(0.9875, 6) = 2.968687
    rows.append(row("conv", 0.50, 0.50, 0.50))
    assert noise_margin(rows, *rows[:2]) == pytest.approx(2.968687 * (0.002 / 3 * 2 / 3) ** 0.5, rel=1e-6)
    assert noise_margin([row("gru", 0.8), row("lstm", 0.9)], *rows[:2]) is None


@pytest.mark.parametrize(
    ("lstm", "conv", "winner"),
    [
        ((0.90, 0.91, 0.92), (0.70, 0.71, 0.72), "lstm"),
        ((0.81, 0.82, 0.83), (0.70, 0.71, 0.72), None),  # ahead of the gru, by less than the margin
        ((0.79, 0.80, 0.81), (0.70, 0.71, 0.72), None),  # the gru is first, the second is near
        ((0.60, 0.61, 0.62), (0.70, 0.71, 0.72), "gru"),
    ],
)
def test_only_a_clear_winner_is_one(
    lstm: tuple[float, ...], conv: tuple[float, ...], winner: str | None
) -> None:
    rows = [row("gru", 0.80, 0.81, 0.82), row("lstm", *lstm), row("conv", *conv)]
    assert clear_winner(rows) == winner
    assert section(SET, rows)["clear_winner"] == winner
    assert clear_winner(rows[1:]) is None  # there is no gru


def test_the_markdown_has_a_row_for_each_encoder() -> None:
    rows = [row("gru", 0.80, 0.81, 0.82), row("lstm", 0.90, 0.91, 0.92), row("bag", 0.7)]
    lines = markdown([(SET, rows)], ["abc1234"]).splitlines()
    assert "| gru | 81.0 ± 1.0 | 1,234 | 20 | 39.5 | 102 |" in lines
    assert "| lstm | **91.0 ± 1.0** | 1,234 | 20 | 39.5 | 102 |" in lines
    assert "| bag | 70.0 | 1,234 | 20 | 39.5 |  |" in lines
    assert any("500 test examples, standard error of the best accuracy 1.3 points" in line for line in lines)


def test_looks_are_told_in_a_row_of_the_log() -> None:
    tasks = [Task("train", SET, encoder, seed, 2) for seed in (0, 1) for encoder in ("gru", "bag")]
    cells = log_line(tasks).split("|")
    assert cells[2].strip() == "colours"
    assert "gru, bag; seeds 0, 1; 4 runs, once each" in cells[3]


# ---- doing it --------------------------------------------------------------------------------------


def test_a_tiny_set_end_to_end(colours_csv: Path, tmp_path: Path) -> None:
    """In this process what workers do in theirs."""
    store, output = Store(tmp_path / "work"), StringIO()
    data_set = replace(SET, source=colours_csv)
    bench = Bench([data_set], ["gru", "bag"], [0], 1, store, Console(file=output, width=200))
    for tasks in (bench.pace_tasks, bench.train_tasks, bench.latency_tasks):
        assert len(tasks()) == 2
        for task in tasks():
            do(task, store)
    assert os.listdir(store.folder / "runs") == []
    bench.write_table(tmp_path)
    document = json.loads((tmp_path / "encoders.json").read_text())
    assert [entry["encoder"] for entry in document["sets"][0]["encoders"]] == ["gru", "bag"]
    for entry in document["sets"][0]["encoders"]:
        assert entry["epochs"] == 2
        assert 0.0 <= entry["mean"] <= 1.0
        assert min(entry["paced_seconds"], entry["wall_seconds"], entry["microseconds"]) > 0.0
    assert set(document["runs"]) == {"colours.gru.0", "colours.bag.0"}
    assert "| bag |" in output.getvalue()
    for stage in ("pace", "train", "latency"):  # no worker is started for what is done
        assert bench.run(stage)
    assert "train: 2 of 2 are done" in output.getvalue()


def test_a_failed_worker_is_told(tmp_path: Path) -> None:
    ended: list[tuple[Task, str | None]] = []
    task = Task("latency", SET, "gru", 0, 2)  # there is no model
    run_tasks([task], Store(tmp_path), 2, Listener(ended=lambda *end: ended.append(end)))
    assert [end[0] for end in ended] == [task]
    assert "colours.gru.grunlock" in str(ended[0][1])


def test_examples_are_the_test_splits(tmp_path: Path, colours_csv: Path) -> None:
    path = tmp_path / "series.npz"
    values = np.arange(24, dtype=np.float16).reshape(2, 4, 3)
    np.savez(path, X_test=values, len_test=np.array([2, 4]))
    shapes = [(series.shape, series.dtype) for series in examples_of(replace(SET, source=path))]
    assert shapes == [((2, 3), np.float32), ((4, 3), np.float32)]
    assert len(examples_of(replace(SET, source=colours_csv))) == 90
    some = spread_evenly(list(range(1000)))
    assert (len(some), some[0], some[-1]) == (NUM_EXAMPLES, 0, 997)
