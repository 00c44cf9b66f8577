"""What processes ask each other: sums, rows, shares of a batch, statistics of a norm."""

import time
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from grunlock.errors import ClusterError, DataError
from grunlock.layers.embedding import RowTable, row_gradient
from grunlock.layers.norm import PackedBatchNorm, synchronize_norms, without_rows
from grunlock.parallel import ALONE, joined_group
from grunlock.parallel.gradients import GradientExchange
from grunlock.parallel.shares import shares
from tests.ranks import on_ranks

# ---- shares --------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 500), min_size=1, max_size=60), st.integers(1, 9))
def test_each_sequence_is_computed_once_and_steps_are_even(lengths: list[int], size: int) -> None:
    steps = np.array(lengths)
    found = shares(steps, size)
    assert sorted(np.concatenate(found).tolist()) == list(range(len(lengths)))
    assert all((np.diff(share) > 0).all() for share in found)
    numbers = [len(share) for share in found]
    loads = [int(steps[share].sum()) for share in found]
    assert max(numbers) - min(numbers) <= 1
    assert max(loads) - min(loads) <= max(lengths)


def test_one_process_has_every_sequence_as_it_stood() -> None:
    assert shares(np.array([3, 9, 1, 9]), 1)[0].tolist() == [0, 1, 2, 3]


# ---- what a group can be asked -------------------------------------------------------------------------


def refuse() -> None:
    raise DataError("The table has no labels.", where="a.csv", got="1 column", cure="give another")


def refuse_on_second(rank: int) -> str:
    if rank == 1:
        refuse()
    return "done"


def talk(rank: int) -> dict[str, Any]:
    """Everything a group offers, once."""
    heard: dict[str, Any] = {}
    with joined_group(step_limit=timedelta(seconds=20)) as group:
        values = torch.tensor([float(rank), 1.0])
        group.sum_(values, "gradients")
        heard["sum"] = values.tolist()
        heard["gathered"] = torch.cat(group.gather(torch.tensor([rank]), "rows")).tolist()
        heard["first"] = group.from_first({"from": rank})
        heard["led"] = group.lead(lambda: rank + 10)
        heard["each"] = group.each(lambda: rank)
        for name, ask in (
            ("lead", lambda: group.lead(refuse)),
            ("each", lambda: group.each(lambda: refuse_on_second(rank))),
        ):
            try:
                ask()
            except DataError as error:
                heard[f"{name} refused"] = str(error), error.cure, error.shared
        heard["bytes"] = group.traffic["gradients"].sent_bytes
    return heard


def test_a_group_answers_alike_on_every_rank() -> None:
    for rank, heard in enumerate(on_ranks(3, talk)):
        assert heard["sum"] == [3.0, 3.0]
        assert heard["gathered"] == [0, 1, 2]
        assert heard["first"] == {"from": 0}
        assert heard["led"] == (None if rank else 10)
        assert heard["each"] == rank
        for name in ("lead refused", "each refused"):
            text, cure, shared = heard[name]
            assert "no labels" in text and "a.csv" in text and cure == "give another"
            assert shared or (rank == 0 and name == "lead refused")  # rank 0 raises its own, and says it
        assert heard["bytes"] == 2 * 2 * 8 // 3  # a ring sends 2 (N - 1) / N of two float32


def stay_away(rank: int) -> float:
    """Rank 1 comes too late; how long rank 0 waits for it."""
    with joined_group(step_limit=timedelta(seconds=1)) as group:
        if rank == 1:
            time.sleep(3)
            return 0.0
        started = time.monotonic()
        try:
            group.sum_(torch.ones(1), "gradients")
        except ClusterError as error:
            assert "lost, or it is stuck" in str(error) and "within 1 seconds" in str(error)
            return time.monotonic() - started
    return float("inf")


def test_a_stuck_process_is_not_waited_for_for_ever() -> None:
    assert on_ranks(2, stay_away)[0] < 30


def test_alone_costs_and_changes_nothing() -> None:
    with joined_group() as group:
        assert group is ALONE
    values = torch.ones(2)
    ALONE.sum_(values, "gradients")
    assert values.tolist() == [1.0, 1.0]


# ---- gradients -----------------------------------------------------------------------------------------

NUM_ROWS, SIZE = 50, 3


