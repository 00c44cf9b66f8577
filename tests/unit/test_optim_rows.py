"""Steps, clipping, SAM and averages of tables by rows: what is left alone, and that the rest is torch's."""

import copy
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from grunlock.kernels.library import LIBRARY_PATH, REFERENCE, use_kernel
from grunlock.layers.embedding import RowTable
from grunlock.optim.averaging import WeightAverage
from grunlock.optim.clipping import build_clipper
from grunlock.optim.optimizers import build_optimizer
from grunlock.optim.row_optimizer import RowOptions
from grunlock.recipe import optimization_options as recipe
from grunlock.recipe.optimization_options import OptimizerOptions, SamOptions

KINDS = get_args(get_args(OptimizerOptions)[0])
ROW_KINDS = get_args(RowOptions)
SAME_AS_DENSE = [recipe.GdOptions, recipe.SgdOptions, recipe.AdagradOptions]
LAZY = [kind for kind in ROW_KINDS if kind not in SAME_AS_DENSE]
NUM_ROWS, WIDTH = 40, 6


def name_of(kind: Any) -> str:
    return str(kind().kind)


every_kind = pytest.mark.parametrize("kind", KINDS, ids=name_of)
every_row_kind = pytest.mark.parametrize("kind", ROW_KINDS, ids=name_of)
every_lazy_kind = pytest.mark.parametrize("kind", LAZY, ids=name_of)


@pytest.fixture(params=["reference", "compiled"], autouse=True)
def kernel(request: pytest.FixtureRequest) -> Iterator[None]:
    """The twin, and the kernel that this machine would choose."""
    if request.param == "compiled" and not LIBRARY_PATH.is_file():
        pytest.skip("no compiled kernels")
    use_kernel(REFERENCE if request.param == "reference" else None)
    yield
    use_kernel(None)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads only cost time at these sizes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Classifier(nn.Module):
    """A table of rows, a table of bags, a head. `by_rows`: ours; else torch's, with dense gradients."""

    def __init__(self, by_rows: bool) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.tokens = RowTable(NUM_ROWS, WIDTH) if by_rows else nn.Embedding(NUM_ROWS, WIDTH)
            self.ngrams = (
                RowTable(NUM_ROWS, WIDTH) if by_rows else nn.EmbeddingBag(NUM_ROWS, WIDTH, mode="mean")
            )
            self.head = nn.Linear(WIDTH, 3)

    def forward(self, ids: Tensor) -> Tensor:
        """ids [B, T]; bags of two, of ids that the rows have not."""
        distinct, inverse = ids.unique(return_inverse=True)
        bags = torch.arange(0, 2 * len(distinct), 2)
        vectors = self.tokens(distinct) + self.ngrams((distinct + 1).repeat_interleave(2) % NUM_ROWS, bags)
        logits: Tensor = self.head(torch.tanh(vectors[inverse]).mean(dim=1))
        return logits


class Training:
    """Batch i depends on i alone and has about half of the ids."""

    def __init__(
        self,
        options: OptimizerOptions,
        by_rows: bool = True,
        sam: SamOptions | None = None,
        all_ids: bool = False,
    ) -> None:
        self.model = Classifier(by_rows)
        self.optimizer = build_optimizer(self.model, options, sam, warmup_steps=0)
        self.all_ids = all_ids

    def batch(self, step: int) -> Tensor:
        generator = torch.Generator().manual_seed(step)
        if self.all_ids:
            return torch.randperm(NUM_ROWS, generator=generator).reshape(8, 5)
        return torch.randint(0, NUM_ROWS, (8, 3), generator=generator)

    def gradients(self, step: int) -> None:
        self.optimizer.zero_grad()
        ids = self.batch(step)
        functional.cross_entropy(self.model(ids), ids[:, 0] % 3).backward()  # type: ignore[no-untyped-call]

    def run(self, steps: range) -> "Training":
        for step in steps:
            self.optimizer.train_mode()
            self.optimizer.set_lr_factor(1.0 / (1 + step % 4))
            self.gradients(step)
            assert self.optimizer.step(partial(self.gradients, step))
        return self

    def weights(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.model.state_dict().items()}


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())


