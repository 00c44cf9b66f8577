"""Tables with row gradients against torch's own tables, and the row kernels against their twin."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from grunlock.errors import ShapeError
from grunlock.kernels import rows_reference
from grunlock.kernels.library import LIBRARY_PATH, load_library, native_library, use_kernel
from grunlock.kernels.rows import (
    AdagradRule,
    AdamRule,
    NativeRows,
    RmspropRule,
    RowKernel,
    Rule,
    SgdRule,
    row_kernel,
)
from grunlock.layers.embedding import RowTable
from grunlock.optim.row_gradients import settle

NUM_ROWS = 50
WIDTHS = [1, 5, 33, 128]
COMPILED = (
    [s.name for s in load_library(LIBRARY_PATH).instruction_sets if s.compiled and s.supported]
    if LIBRARY_PATH.is_file()
    else []
)
# Products and sums of a few float32: some roundings, and a compiler may fuse or not.
CLOSE = {"rtol": 2e-6, "atol": 1e-6}


@pytest.fixture(params=["reference", *COMPILED])
def kernel(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every kernel of this machine in turn."""
    use_kernel(request.param)
    yield
    use_kernel(None)


with_every_kernel = pytest.mark.usefixtures("kernel")


@pytest.fixture(params=COMPILED or [pytest.param("none", marks=pytest.mark.skip("no compiled kernels"))])
def native(request: pytest.FixtureRequest) -> Iterator[RowKernel]:
    use_kernel(request.param)
    yield row_kernel(torch.zeros(1, 1))
    use_kernel(None)


def table_pair(width: int, bag: bool = False) -> tuple[RowTable, nn.Embedding | nn.EmbeddingBag]:
    torch.manual_seed(3)
    theirs = nn.EmbeddingBag(NUM_ROWS, width, mode="mean") if bag else nn.Embedding(NUM_ROWS, width)
    torch.manual_seed(3)
    return RowTable(NUM_ROWS, width), theirs


def check_gradient(table: RowTable, expected: Tensor | None) -> None:
    gradient = table.weight.grad
    assert gradient is not None
    assert expected is not None
    assert gradient.is_sparse
    settle(table.weight)
    gradient = table.weight.grad
    assert gradient is not None
    ids = gradient.indices()[0]
    assert bool((ids.diff() > 0).all()) if len(ids) else True
    torch.testing.assert_close(gradient.to_dense(), expected, **CLOSE)


def weigh(rows: Tensor) -> Tensor:
    """A loss in which every entry has a gradient of its own."""
    noise = torch.randn(rows.shape, generator=torch.Generator().manual_seed(1), dtype=rows.dtype)
    return (rows * noise).sum()


IDS = [[4, 7, 11, 49], [7], [], [11, 4, 4, 0, 11, 11], [3, 2, 1], [0, 1, 2, 1]]


def test_starts_as_torchs_tables_do() -> None:
    for bag in (False, True):
        ours, theirs = table_pair(8, bag)
        assert torch.equal(ours.weight, theirs.weight)
        ours.load_state_dict(theirs.state_dict())


@with_every_kernel
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("ids", IDS, ids=str)
def test_rows_are_torchs(ids: list[int], width: int) -> None:
    ours, theirs = table_pair(width)
    at = torch.tensor(ids, dtype=torch.int64)
    assert torch.equal(ours(at), theirs(at))
    weigh(ours(at)).backward()  # type: ignore[no-untyped-call]
    weigh(theirs(at)).backward()  # type: ignore[no-untyped-call]
    check_gradient(ours, theirs.weight.grad)


BAGS = {
    "plain": ([4, 7, 7, 49, 0, 3], [0, 2, 5]),
    "empty bags at both ends and between": ([4, 7, 7], [0, 0, 2, 2, 3, 3]),
    "one bag": ([5, 5, 6], [0]),
    "nothing": ([], [0, 0]),
}


