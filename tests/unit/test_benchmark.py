"""The benchmark: its arithmetic, its protocol with workers that fake, and that contenders agree.

No test looks at how long anything takes.
"""

import io
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from grunlock.benchmark import measure as measuring
from grunlock.benchmark import processes
from grunlock.benchmark.cases import Case, Comparison, Contender, case_from_json, gflop, to_json
from grunlock.benchmark.lengths import MAX_TOKENS, drawn_lengths, length_batches, text_lengths
from grunlock.benchmark.measure import Effort, Measurement, measure, new_measurement, plan_turn
from grunlock.benchmark.plan import GROUPS, QUICK, plan
from grunlock.benchmark.processes import PeerMissingError, Worker, WorkerPool, worker_environment
from grunlock.benchmark.ratios import rate_share, ratio, summarize
from grunlock.benchmark.results import document, figures
from grunlock.benchmark.run import GRID_ROUNDS, BenchmarkOptions, run_benchmark
from grunlock.cli.bench_tables import show_group
from grunlock.cli.main import app
from grunlock.errors import DataError, StorageError

FAKE_WORKER = """
import json, sys
peer = sys.argv[1]
if peer == "keras":
    print(json.dumps({"missing": "no module keras"}), flush=True)
    sys.exit()
print(json.dumps({"versions": {peer: "1.0"}}), flush=True)
seconds = {"grunlock": 0.5, "torch": 1.5}.get(peer, 4.0)
for line in sys.stdin:
    request = json.loads(line)
    reply = {}
    if request["do"] == "prepare":
        reply = {"seconds": seconds, "single_calls": False, "sample": {"output": [1.0, 2.0]}}
        if peer == "onnxruntime":
            reply["sample"] = {"output": [1.0, -2.0]}
        if request["contender"]["precision"] == "bfloat16":
            reply["sample"] = {"output": [1.0, 2.0 + 0.05 * 5**0.5]}
        if request["contender"]["precision"] == "int8":
            reply = {"unavailable": "no int8 here"}
    elif request["do"] == "run":
        if peer == "jax":
            sys.exit("out of memory")
        reply = {"seconds": [seconds] * request["samples"]}
    elif request["do"] == "memory":
        reply = {"bytes": 1000 * seconds}
    print(json.dumps({**reply, "idle": [0.25, 1.0]}), flush=True)
"""
OWN = Contender("grunlock")
CASE = Case("training", 4, 6, 5, 3)
EFFORT = Effort(rounds=3, turn_seconds=2.0)


def fake_launch(peer: str, python: str, threads: int) -> Worker:
    return Worker([sys.executable, "-c", FAKE_WORKER, peer], worker_environment(threads))


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    with WorkerPool({}, fake_launch) as pool:
        yield pool


def compare(*others: Contender, group: str = "training", case: Case = CASE) -> Comparison:
    return Comparison(group, case, OWN, others)


def measured(pool: WorkerPool, comparison: Comparison) -> Measurement:
    measurement = new_measurement(comparison, threads=1)
    measure(measurement, pool, EFFORT, tell=lambda activity: None)
    return measurement


# ---- figures ---------------------------------------------------------------------------------------


def test_ratios_are_taken_round_by_round() -> None:
    """A machine that slows to a tenth in the second round changes no ratio."""
    found = ratio([[2.0, 4.0, 3.0], [30.0]], [[1.0], [10.0]])
    assert found is not None
    assert (found.median, found.low, found.high, found.num_rounds) == (3.0, 3.0, 3.0, 2)


def test_summary_has_median_and_quartiles() -> None:
    found = summarize([1.0, 2.0, 3.0, 4.0, 5.0])
    assert found is not None
    assert (found.low, found.median, found.high, found.num_rounds) == (2.0, 3.0, 4.0, 5)
    assert summarize([]) is None


def test_a_round_that_one_side_lacks_is_left_out() -> None:
    found = ratio([[2.0]], [[1.0], [100.0]])
    assert found is not None
    assert (found.median, found.num_rounds) == (2.0, 1)


def test_share_of_the_ceiling_compares_rates() -> None:
    found = rate_share([[2.0]], 100.0, [[1.0]], 200.0)  # 50 GF/s of 200
    assert found is not None
    assert found.median == 0.25
    assert rate_share([[2.0]], None, [[1.0]], 200.0) is None


