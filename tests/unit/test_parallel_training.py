"""Training in several processes: the curve of one, whole runs that are stopped, killed and resumed."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.scale import data_parallel

from grunlock.data.prepare import prepare
from grunlock.data.prepared import open_prepared
from grunlock.data.sources import InMemory
from grunlock.errors import ClusterError, DataError, RunInterruptedError
from grunlock.layers.norm import synchronize_norms
from grunlock.parallel import ALONE, joined_group
from grunlock.parallel.shares import shares
from grunlock.recipe import read_recipe
from grunlock.seeding import derive_seed
from grunlock.shapes import IntArray
from grunlock.training.events import StepDone
from grunlock.training.history import read_history
from grunlock.training.loop import Trainer
from grunlock.training.run import RunOptions, resume, train
from grunlock.training.start import build_start, derive_for
from tests.conftest import colour_rows
from tests.ranks import LIMIT_SECONDS, LostError, on_ranks

SMALL = ["embedding.size=8", "embedding.ngrams.buckets=64", "encoder.hidden_size=6", "training.epochs=3"]
PLAIN = [*SMALL, "embedding.word_dropout=0", "encoder.input_dropout=0", "head.dropout=0"]
# Batches of 7 of 72 examples: the last has 2, so of three processes one has no share of it.
BASE = [*PLAIN, "batches.size=7", "encoder.norm=batch", "clip.kind=norm", "clip.max_norm=0.5"]
BASE += ["loss.class_weights=balanced", "training.ema_decay=0.9"]
SCHEDULE_FREE = ["optim.kind=schedule_free_adamw", "schedule.kind=constant", "training.ema_decay=off"]
KINDS = {
    "adamw": [],
    "momentum": ["optim.kind=momentum", "optim.lr=0.1", "sam.rho=0.05", "training.epochs=1"],
    "all batches in one step": ["optim.kind=gd", "optim.lr=0.5", "training.epochs=2", "wide.buckets=256"],
    "schedule-free": [*SCHEDULE_FREE, "training.epochs=1"],
    "adversarial": ["adversarial.epsilon=0.1", "training.epochs=1"],
    # Momentum: a bias in front of a norm has no gradient but rounding, which Adam would make steps of.
    "two passes": ["rdrop.weight=1", "stem.norm=batch", "optim.kind=momentum", "training.epochs=1"],
    "truncated": ["encoder.norm=layer", "training.bptt_steps=2", "training.epochs=1"],
}
DRAWN = [*SMALL, "batches.size=7", "encoder.norm=layer", "embedding.word_dropout=0.1", "head.dropout=0.2"]
DRAWN += ["encoder.state_dropout=0.2", "encoder.zoneout=0.1", "mixup.alpha=0.5", "augmentation.swap=0.1"]
DRAWN += ["virtual_adversarial.epsilon=0.1", "training.epochs=2"]

Result = tuple[list[float], dict[str, np.ndarray[Any, Any]]]


# ---- curves --------------------------------------------------------------------------------------------


def result_of(folder: Path, settings: Sequence[str], change: Callable[[Trainer], None]) -> Result:
    """Every step's loss and every epoch's on validation; the final weights and the averaged best ones."""
    recipe = read_recipe("tiny", list(settings))
    data = open_prepared(folder)
    derived = derive_for(recipe, data)
    losses: list[float] = []
    with joined_group() as group:
        start = build_start(recipe, derived, data, None)
        trainer = Trainer(recipe, derived, data, start.model, group=group)
        change(trainer)
        trainer.fit(
            lambda e: losses.append(e.train_loss if isinstance(e, StepDone) else getattr(e, "valid_loss", 0)),
            lambda: None,
        )
    weights = {name: value.numpy().copy() for name, value in trainer.model.state_dict().items()}
    assert trainer.best_weights is not None
    kept = {f"kept {name}": value.numpy() for name, value in trainer.best_weights.items()}
    return losses, weights | kept


def unchanged(trainer: Trainer) -> None:
    pass


def norms_apart(trainer: Trainer) -> None:
    synchronize_norms(trainer.model, ALONE)


def shares_alike(trainer: Trainer) -> None:
    """Every share counts the same, whatever is in it."""
    add, size = trainer.gradients.add, trainer.sharing.group.size
    trainer.gradients.add = lambda batch, weight, seed: add(batch, 1 / size, seed)  # type: ignore[method-assign]


PLANTED = {"norms apart": norms_apart, "shares alike": shares_alike}


def curves(rank: int, folder: Path) -> dict[str, Result]:
    found = {kind: result_of(folder / kind, [*BASE, *KINDS[kind]], unchanged) for kind in KINDS}
    return found | {
        name: result_of(folder / "adamw", BASE, change)
        for name, change in PLANTED.items()
        if os.environ["WORLD_SIZE"] == "2"
    }


def prepared(folder: Path, settings: list[str]) -> Path:
    labels, texts = (list(column) for column in zip(*colour_rows(90), strict=True))
    labels = ["red" if i < 30 else label for i, label in enumerate(labels)]
    prepare(InMemory(texts, labels), read_recipe("tiny", settings), folder)
    return folder


def assert_equal_runs(found: Result, expected: Result) -> None:
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    for name, value in expected[1].items():
        np.testing.assert_allclose(found[1][name], value, rtol=2e-4, atol=2e-5, err_msg=name)


def test_two_and_three_processes_follow_the_curve_of_one(tmp_path: Path) -> None:
    for kind, extra in KINDS.items():
        prepared(tmp_path / kind, [*BASE, *extra])
    single = {kind: result_of(tmp_path / kind, [*BASE, *KINDS[kind]], unchanged) for kind in KINDS}
    assert len(single["adamw"][0]) == 36  # 33 steps, 3 validations
    for size in (2, 3):
        ranks = on_ranks(size, curves, tmp_path)
        for kind, expected in single.items():
            assert_equal_runs(ranks[0][kind], expected)
            for found in ranks[1:]:
                assert found[kind][0] == ranks[0][kind][0]  # every process knows the same numbers
                for name, value in ranks[0][kind][1].items():
                    np.testing.assert_array_equal(found[kind][1][name], value)
        for name in PLANTED if size == 2 else ():
            with pytest.raises(AssertionError):
                assert_equal_runs(ranks[0][name], single["adamw"])


def test_the_benchmark_measures_and_foretells(tmp_path: Path) -> None:
    """One process; shares of 2 and of more than there are texts in a batch; the stated model."""
    data = prepared(tmp_path / "data", BASE)
    found = data_parallel.measured(data, "tiny", BASE, num_steps=3)
    assert found["traffic"] == {}
    assert found["tokens_per_second"] > 0
    trainer = data_parallel.trainer_of(data, "tiny", BASE, ALONE)
    whole, half, single = (data_parallel.row_bytes(trainer, size) for size in (1, 2, 100))
    assert whole > half > single > 0
    seconds = data_parallel.step_seconds(8, 0.8, 1000.0, exchanges=4, bandwidth=1e4, latency=0.01)
    assert seconds == pytest.approx(0.8 / 8 + 0.1 + 4 * 0.01 * 3)


def in_turn(trainer: Trainer) -> None:
    """Of one process: compute the shares of two, one after the other, with their seeds."""

    def compute(batches: Sequence[IntArray]) -> float:
        trainer.optimizer.zero_grad()
        total, loss = sum(trainer.batch_weight(examples) for examples in batches), 0.0
        for index, examples in enumerate(batches):
            for rank, own in enumerate(shares(trainer.data.train.lengths[examples], 2)):
                seed = derive_seed(trainer.recipe.seed, "dropout", trainer.progress.step, index, rank)
                batch = trainer.training_batch(examples[own], seed)
                loss += trainer.gradients.add(batch, trainer.batch_weight(examples[own]) / total, seed)
        return loss

    trainer.compute_gradients = compute  # type: ignore[method-assign]


def drawn_curve(rank: int, folder: Path) -> Result:
    return result_of(folder, DRAWN, unchanged)


def test_each_process_draws_for_itself(tmp_path: Path) -> None:
    """Dropout, mixup, augmentation and random directions of two processes, repeated by one."""
    data = prepared(tmp_path / "data", DRAWN)
    expected = result_of(data, DRAWN, in_turn)
    assert_equal_runs(on_ranks(2, drawn_curve, data)[0], expected)
    with pytest.raises(AssertionError):  # one process alone draws otherwise
        assert_equal_runs(result_of(data, DRAWN, unchanged), expected)


# ---- runs ----------------------------------------------------------------------------------------------

RUN = [*BASE, "training.checkpoint_every_steps=3"]


def whole_run(rank: int, data: Path, folder: Path) -> tuple[str, dict[str, Any]]:
    result = train(data, read_recipe("tiny", RUN), folder)
    return result.artifact_sha256, result.artifact.metrics


def at_step(step: int, act: Callable[[], None]) -> None:
    """From now on, act when a trainer of this process has counted so many steps."""
    count = Trainer._count

    def counted(self: Trainer, batches: Sequence[IntArray], done: StepDone) -> StepDone:
        done = count(self, batches, done)
        if self.progress.step == step:
            act()
        return done

    Trainer._count = counted  # type: ignore[method-assign]


def killed_run(rank: int, data: Path, folder: Path) -> str:
    """Rank 1 is killed after step 17."""
    if rank == 1:
        at_step(17, lambda: os.kill(os.getpid(), signal.SIGKILL))
    return whole_run(rank, data, folder)[0]


def stopped_run(rank: int, data: Path, folder: Path) -> str:
    """Rank 1 alone gets a signal, and soon after once more from its launcher."""
    if rank == 1:
        at_step(5, lambda: (signal.raise_signal(signal.SIGINT), signal.raise_signal(signal.SIGTERM))[0])
    return whole_run(rank, data, folder)[0]


def resumed_run(rank: int, folder: Path) -> str:
    return resume(folder).artifact_sha256


def assert_same_history(folder: Path, whole: Path) -> None:
    ours, theirs = (read_history(path / "history.jsonl") for path in (folder, whole))
    for event in ("step", "epoch"):
        found, expected = ([e for e in events if e["event"] == event] for events in (ours, theirs))
        assert [e["step"] for e in found] == [e["step"] for e in expected]
        losses = [[e["train_loss"] for e in events] for events in (found, expected)]
        np.testing.assert_allclose(*losses, rtol=1e-5)


@pytest.fixture
def alone(colours_csv: Path, tmp_path: Path) -> Path:
    """A run of one process."""
    return train(colours_csv, read_recipe("tiny", RUN), tmp_path / "alone").folder


def test_torchrun_trains_and_only_the_first_process_writes_and_speaks(
    colours_csv: Path, alone: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "two"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "grunlock", "train", str(colours_csv), "-r", "tiny", "-o", str(folder)]
    command += [f"--set={setting}" for setting in RUN]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=LIMIT_SECONDS)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("valid accuracy") == 1
    assert_same_history(folder, alone)
    assert sorted(p.name for p in folder.iterdir()) == sorted(p.name for p in alone.iterdir())


def test_a_killed_process_ends_the_others_and_one_goes_on(
    colours_csv: Path, alone: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "killed"
    first, second = on_ranks(2, killed_run, colours_csv, folder)
    assert isinstance(second, LostError)
    assert isinstance(first, ClusterError)
    assert "Another process of this training was lost" in str(first)
    assert "rank 0 of 2" in str(first)
    assert "--resume" in str(first)
    resume(folder)
    assert_same_history(folder, alone)


def test_a_stop_is_agreed_and_another_number_goes_on(colours_csv: Path, alone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "stopped"
    for error in on_ranks(2, stopped_run, colours_csv, folder):
        assert isinstance(error, RunInterruptedError)
        assert "Stopped after step 6 of 33" in str(error)
    ends = on_ranks(3, resumed_run, folder)
    assert ends[0] == ends[1] == ends[2]
    assert_same_history(folder, alone)


def test_what_one_began_two_bring_to_its_end(colours_csv: Path, alone: Path, tmp_path: Path) -> None:
    def stop(event: object) -> None:
        if isinstance(event, StepDone) and event.step == 11:
            signal.raise_signal(signal.SIGINT)

    folder = tmp_path / "begun"
    with pytest.raises(RunInterruptedError):
        train(colours_csv, read_recipe("tiny", RUN), folder, options=RunOptions(listeners=(stop,)))
    on_ranks(2, resumed_run, folder)
    assert_same_history(folder, alone)


# ---- what goes wrong -----------------------------------------------------------------------------------


def command(rank: int, *arguments: object) -> tuple[int, str]:
    """The command line in a group: exit code, what it says."""
    import contextlib
    import io

    from grunlock.cli.main import main

    sys.argv = ["grunlock", *map(str, arguments)]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            main()
        except SystemExit as stopped:
            return int(stopped.code or 0), out.getvalue() + err.getvalue()
    return 0, out.getvalue() + err.getvalue()


def elsewhere(rank: int, data: Path, folder: Path) -> None:
    """As on two machines whose folders of the same name are not the same."""
    from grunlock.training import together

    together.VISIBLE_SECONDS = 0.2
    whole_run(rank, data, folder / str(rank))


def test_an_error_of_the_first_process_is_said_once_by_all(tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("one,two,three\n1,2,3\n")
    (code, said), other = on_ranks(2, command, "train", bad, "-r", "tiny", "-o", tmp_path / "run")
    assert code == 1
    assert "bad.csv" in said
    assert other == (1, "")
    assert not (tmp_path / "run").exists()


def test_data_that_only_one_process_sees(colours_csv: Path, tmp_path: Path) -> None:
    for error in on_ranks(2, elsewhere, colours_csv, tmp_path):
        assert isinstance(error, ClusterError)
        assert "does not see the data" in str(error)
        assert "rank 1 of 2" in str(error)
        assert "choose such a folder with -o" in str(error)
    assert not (tmp_path / "0").exists()


def test_an_error_in_preparing_is_everybodys(tmp_path: Path) -> None:
    for error in on_ranks(2, whole_run, tmp_path / "nothing.csv", tmp_path / "run"):
        assert isinstance(error, DataError)
        assert "nothing.csv" in str(error)