def assert_close(first: Training, second: Training) -> None:
    """Up to the rounding of a dozen steps, of which each may divide by a root near zero."""
    for name, value in first.weights().items():
        torch.testing.assert_close(value, second.weights()[name], rtol=1e-4, atol=2e-6)


# ---- against torch's dense steps --------------------------------------------------------------------


@every_row_kind
@pytest.mark.parametrize("sam", [None, SamOptions(rho=0.2), SamOptions(rho=0.2, adaptive=True)])
def test_with_every_row_in_every_batch_it_is_torchs_step(kind: Any, sam: SamOptions | None) -> None:
    ours = Training(kind(), sam=sam, all_ids=True)
    theirs = Training(kind(), by_rows=False, sam=sam, all_ids=True)
    assert ours.optimizer.row_tables
    assert not theirs.optimizer.row_tables
    assert_close(ours.run(range(12)), theirs.run(range(12)))


@pytest.mark.parametrize("kind", SAME_AS_DENSE, ids=name_of)
def test_kinds_without_memory_of_absent_rows_are_torchs_always(kind: Any) -> None:
    assert_close(Training(kind()).run(range(12)), Training(kind(), by_rows=False).run(range(12)))


@every_lazy_kind
def test_whole_tables_on_demand(kind: Any) -> None:
    dense = Training(kind(sparse_rows=False)).run(range(12))
    assert not dense.optimizer.row_tables
    assert_close(dense, Training(kind(), by_rows=False).run(range(12)))
    lazy = Training(kind()).run(range(12)).weights()
    assert all(not torch.equal(lazy[name], value) for name, value in dense.weights().items())


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ROW_KINDS], ids=name_of)
def test_the_other_kinds_step_whole_tables(kind: Any) -> None:
    ours, theirs = Training(kind()), Training(kind(), by_rows=False)
    assert not ours.optimizer.row_tables
    assert_close(ours.run(range(6)), theirs.run(range(6)))


def test_lazy_adam_is_torchs_sparse_adam() -> None:
    options = recipe.AdamOptions(lr=0.01, beta1=0.8, beta2=0.95, eps=1e-5)
    ours, theirs = Training(options), Training(options)
    tables = torch.optim.SparseAdam(
        [theirs.model.tokens.weight, theirs.model.ngrams.weight], lr=0.01, betas=(0.8, 0.95), eps=1e-5
    )
    for step in range(12):
        ours.gradients(step)
        ours.optimizer.step(None)
        theirs.gradients(step)
        # SparseAdam adds eps to the root before bias correction, torch's and our Adam after it.
        tables.param_groups[0]["eps"] = 1e-5 * (1.0 - 0.95 ** (step + 1)) ** 0.5
        tables.step()
        for table in (theirs.model.tokens, theirs.model.ngrams):
            table.weight.grad = None
        theirs.optimizer.step(None)
    assert_close(ours, theirs)


# ---- rows that are not in the batch -----------------------------------------------------------------


def tensors_of(training: Training) -> list[Tensor]:
    """The tables and the states of their rows."""
    rows = training.optimizer._parts.rows
    assert rows is not None
    return [*rows.tables, *(state for states in rows.state_dict()["states"] for state in states)]


@every_row_kind
@pytest.mark.parametrize("sam", [None, SamOptions()], ids=["plain", "sam"])
def test_absent_rows_are_left_alone(kind: Any, sam: SamOptions | None) -> None:
    training = Training(kind(), sam=sam).run(range(5))
    before = [tensor.detach().clone() for tensor in tensors_of(training)]
    present = torch.zeros(NUM_ROWS, dtype=torch.bool)
    present[training.batch(5)] = True
    present = present | present.roll(1)  # the n-grams are one id further
    assert not present.all()
    training.run(range(5, 6))
    for old, new in zip(before, tensors_of(training), strict=True):
        assert torch.equal(old[~present], new[~present])
    for table in (training.model.tokens, training.model.ngrams):
        assert not torch.equal(table.weight, before[0])