def test_flops_count_real_steps_of_all_layers() -> None:
    D, H, N = 5, 3, 4 * 6
    forward = 2 * N * 3 * H * (D + H)
    assert gflop(replace(CASE, mode="forward"), OWN) == pytest.approx(forward / 1e9)
    assert gflop(CASE, OWN) == pytest.approx(3 * forward / 1e9)
    assert gflop(replace(CASE, num_layers=2), OWN) == pytest.approx(3 * 2 * N * 3 * H * (D + 3 * H) / 1e9)
    assert gflop(CASE, Contender("torch", "mm")) == pytest.approx(2 * N * D * 3 * H / 1e9)
    assert gflop(CASE, Contender("grunlock", "linear")) is None
    ragged = replace(CASE, lengths=((6, 1), (2, 2)))
    assert gflop(ragged, OWN) == pytest.approx(3 * 2 * 11 * 3 * H * (D + H) / 1e9)


def test_turns_fit_the_clock_and_the_turn() -> None:
    short = plan_turn(1e-5, single_calls=False, turn_seconds=0.1)
    assert short.calls == 200
    assert short.samples > 1
    long = plan_turn(30.0, single_calls=False, turn_seconds=0.1)
    assert (long.samples, long.calls, long.warm) == (1, 1, False)
    assert plan_turn(1e-5, single_calls=True, turn_seconds=0.1).calls == 1


# ---- the protocol ----------------------------------------------------------------------------------


def test_contenders_are_measured_in_turn(pool: WorkerPool) -> None:
    result = measured(pool, compare(Contender("torch"), Contender("torch", "mm")))
    own, torch_entry, mm = result.entries
    assert [len(entry.rounds) for entry in result.entries] == [3, 3, 3]
    assert own.rounds[0] == [0.5] * 4  # a turn of 2 seconds
    of = figures(torch_entry, result)
    assert of.ratio is not None
    assert of.ratio.median == 3.0
    assert own.gflop is not None
    assert of.gflops == pytest.approx(own.gflop / 1.5)
    assert figures(mm, result).ratio is None  # other work
    assert figures(own, result).share_of_mm is not None
    assert (own.idle_cpu_seconds, own.idle_wall_seconds) == (0.75, 3.0)


def test_a_missing_peer_is_listed(pool: WorkerPool) -> None:
    result = measured(pool, compare(Contender("keras"), Contender("torch")))
    missing, there = result.entries[1:]
    assert (missing.status, missing.reason) == ("not installed", "no module keras")
    assert there.status == "measured"
    assert pool.missing == {"keras": "no module keras"}


def test_a_worker_that_dies_takes_nobody_along(pool: WorkerPool) -> None:
    result = measured(pool, compare(Contender("jax"), Contender("torch")))
    dead, alive = result.entries[1:]
    assert dead.status == "failed"
    assert dead.reason == "ended with exit code 1: out of memory"
    assert len(alive.rounds) == 3


def test_who_computes_something_else_is_not_timed(pool: WorkerPool) -> None:
    result = measured(pool, compare(Contender("torch"), Contender("onnxruntime")))
    wrong = result.entries[2]
    assert wrong.status == "disagrees"
    assert "to torch.nn.GRU, at most 0.001" in str(wrong.reason)
    assert wrong.rounds == []


def test_the_reference_is_in_float32_and_what_differs_by_design_is_not_compared(pool: WorkerPool) -> None:
    half, norm = replace(OWN, precision="bfloat16"), replace(OWN, layer_norm=True)
    others = (OWN, norm, replace(OWN, zoneout=0.1))
    result = measured(pool, Comparison("bfloat16", CASE, half, others))
    assert [entry.error for entry in result.entries] == [pytest.approx(0.05), 0.0, None, None]
    assert {entry.status for entry in result.entries} == {"measured"}


def test_what_a_peer_cannot_do_is_said(pool: WorkerPool) -> None:
    result = measured(pool, compare(replace(OWN, precision="int8")))
    assert (result.entries[1].status, result.entries[1].reason) == ("unavailable", "no int8 here")