def gradients_of(rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """A dense gradient, and ids and values of a table's; rank 2 has read no row."""
    draw = torch.Generator().manual_seed(rank)
    ids = torch.randperm(NUM_ROWS, generator=draw)[: 0 if rank == 2 else 12 + rank].sort().values
    return torch.randn(4, 2, generator=draw), ids, torch.randn(len(ids), SIZE, generator=draw)


def exchange(rank: int) -> dict[str, Any]:
    dense, unused, table = nn.Linear(2, 4).weight, nn.Linear(2, 4).weight, RowTable(NUM_ROWS, SIZE).weight
    other = RowTable(NUM_ROWS, 1).weight  # only rank 1 has read it
    gradient, ids, values = gradients_of(rank)
    dense.grad = gradient
    table.grad = None if rank == 2 else row_gradient(ids, values, NUM_ROWS)
    other.grad = row_gradient(torch.tensor([7]), torch.ones(1, 1), NUM_ROWS) if rank == 1 else None
    with joined_group() as group:
        told = GradientExchange(group, [dense, unused], [table, other])(loss=0.5, stop=rank == 1)
    assert dense.grad is not None and table.grad is not None and other.grad is not None
    assert table.grad.is_coalesced()
    return {
        "told": (told.loss, told.stop),
        "dense": dense.grad.numpy(),
        "unused": unused.grad,
        "ids": table.grad.indices()[0].numpy(),
        "values": table.grad.values().numpy(),
        "other": other.grad.to_dense()[7].item(),
    }


def test_gradients_are_summed_and_tables_stay_sparse() -> None:
    parts = [gradients_of(rank) for rank in range(3)]
    whole = torch.zeros(NUM_ROWS, SIZE)
    for _, ids, values in parts:
        whole[ids] += values
    read = torch.unique(torch.cat([ids for _, ids, _ in parts]))
    found = on_ranks(3, exchange)
    for each in found:
        assert each["told"] == (1.5, True)
        torch.testing.assert_close(torch.from_numpy(each["dense"]), sum(part[0] for part in parts))
        assert each["unused"] is None
        assert each["ids"].tolist() == read.tolist()
        np.testing.assert_array_equal(each["values"], whole[read].numpy())  # added in the order of ranks
        assert each["other"] == 1.0
        np.testing.assert_array_equal(each["dense"], found[0]["dense"])


# ---- the norm ------------------------------------------------------------------------------------------

WIDTH = 5
PARTS = [slice(0, 7), slice(7, 16), slice(0, 2)]  # the last rank has no share and computes some row for form


def norm_case(counted: bool) -> tuple[Tensor, Tensor | None, Tensor]:
    """Rows [16, D] far from zero, how many steps each stands for, the gradient that comes back."""
    draw = torch.Generator().manual_seed(5)
    rows = torch.randn(16, WIDTH, generator=draw, dtype=torch.float64) * 3 + 20
    counts = torch.randint(0, 5, (16,), generator=draw) if counted else None
    return rows, counts, torch.randn(16, WIDTH, generator=draw, dtype=torch.float64)


def pass_through(
    norm: PackedBatchNorm, rows: Tensor, counts: Tensor | None, grad: Tensor
) -> list[np.ndarray[Any, Any]]:
    """Output and gradients of rows, weight, bias; running statistics."""
    rows = rows.clone().requires_grad_()
    output = norm(rows) if counts is None else norm(rows, counts)
    output.backward(grad)
    assert rows.grad is not None and norm.weight.grad is not None and norm.bias.grad is not None
    found = [output, rows.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var]
    return [each.detach().numpy().copy() for each in found]


def a_norm() -> PackedBatchNorm:
    norm = PackedBatchNorm(WIDTH).double()
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 2.0, WIDTH))
    return norm


def normalize_share(rank: int, synchronized: bool) -> list[Any]:
    found: list[Any] = []
    with joined_group() as group:
        for counted in (False, True):
            rows, counts, grad = norm_case(counted)
            part, norm = PARTS[rank], a_norm()
            if synchronized:
                synchronize_norms(norm, group)
            own_counts = None if counts is None else counts[part]
            if rank < 2:
                found.append(pass_through(norm, rows[part], own_counts, grad[part]))
            else:
                with without_rows(norm):
                    no_grad = torch.full_like(grad[part], torch.nan)  # nothing of it may reach the others
                    found.append(pass_through(norm, rows[part], own_counts, no_grad))
        single = a_norm()
        synchronize_norms(single, group)
        with without_rows(single) if rank else nullcontext():
            found.append(single(torch.full((1, WIDTH), 3.0, dtype=torch.float64)).detach().numpy())
    return found


def test_a_norm_of_several_processes_is_that_of_one() -> None:
    """Forward, backward and running statistics in float64, with and without counts."""
    shared = on_ranks(3, normalize_share, True)
    apart = on_ranks(3, normalize_share, False)
    for case, counted in enumerate((False, True)):
        output, grad_rows, grad_weight, grad_bias, mean, var = pass_through(a_norm(), *norm_case(counted))
        first, second, third = (found[case] for found in shared)
        for index, expected in ((0, output), (1, grad_rows)):
            found = np.concatenate([first[index], second[index]])
            np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)
            planted = np.concatenate([apart[0][case][index], apart[1][case][index]])
            assert np.abs(planted - expected).max() > 1e-3  # what an unsynchronised norm gives
        for index, expected in ((2, grad_weight), (3, grad_bias)):
            np.testing.assert_allclose(first[index] + second[index], expected, rtol=1e-8)
        for each in (first, second, third):
            np.testing.assert_allclose(each[4], mean, rtol=1e-10)
            np.testing.assert_allclose(each[5], var, rtol=1e-8)
    single = a_norm()
    expected = single(torch.full((1, WIDTH), 3.0, dtype=torch.float64)).detach().numpy()
    for found in shared:  # one step has no variance, wherever it is
        np.testing.assert_allclose(found[2], expected)