@with_every_kernel
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", BAGS)
def test_means_are_torchs(name: str, width: int) -> None:
    ours, theirs = table_pair(width, bag=True)
    ids, offsets = (torch.tensor(part, dtype=torch.int64) for part in BAGS[name])
    torch.testing.assert_close(ours(ids, offsets), theirs(ids, offsets), **CLOSE)
    weigh(ours(ids, offsets)).backward()  # type: ignore[no-untyped-call]
    weigh(theirs(ids, offsets)).backward()  # type: ignore[no-untyped-call]
    check_gradient(ours, theirs.weight.grad)


@with_every_kernel
def test_many_bags_in_pieces_over_threads() -> None:
    """More work than one thread takes at a time, and the same bits from one thread and from two."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 900, (6000,), generator=generator)
    offsets = torch.cat(
        [torch.tensor([0]), torch.randint(0, 6000, (999,), generator=generator).sort().values]
    )
    found = []
    for threads in (1, 2):
        library = native_library()
        if library is not None:
            library.set_num_threads(threads)
        torch.manual_seed(0)
        table, theirs = RowTable(900, 150), nn.EmbeddingBag(900, 150, mode="mean")
        theirs.load_state_dict(table.state_dict())
        means = table(ids, offsets)
        torch.testing.assert_close(means, theirs(ids, offsets), **CLOSE)
        weigh(means).backward()  # type: ignore[no-untyped-call]
        weigh(theirs(ids, offsets)).backward()  # type: ignore[no-untyped-call]
        check_gradient(table, theirs.weight.grad)
        assert table.weight.grad is not None
        found.append((means.detach(), table.weight.grad.to_dense()))
    for one, two in zip(*found, strict=True):
        assert torch.equal(one, two)


def read_twice(table: nn.Module) -> None:
    weigh(table(torch.tensor([1, 4, 9])) * table(torch.tensor([2, 4, 4]))).backward()  # type: ignore[no-untyped-call]


def three_passes(table: nn.Module) -> None:
    for ids in ([1, 4, 9], [9, 4, 4], [40]):
        weigh(table(torch.tensor(ids))).backward()  # type: ignore[no-untyped-call]


@with_every_kernel
@pytest.mark.parametrize("settled", [False, True], ids=["left as torch sums", "settled each time"])
@pytest.mark.parametrize("use", [read_twice, three_passes])
def test_gradients_add_up(use: Callable[[nn.Module], None], settled: bool) -> None:
    ours, theirs = table_pair(6)
    if settled:
        ours.weight.register_post_accumulate_grad_hook(settle)  # type: ignore[no-untyped-call]
    use(ours)
    use(theirs)
    check_gradient(ours, theirs.weight.grad)


def test_settling_sums_repeated_rows() -> None:
    weight = nn.Parameter(torch.zeros(5, 2))
    at = torch.tensor([[3, 1, 3]])
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    weight.grad = torch.sparse_coo_tensor(at, values, (5, 2), check_invariants=False)
    settle(weight)
    assert weight.grad is not None
    assert weight.grad.indices().tolist() == [[1, 3]]
    assert weight.grad.values().tolist() == [[3.0, 4.0], [6.0, 8.0]]


@with_every_kernel
def test_tables_do_not_share_a_gradient() -> None:
    """A sum hands the same gradient to both its terms; scaling one in place must not scale the other."""
    first, second = RowTable(9, 3), RowTable(9, 3)
    ids = torch.tensor([1, 5])
    ((first(ids) + second(ids)) * torch.full((2, 3), 4.0)).sum().backward()
    for table in (first, second):
        assert table.weight.grad is not None
        settle(table.weight)
        table.weight.grad.values().mul_(0.5)
    for table in (first, second):
        assert table.weight.grad is not None
        assert table.weight.grad.values().tolist() == [[2.0] * 3] * 2


@with_every_kernel
def test_other_dtypes_take_the_twin() -> None:
    table = RowTable(9, 4).double()
    assert row_kernel(table.weight) is rows_reference
    ids, offsets = torch.tensor([1, 5, 5]), torch.tensor([0, 2])
    weigh(table(ids, offsets)).backward()  # type: ignore[no-untyped-call]
    assert table.weight.grad is not None
    assert table.weight.grad.dtype == torch.float64


def test_frozen_table_has_no_gradient() -> None:
    table = RowTable(9, 4)
    table.requires_grad_(False)
    assert not table(torch.tensor([1])).requires_grad


# ---- compiled kernels against their twin ------------------------------------------------------------

RULES: list[tuple[Rule, int]] = [
    (SgdRule(0.1), 0),
    (SgdRule(0.1, 0.9), 1),
    (SgdRule(0.1, 0.9, nesterov=True), 1),
    (RmspropRule(1e-3, 0.99, 1e-8), 1),
    (AdagradRule(0.01, 1e-10), 1),
    (AdamRule(1e-3, 0.9, 0.999, 1e-8, 1), 2),
    (AdamRule(1e-3, 0.9, 0.999, 1e-8, 1000), 2),
    (AdamRule(1e-3, 0.0, 0.0, 1e-8, 3), 2),
]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("rule", "num_states"), RULES)
def test_step_is_the_twins(rule: Rule, num_states: int, width: int, native: RowKernel) -> None:
    generator = torch.Generator().manual_seed(width)
    weight = torch.randn(700, width, generator=generator)
    states = [torch.rand(700, width, generator=generator) for _ in range(num_states)]
    ids = torch.randperm(700, generator=generator)[:600]
    grads = torch.randn(600, width, generator=generator)
    sets = []
    for steps in (native, rows_reference):
        tensors = [weight.clone(), *(state.clone() for state in states)]
        steps.step(tensors[0], tensors[1:], ids, grads, rule)
        sets.append(tensors)
    untouched = torch.ones(700, dtype=torch.bool)
    untouched[ids] = False
    for ours, twins, before in zip(*sets, [weight, *states], strict=True):
        torch.testing.assert_close(ours, twins, **CLOSE)
        assert torch.equal(ours[untouched], before[untouched])
        assert not torch.equal(ours[ids], before[ids])


@pytest.mark.parametrize("width", WIDTHS)
def test_average_is_the_twins(width: int, native: RowKernel) -> None:
    weight, average = torch.randn(40, width), torch.randn(40, width)
    ids, take = torch.tensor([39, 2, 7, 30]), torch.tensor([0.0, 0.3, 0.8, 1.0])
    moved, twin = average.clone(), average.clone()
    native.move_average(moved, weight, ids, take)
    rows_reference.move_average(twin, weight, ids, take)
    torch.testing.assert_close(moved, twin, **CLOSE)
    assert torch.equal(moved[39], average[39])
    assert torch.equal(moved[30], weight[30])


def broken_calls(rows: Any) -> dict[str, Callable[[], object]]:
    table, ids, offsets = torch.zeros(5, 3), torch.tensor([1, 4]), torch.tensor([0, 2])
    grads, rule = torch.zeros(2, 3), SgdRule(0.1)
    return {
        "rows from 1 to 5.*0 to 4": lambda: rows.step(table, [], torch.tensor([1, 5]), grads, rule),
        "rows from -1 to 4": lambda: rows.scatter_bags(grads[:1], torch.tensor([4, -1]), offsets, 5),
        "contiguous int64": lambda: rows.step(table, [], ids.int(), grads, rule),
        r"float64(.|\n)*\[5, 3\] float32": lambda: rows.step(table, [table.double()], ids, grads, rule),
        r"\[3, 3\](.|\n)*\[2, 3\]": lambda: rows.step(table, [], ids, torch.zeros(3, 3), rule),
        r"\[2\](.|\n)*\[5, 3\]": lambda: rows.move_average(torch.zeros(2), table, ids, torch.zeros(2)),
        "offsets from 0 to 1(.|\n)*from 0 to 2": lambda: rows.scatter_bags(
            grads[:1], ids, torch.tensor([0, 1]), 5
        ),
        "never run backwards": lambda: rows.scatter_bags(grads, ids, torch.tensor([0, 3, 2]), 5),
    }


@pytest.mark.parametrize("message", broken_calls(None))
def test_what_would_read_astray_is_refused(message: str, native: RowKernel) -> None:
    assert isinstance(native, NativeRows)
    with pytest.raises(ShapeError, match=message.replace(".*", r"(.|\n)*")):
        broken_calls(native)[message]()
