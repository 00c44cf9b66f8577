"""The same call gives the same bits: on any number of threads, beside other calls, in a forked child."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch import Tensor

from grunlock.kernels import autograd
from tests.parity.native_cases import Case, draw_problem, forward, kernel, solve, usable_kernels

KERNELS = usable_kernels()
pytestmark = pytest.mark.skipif(not KERNELS, reason="installed without compiled kernels")

ROOT = Path(__file__).parents[2]
CASES = [
    Case((40,) * 64, 30, 64, state_mask=True, h0=True),
    Case((60, 60, 31, 7, 1), 33, 257, 2, zoneout="drawn", indexing="few"),
    Case((25,), 500, 300, 2, indexing="distinct"),
    Case((9,) * 200, 17, 40, input_mask=True, h0=True),
    Case((30,) * 20, 50, 129, 2, norm=True, indexing="few"),
    Case((30, 29, 28, 2, 1), 50, 129, reset_after=False, zoneout="mask", h0=True),
    Case((12,) * 33, 64, 200, 2, norm=True, reset_after=False, input_mask=True, h0=True),
]
PRECISIONS = ["float32", "bfloat16"]


def assert_same_bits(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    different = [name for name, value in expected.items() if not torch.equal(found[name], value)]
    assert different == []


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("name", KERNELS)
def test_results_do_not_depend_on_the_number_of_threads(name: str, case: Case, precision: str) -> None:
    problem = draw_problem(case)
    with kernel(name, threads=1):
        alone = solve(autograd.gru_layer, problem, precision=precision)
    for threads in (2, 3, 5):
        with kernel(name, threads):
            assert_same_bits(solve(autograd.gru_layer, problem, precision=precision), alone)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_repeated_call_gives_the_same_bits(case: Case) -> None:
    problem = draw_problem(case)
    with kernel(threads=2):
        first = solve(autograd.gru_layer, problem)
        for other in (
            Case((3,), 3, 3),
            Case((50,) * 70, 70, 90),
        ):  # their leavings in memory
            solve(autograd.gru_layer, draw_problem(other))
            assert_same_bits(solve(autograd.gru_layer, problem), first)


def test_without_gradients_the_values_are_the_same_bits() -> None:
    for case in CASES:
        problem = draw_problem(case)
        with kernel(threads=2):
            trained = solve(autograd.gru_layer, problem)
            with torch.no_grad():
                output, final = forward(autograd.gru_layer, problem)
        assert_same_bits({"output": output, "final": final}, {k: trained[k] for k in ("output", "final")})


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_many_python_threads_at_once(threads: int) -> None:
    problems = [draw_problem(CASES[i % len(CASES)]) for i in range(8)]
    with kernel(threads=threads):
        alone = [solve(autograd.gru_layer, problem) for problem in problems]
        failures: list[BaseException] = []
        start = threading.Barrier(len(problems))

        def work(place: int) -> None:
            try:
                start.wait()
                for turn in range(3 * len(problems)):
                    chosen = (place + turn) % len(problems)
                    assert_same_bits(solve(autograd.gru_layer, problems[chosen]), alone[chosen])
            except BaseException as error:
                failures.append(error)

        workers = [threading.Thread(target=work, args=(place,)) for place in range(len(problems))]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert failures == []


def test_changing_the_number_of_threads_during_calls_changes_nothing() -> None:
    problem = draw_problem(CASES[0])
    with kernel(threads=1):
        alone = solve(autograd.gru_layer, problem)
    done = threading.Event()

    def change() -> None:
        from grunlock.kernels.library import native_library

        chosen = native_library()
        assert chosen is not None
        while not done.is_set():
            for threads in (1, 2, 5):
                chosen.set_num_threads(threads)

    with kernel():
        changer = threading.Thread(target=change)
        changer.start()
        try:
            for _ in range(20):
                assert_same_bits(solve(autograd.gru_layer, problem), alone)
        finally:
            done.set()
            changer.join()


FORK = """
import os, signal, sys, torch
from grunlock.kernels import autograd, library
from tests.parity.native_cases import draw_problem, solve
from tests.parity.test_native_threads import CASES

torch.set_num_threads(2)
library.native_library().set_num_threads(2)
problems = [draw_problem(case) for case in CASES]
before = [solve(autograd.gru_layer, problem) for problem in problems]
torch.randn(600, 600) @ torch.randn(600, 600)  # torch's own pool has threads now, too

def same():
    for problem, expected in zip(problems, before):
        found = solve(autograd.gru_layer, problem)
        if any(found[name].numpy().tobytes() != value.numpy().tobytes() for name, value in expected.items()):
            return False
    return True

for generation in range(int(sys.argv[1])):  # each child has a child
    child = os.fork()
    signal.alarm(60)  # whatever hangs ends
    if child:
        _, status = os.waitpid(child, 0)
        os._exit(0 if os.waitstatus_to_exitcode(status) == 0 and same() else 1)
    torch.set_num_threads(1)  # as torch's own forked workers do: its pool does not survive
os._exit(0 if same() else 1)
"""


def test_forked_children_compute_the_same_bits() -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORK, "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