def test_a_case_that_memory_cannot_hold_is_left_out(
    pool: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "available_bytes", lambda: 10)
    result = measured(pool, compare(Contender("torch")))
    assert {entry.status for entry in result.entries} == {"too large"}


def test_memory_is_compared_like_time(pool: WorkerPool) -> None:
    result = measured(pool, Comparison("memory", CASE, OWN, (Contender("torch"),), quantity="bytes"))
    of = figures(result.entries[1], result)
    assert of.median == 1500.0
    assert of.gflops is None
    assert of.ratio is not None
    assert of.ratio.median == 3.0


def test_an_interpreter_that_is_not_there() -> None:
    with WorkerPool({"jax": "/nowhere/python"}) as pool:
        result = measured(pool, compare(Contender("jax")))
    assert result.entries[1].status == "failed"
    assert result.entries[1].reason == "/nowhere/python: No such file or directory"


def test_a_worker_starts_where_grunlock_is_not_installed(tmp_path: Path) -> None:
    """An interpreter under another name gets the modules by path; replies survive what libraries print."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    command = processes.worker_command("onnxruntime", str(python), 1)
    assert "-m" not in command
    worker = Worker(command, worker_environment(1))
    try:
        assert worker.versions.keys() == {"onnxruntime"}
        fields = {"id": 0, "case": to_json(replace(CASE, mode="forward")), "contender": to_json(OWN)}
        prepared = worker.request(do="prepare", **fields)
        assert len(prepared["sample"]["output"]) == 4 * 6 * 3
        run = worker.request(do="run", id=0, samples=2, calls=3, warm=True)
        assert len(run["seconds"]) == 2
        assert len(run["idle"]) == 2
        assert worker.request(do="prepare", id=1, case=to_json(CASE), contender=to_json(OWN)) == {
            "unavailable": "ONNX Runtime is measured forward, padded and without masks"
        }
    finally:
        worker.close()


def test_a_package_that_is_not_installed_is_no_error(tmp_path: Path) -> None:
    """-S leaves site-packages out, so that numpy is missing as well."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    python.chmod(0o755)
    with WorkerPool({"jax": str(python)}) as pool:
        with pytest.raises(PeerMissingError, match="No module named"):
            pool.get("jax", 1)
        assert "jax" in pool.missing


# ---- plan, lengths, documents ----------------------------------------------------------------------


def test_the_plan_of_every_group_travels_as_json() -> None:
    batches = length_batches(drawn_lengths(), QUICK.num_length_batches)
    comparisons = plan(tuple(GROUPS), QUICK, batches)
    assert {comparison.group for comparison in comparisons} == set(GROUPS)
    for comparison in comparisons:
        assert case_from_json(json.loads(json.dumps(to_json(comparison.case)))) == comparison.case
        labels = [contender.label for contender in comparison.contenders]
        assert len(set(labels)) == len(labels)


def test_lengths_are_drawn_alike_and_cut() -> None:
    batches = length_batches(drawn_lengths(), 3)
    assert batches == length_batches(drawn_lengths(), 3)
    assert [len(batch) for batch in batches] == [64] * 3
    assert all(list(batch) == sorted(batch, reverse=True) for batch in batches)
    assert max(map(max, batches)) == MAX_TOKENS
    assert min(map(min, batches)) >= 1


def test_lengths_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "texts.tsv"
    path.write_text("".join(f"{k % 2}\t{'word ' * (k + 1)}\n" for k in range(64)))
    assert text_lengths(path).tolist() == list(range(1, 65))
    path.write_text("0\ta b\n1\tc d\n")
    with pytest.raises(DataError, match="too few texts"):
        text_lengths(path)