def test_rows_climb_and_come_back() -> None:
    """SAM's second gradients are those of the climbed rows, and nothing else has moved for them."""
    training = Training(recipe.SgdOptions(), sam=SamOptions(rho=0.3))
    training.gradients(0)
    before = training.weights()
    ids = training.batch(0).unique()
    seen = []

    def closure() -> None:
        seen.append((training.model.tokens.weight.detach() - before["tokens.weight"]).abs().sum(dim=1))
        training.gradients(0)
        raise MemoryError

    with pytest.raises(MemoryError):
        training.optimizer.step(closure)
    assert seen[0].nonzero()[:, 0].tolist() == ids.tolist()
    assert equal(before, training.weights())


@every_row_kind
@pytest.mark.parametrize("sam", [None, SamOptions()], ids=["plain", "sam"])
def test_resumes_bit_for_bit(kind: Any, sam: SamOptions | None, tmp_path: Path) -> None:
    whole = Training(kind(), sam=sam).run(range(14))
    half = Training(kind(), sam=sam).run(range(7))
    path = tmp_path / "state.pt"
    torch.save({"model": half.model.state_dict(), "optimizer": half.optimizer.state_dict()}, path)
    state = torch.load(path, weights_only=True)
    resumed = Training(kind(), sam=sam)
    resumed.model.load_state_dict(state["model"])
    resumed.optimizer.load_state_dict(state["optimizer"])
    assert equal(whole.weights(), resumed.run(range(7, 14)).weights())


@every_kind
def test_gradients_of_several_batches_add_up(kind: Any) -> None:
    """As gd does it: one step with the gradients of all its batches."""
    pair = [Training(kind()), Training(kind(), by_rows=False)]
    for training in pair:
        training.optimizer.train_mode()
        for step in range(4):
            ids = training.batch(step)
            functional.cross_entropy(training.model(ids), ids[:, 0] % 3).backward()  # type: ignore[no-untyped-call]
        training.optimizer.step(None)
    assert_close(*pair)


def test_a_table_that_is_also_a_matrix() -> None:
    """Its gradient is dense, and every row takes part."""
    pair = [Training(recipe.AdamOptions(), by_rows=by_rows) for by_rows in (True, False)]
    for training in pair:
        training.gradients(0)
        (training.model.tokens.weight**2).sum().backward()  # type: ignore[no-untyped-call]
        training.optimizer.step(None)
    assert_close(*pair)


def test_unused_table_and_model_of_tables_alone() -> None:
    model = nn.ModuleList([RowTable(5, 2), RowTable(5, 2)])
    optimizer = build_optimizer(model, recipe.AdamwOptions(), None, 0)
    before = copy.deepcopy(model.state_dict())
    model[0](torch.tensor([3])).sum().backward()
    optimizer.step(None)
    assert not torch.equal(model[0].weight[3], before["0.weight"][3])
    assert torch.equal(model[1].weight, before["1.weight"])


# ---- clipping ---------------------------------------------------------------------------------------

CLIPS = [
    recipe.NormClip(max_norm=0.01),
    recipe.ValueClip(max_value=0.001),
    recipe.PercentileClip(percentile=10.0, window_steps=4),
]


@pytest.mark.parametrize("options", [None, *CLIPS], ids=lambda clip: "off" if clip is None else clip.kind)
def test_clipping_sees_the_rows(options: Any) -> None:
    pair = [Training(recipe.SgdOptions(), by_rows=by_rows) for by_rows in (True, False)]
    clippers = [build_clipper(options), build_clipper(options)]
    clipped = []
    for step in range(6):
        results = []
        for training, clipper in zip(pair, clippers, strict=True):
            training.gradients(step)
            results.append(clipper.clip(training.model.parameters()))
        assert results[0].grad_norm == pytest.approx(results[1].grad_norm, rel=1e-5)
        assert results[0].clipped == results[1].clipped
        clipped.append(results[0].clipped)
        for ours, theirs in zip(*(training.model.parameters() for training in pair), strict=True):
            assert ours.grad is not None
            assert theirs.grad is not None
            torch.testing.assert_close(ours.grad.to_dense(), theirs.grad, rtol=1e-4, atol=1e-8)
    assert any(clipped) == (options is not None)