def test_the_document_holds_raw_numbers_and_figures(pool: WorkerPool) -> None:
    result = measured(pool, compare(Contender("torch"), Contender("keras")))
    found = json.loads(
        json.dumps(document([result], {"quick": True}, pool.versions, pool.missing, interrupted=False))
    )
    assert found.keys() == {
        *("format", "benchmark", "date", "commit", "machine", "versions", "missing"),
        *("settings", "interrupted", "comparisons"),
    }
    assert {"processor", "flags", "cpus_allowed", "memory_bytes"} <= found["machine"].keys()
    assert found["versions"] == {"grunlock": {"grunlock": "1.0"}, "torch": {"torch": "1.0"}}
    (comparison,) = found["comparisons"]
    assert comparison["case"]["hidden_size"] == CASE.hidden_size
    own_json, torch_json, keras_json = comparison["contenders"]
    assert own_json["rounds"] == [[0.5] * 4] * 3
    assert torch_json["ratio"] == {"median": 3.0, "low": 3.0, "high": 3.0, "num_rounds": 3}
    assert (keras_json["status"], keras_json["median"], keras_json["ratio"]) == ("not installed", None, None)


def test_an_interruption_keeps_what_was_measured(pool: WorkerPool, tmp_path: Path) -> None:
    second = replace(CASE, hidden_size=8)
    seen: list[str] = []

    def press_control_c(activity: str) -> None:
        seen.append(activity)
        if seen.count("round 2 of 3") == 2:
            raise KeyboardInterrupt

    path = tmp_path / "bench.json"
    options = BenchmarkOptions(EFFORT, threads=1, json_path=path)
    comparisons = [compare(Contender("torch"), case=case) for case in (CASE, second)]
    result = run_benchmark(comparisons, pool, options, press_control_c)
    assert result.interrupted
    found = json.loads(path.read_text())
    assert found["interrupted"] is True
    rounds = [len(entry["rounds"]) for c in found["comparisons"] for entry in c["contenders"]]
    assert rounds == [3, 3, 1, 1]


def test_a_cell_of_the_grid_that_is_nearly_lost_is_measured_again_in_full(pool: WorkerPool) -> None:
    """The fake torch is three times slower than ours; as the subject it loses."""
    won = compare(Contender("torch"), group="grid")
    lost = Comparison("grid", CASE, Contender("torch"), (OWN,))
    options = BenchmarkOptions(Effort(rounds=GRID_ROUNDS + 2, turn_seconds=EFFORT.turn_seconds), threads=1)
    result = run_benchmark([won, lost], pool, options)
    assert [len(m.subject.rounds) for m in result.measurements] == [GRID_ROUNDS, GRID_ROUNDS + 2]


def test_a_path_that_cannot_be_written_is_found_first(pool: WorkerPool, tmp_path: Path) -> None:
    options = BenchmarkOptions(EFFORT, threads=1, json_path=tmp_path / "nowhere" / "bench.json")
    with pytest.raises(StorageError, match="could not be written"):
        run_benchmark([compare()], pool, options)
    assert pool.versions == {}


# ---- the command -----------------------------------------------------------------------------------


def test_the_grid_lists_where_it_loses(pool: WorkerPool) -> None:
    """The fake torch is three times slower than ours; as the subject it loses."""
    won = measured(pool, compare(Contender("torch"), group="grid"))
    lost = measured(pool, Comparison("grid", replace(CASE, num_steps=7), Contender("torch"), (OWN,)))
    out = io.StringIO()
    show_group([won, lost], Console(file=out, width=100))
    assert "slower than torch.nn.GRU in 1 of 2 cells" in out.getvalue()
    assert "training B=4 T=7 D=5 H=3: 0.33" in out.getvalue()


def fake_command(peer: str, python: str, threads: int) -> list[str]:
    return [sys.executable, "-c", FAKE_WORKER, peer]


def test_the_command_prints_tables_and_writes_json(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(processes, "worker_command", fake_command)
    path = tmp_path / "bench.json"
    arguments = ["bench", "--quick", "--rounds", "1", "-g", "forward", "-g", "memory", "--json", str(path)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    for words in ("torch.nn.GRU packed", "3.00", "of mm", "keras: not installed (no module keras)"):
        assert words in done.output
    assert {c["group"] for c in json.loads(path.read_text())["comparisons"]} == {"forward", "memory"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["-g", "speed"], "speed is no group"), (["--peer", "tensorflow"], "is not NAME=PYTHON")],
)
def test_wrong_usage_names_the_choices(arguments: list[str], words: str) -> None:
    done = CliRunner().invoke(app, ["bench", *arguments])
    assert done.exit_code == 2
    assert words in " ".join(done.output.replace("│", " ").split())