def test_a_row_that_is_not_finite_is_seen() -> None:
    training = Training(recipe.SgdOptions())
    training.gradients(0)
    gradient = training.model.ngrams.weight.grad
    assert gradient is not None
    gradient.values()[2, 1] = torch.nan
    assert not build_clipper(recipe.NormClip()).clip(training.model.parameters()).finite


# ---- the average ------------------------------------------------------------------------------------


def averaged(training: Training, average: WeightAverage) -> dict[str, Tensor]:
    with average.averaged_weights():
        return training.weights()


def follow(training: Training, average: WeightAverage, steps: range, after: Callable[[int], object]) -> None:
    training.optimizer.watch_rows(average.before_rows_change)
    for step in steps:
        training.run(range(step, step + 1))
        average.update()
        after(step)


@pytest.mark.parametrize("sam", [None, SamOptions()], ids=["plain", "sam"])
@pytest.mark.parametrize("decay", [0.3, 0.99, 0.9999])
def test_average_by_rows_is_the_average_of_everything(decay: float, sam: SamOptions | None) -> None:
    training = Training(recipe.AdamOptions(lr=0.05), sam=sam)
    by_rows = WeightAverage(training.model, decay, training.optimizer.row_tables)
    of_all = WeightAverage(training.model, decay)

    def compare(step: int) -> None:
        of_all.update()
        if step % 7 == 0:
            expected = averaged(training, of_all)
            for name, value in averaged(training, by_rows).items():
                torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6)

    follow(training, by_rows, range(29), compare)


def test_average_of_a_row_not_read_for_long() -> None:
    """No product of decays underflows, and the average ends on the weight."""
    table = RowTable(3, 2)
    average = WeightAverage(table, 0.5, [table.weight])
    for row in (0, 1):
        average.before_rows_change(table.weight, torch.tensor([row]))
        table.weight.data[row] += 1.0
        average.update()
    for _ in range(3000):
        average.update()
    before = table.weight.detach().clone()
    with average.averaged_weights():
        assert torch.equal(table.weight, before)
    assert average.state_dict()["log_product"] == pytest.approx(-2078, rel=0.01)  # exp of it is zero


def test_reading_the_average_changes_nothing() -> None:
    def end(read: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        training = Training(recipe.AdamOptions(lr=0.05))
        average = WeightAverage(training.model, 0.99, training.optimizer.row_tables)
        follow(training, average, range(20), lambda step: averaged(training, average) if read else None)
        return training.weights(), averaged(training, average)

    for unread, read in zip(end(False), end(True), strict=True):
        assert equal(unread, read)


def test_average_goes_on_bit_for_bit_from_its_state(tmp_path: Path) -> None:
    def start() -> tuple[Training, WeightAverage]:
        training = Training(recipe.MomentumOptions())
        return training, WeightAverage(training.model, 0.9, training.optimizer.row_tables)

    (whole, whole_average), (half, half_average), (resumed, average) = start(), start(), start()
    follow(whole, whole_average, range(14), lambda step: None)
    follow(half, half_average, range(7), lambda step: None)
    parts = [half.model.state_dict(), half.optimizer.state_dict(), half_average.state_dict()]
    torch.save(parts, tmp_path / "state.pt")
    loaded = torch.load(tmp_path / "state.pt", weights_only=True)
    for part, state in zip((resumed.model, resumed.optimizer, average), loaded, strict=True):
        part.load_state_dict(state)  # type: ignore[attr-defined]
    follow(resumed, average, range(7, 14), lambda step: None)
    assert equal(averaged(whole, whole_average), averaged(resumed, average))


def test_frozen_parameters_are_their_own_average() -> None:
    table = RowTable(3, 2)
    table.requires_grad_(False)
    average = WeightAverage(table, 0.9)
    average.update()
    with average.averaged_weights():
        assert torch.equal(table.weight, copy.deepcopy(table.weight))
    assert average.state_dict()["parameters"] == {}
