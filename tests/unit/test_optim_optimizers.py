"""One contract for every kind of optimiser: it learns, obeys each option, and resumes bit for bit."""

import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from grunlock.errors import RunError
from grunlock.optim.optimizers import Optimizer, build_optimizer
from grunlock.recipe import optimization_options as recipe
from grunlock.recipe.optimization_options import OptimizerOptions, SamOptions

KINDS = get_args(get_args(OptimizerOptions)[0])
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.model_fields["kind"].default)
with_and_without_sam = pytest.mark.parametrize("sam", [None, SamOptions()], ids=["plain", "sam"])

# A value of each option that is far from its default.
OTHER_VALUES = {
    "lr": 0.05,
    "weight_decay": 0.5,
    "momentum": 0.3,
    "alpha": 0.5,
    "beta1": 0.5,
    "beta2": 0.6,
    "beta3": 0.7,
    "eps": 0.05,
    "d_coef": 3.0,
    "precondition_every_steps": 2,
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads only cost time at these sizes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Classifier(nn.Module):
    """Embedding, GRU, norm, projection, head: every group of parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(11, 4)
        self.gru = nn.GRU(4, 5, batch_first=True, bidirectional=True)
        self.norm = nn.LayerNorm(10)
        self.projection = nn.Linear(10, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        states, _ = self.gru(self.tokens(tokens))
        logits: Tensor = self.head(torch.tanh(self.projection(self.norm(states).mean(dim=1))))
        return logits

    @property
    def recurrent_weight(self) -> nn.Parameter:  # [3 * 5, 5]
        weight = self.gru.weight_hh_l0
        assert isinstance(weight, nn.Parameter)
        return weight


class Training:
    """A deterministic training; batch i depends on i alone."""

    def __init__(self, options: OptimizerOptions, sam: SamOptions | None = None) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.model = Classifier()
        self.optimizer = build_optimizer(self.model, options, sam, warmup_steps=0)

    def loss(self, step: int) -> Tensor:
        tokens = torch.randint(0, 11, (8, 6), generator=torch.Generator().manual_seed(step))
        return functional.cross_entropy(self.model(tokens), tokens[:, 0] % 3)

    def gradients(self, step: int) -> None:
        self.optimizer.zero_grad()
        self.loss(step).backward()  # type: ignore[no-untyped-call]

    def run(self, steps: range, factor: Callable[[int], float] = lambda step: 1.0) -> "Training":
        for step in steps:
            self.optimizer.train_mode()
            self.optimizer.set_lr_factor(factor(step))
            self.gradients(step)
            assert self.optimizer.step(partial(self.gradients, step))
        return self

    def weights(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.model.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())


# Learning rates with which 60 steps are enough; the others learn at their defaults.
QUICK_LR = {"gd": 1.0, "sgd": 1.0, "adagrad": 0.1, "radam": 0.1, "lion": 3e-3}


@every_kind
@with_and_without_sam
def test_learns(kind: Any, sam: SamOptions | None) -> None:
    lr = QUICK_LR.get(kind().kind, max(kind().lr, 0.02))
    training = Training(kind(lr=lr), sam)
    before = float(training.loss(0).detach())
    for _ in range(60):
        training.run(range(1))
    with training.optimizer.evaluation_weights():
        after = float(training.loss(0).detach())
    assert after < 0.9 * before


@pytest.mark.parametrize(
    ("kind", "option"),
    [
        (kind, name)
        for kind in KINDS
        for name in kind.model_fields
        if name not in ("kind", "sparse_rows")  # see test_optim_rows.py
    ],
)
def test_every_option_matters(kind: Any, option: str) -> None:
    other = 0.03 if kind().kind == "prodigy" and option == "lr" else OTHER_VALUES[option]
    assert getattr(kind(), option) != other
    default = Training(kind()).run(range(12)).weights()
    changed = Training(kind(**{option: other})).run(range(12)).weights()
    assert not same(default, changed)


@every_kind
def test_decay_spares_vectors_and_embeddings(kind: Any) -> None:
    steps = 1 if kind().kind == "prodigy" else 2  # Prodigy's later steps depend on all weights, through d
    plain, decayed = Training(kind(weight_decay=0.0)), Training(kind(weight_decay=50.0))
    for training in (plain, decayed):
        training.optimizer.train_mode()
        for _ in range(steps):
            for number, parameter in enumerate(training.model.parameters()):
                parameter.grad = torch.full_like(parameter, 0.1 + number)
                parameter.grad[0] *= 2.0
            training.optimizer.step(None)
    for name, value in plain.weights().items():
        is_decayed = value.ndim == 2 and name != "tokens.weight"
        assert torch.equal(value, decayed.weights()[name]) != is_decayed, name


DECOUPLED = {"adamw", "nadam", "radam", "muon", "schedule_free_adamw", "lion", "adan", "ademamix"}


@pytest.mark.parametrize("kind", [k for k in KINDS if k().kind in DECOUPLED], ids=lambda kind: kind().kind)
def test_decoupled_decay_is_the_learning_rate_times_the_weight(kind: Any) -> None:
    after = []
    for weight_decay in (0.0, 0.1):
        training = Training(kind(lr=0.01, weight_decay=weight_decay))
        before = training.weights()["head.weight"]
        training.run(range(1))
        after.append(training.weights()["head.weight"])
    # Some decay before their update and some after it: a difference of lr * weight_decay times one update.
    assert torch.allclose(after[0] - after[1], 0.01 * 0.1 * before, rtol=1e-3, atol=0.01 * 0.1 * 0.011)


def varying(step: int) -> float:
    return 1.0 / (1 + step % 4)


@every_kind
@with_and_without_sam
def test_resumes_bit_for_bit(kind: Any, sam: SamOptions | None, tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    whole = Training(kind(), sam).run(range(14), varying)
    half = Training(kind(), sam).run(range(7), varying)
    torch.save({"model": half.model.state_dict(), "optimizer": half.optimizer.state_dict()}, path)
    state = torch.load(path, weights_only=True)
    resumed = Training(kind(), sam)
    resumed.model.load_state_dict(state["model"])
    resumed.optimizer.load_state_dict(state["optimizer"])
    resumed.run(range(7, 14), varying)
    assert same(whole.weights(), resumed.weights())
    with whole.optimizer.evaluation_weights(), resumed.optimizer.evaluation_weights():
        assert same(whole.weights(), resumed.weights())


@every_kind
def test_evaluation_weights_are_only_lent(kind: Any) -> None:
    training = Training(kind()).run(range(5))
    before = training.weights()
    with training.optimizer.evaluation_weights():
        assert same(before, training.weights()) == (kind().kind != "schedule_free_adamw")
    assert same(before, training.weights())
    training.run(range(5, 8))
    assert same(training.weights(), Training(kind()).run(range(8)).weights())


def test_training_weights_come_back_after_a_failed_evaluation() -> None:
    training = Training(recipe.ScheduleFreeOptions()).run(range(5))
    before = training.weights()
    with pytest.raises(KeyError), training.optimizer.evaluation_weights():
        raise KeyError
    assert same(before, training.weights())


@every_kind
def test_unused_parameters_are_left_alone(kind: Any) -> None:
    training = Training(kind())
    before = training.weights()
    training.optimizer.train_mode()
    for _ in range(3):
        training.optimizer.zero_grad()
        training.model.projection.weight.grad = torch.ones(6, 10)
        training.optimizer.step(None)
    changed = {name for name, value in training.weights().items() if not torch.equal(value, before[name])}
    assert changed == {"projection.weight"}


@every_kind
def test_frozen_embedding_stays(kind: Any) -> None:
    model = Classifier()
    model.tokens.requires_grad_(False)
    before = model.tokens.weight.clone()
    optimizer = build_optimizer(model, kind(), None, 0)
    optimizer.train_mode()
    model(torch.ones(2, 3, dtype=torch.long)).sum().backward()
    optimizer.step(None)
    assert torch.equal(model.tokens.weight, before)


def test_factor_scales_the_recipes_learning_rate_in_every_part() -> None:
    training = Training(recipe.MuonOptions(lr=0.01))
    training.optimizer.set_lr_factor(0.25)
    rates = {group["lr"] for part in training.optimizer._parts.optimizers for group in part.param_groups}
    assert rates == {0.0025}
    training.optimizer.set_lr_factor(0.5)
    half = Training(recipe.MuonOptions(lr=0.005)).run(range(3)).weights()
    assert same(half, training.run(range(3), lambda step: 0.5).weights())


def test_zero_grad_frees() -> None:
    training = Training(recipe.SgdOptions())
    training.gradients(0)
    training.optimizer.zero_grad()
    assert all(parameter.grad is None for parameter in training.model.parameters())


def test_state_of_another_model_is_refused() -> None:
    state = Training(recipe.AdamwOptions()).optimizer.state_dict()
    other = build_optimizer(nn.Linear(2, 2), recipe.AdamwOptions(), None, 0)
    with pytest.raises(RunError, match="another model's"):
        other.load_state_dict(state)


# ---- kinds that need more than a constructor -------------------------------------------------------

per_gate_kinds = pytest.mark.parametrize("options", [recipe.MuonOptions(), recipe.SoapOptions()])


def step_with_first_gate(optimizer: Optimizer, model: Classifier, scale: float) -> None:
    for _ in range(3):
        for number, parameter in enumerate(model.parameters()):
            noise = torch.Generator().manual_seed(number)
            parameter.grad = torch.randn(parameter.shape, generator=noise)
        weight = model.recurrent_weight
        assert weight.grad is not None
        weight.grad[:5] = weight.grad[:5].pow(3) * scale
        optimizer.step(None)


@per_gate_kinds
def test_gates_do_not_influence_each_other(options: OptimizerOptions) -> None:
    results = []
    for scale in (0.1, 7.0):
        training = Training(options)
        before = training.weights()["gru.weight_hh_l0"]
        step_with_first_gate(training.optimizer, training.model, scale)
        results.append(training.weights()["gru.weight_hh_l0"])
        assert all(not torch.equal(results[-1][i : i + 5], before[i : i + 5]) for i in (0, 5, 10))
    # Muon and SOAP ignore scale, up to rounding, so the cube above is what makes the first gate differ.
    assert torch.equal(results[0][5:], results[1][5:])
    assert not torch.equal(results[0][:5], results[1][:5])


def test_muon_per_gate_is_muon_on_separate_matrices() -> None:
    options = recipe.MuonOptions(lr=0.01, weight_decay=0.1, momentum=0.8)
    training = Training(options)
    gates = [w.clone() for w in torch.split(training.weights()["gru.weight_hh_l0"], 5)]
    theirs = torch.optim.Muon(gates, lr=0.01, weight_decay=0.1, momentum=0.8, adjust_lr_fn="match_rms_adamw")
    for step in range(4):
        training.gradients(step)
        gradient = training.model.recurrent_weight.grad
        assert gradient is not None
        for gate, part in zip(gates, torch.split(gradient, 5), strict=True):
            gate.grad = part.clone()
        theirs.step()  # type: ignore[no-untyped-call]
        training.optimizer.step(None)
    assert torch.equal(torch.cat(gates), training.model.recurrent_weight)


@per_gate_kinds
def test_weights_replaced_by_others_are_still_the_ones_updated(options: OptimizerOptions) -> None:
    moved, stayed = Training(options), Training(options)
    weight = moved.model.recurrent_weight
    weight.data = weight.data.clone()
    assert same(moved.run(range(3)).weights(), stayed.run(range(3)).weights())


@per_gate_kinds
def test_model_without_hidden_matrices(options: OptimizerOptions) -> None:
    head = nn.Linear(3, 2)
    model = nn.Sequential(OrderedDict(bag=nn.EmbeddingBag(5, 3), head=head))
    optimizer = build_optimizer(model, options, None, 0)
    before = head.weight.clone()
    model(torch.ones(2, 3, dtype=torch.long)).sum().backward()
    optimizer.step(None)
    assert not torch.equal(head.weight, before)


@pytest.mark.parametrize("warmup", [1, 4])
def test_schedule_free_warm_up_by_factor_is_the_librarys_own(warmup: int) -> None:
    import schedulefree

    ours = Training(recipe.ScheduleFreeOptions(lr=0.02, weight_decay=0.0))
    ours.run(range(8), lambda step: min(1.0, (step + 1) / warmup))
    theirs = Training(recipe.ScheduleFreeOptions())
    library = schedulefree.AdamWScheduleFree(theirs.model.parameters(), lr=0.02, warmup_steps=warmup)
    library.train()
    for step in range(8):
        theirs.gradients(step)
        library.step()
    for name, value in theirs.weights().items():
        assert torch.equal(value, ours.weights()[name]), name
    library.eval()
    with ours.optimizer.evaluation_weights():
        assert same(ours.weights(), theirs.weights())


def test_prodigy_shares_one_distance_over_groups() -> None:
    import pytorch_optimizer

    ours = Training(recipe.ProdigyOptions(weight_decay=0.0)).run(range(40))
    distances = {group["d"] for group in ours.optimizer._parts.optimizers[0].param_groups}
    assert len(distances) == 1
    assert distances != {1e-6}
    theirs = Training(recipe.ProdigyOptions())
    library = pytorch_optimizer.Prodigy(theirs.model.parameters(), lr=1.0)
    for step in range(40):
        theirs.gradients(step)
        library.step()
    assert library.param_groups[0]["d"] == pytest.approx(distances.pop(), rel=1e-3)  # another order of sums


def test_prodigy_knows_of_the_warm_up() -> None:
    for warmup_steps, safeguard in ((0, False), (10, True)):
        optimizer = build_optimizer(Classifier(), recipe.ProdigyOptions(), None, warmup_steps)
        assert optimizer._parts.optimizers[0].param_groups[0]["safeguard_warmup"] is safeguard


def test_other_libraries_are_imported_only_when_needed() -> None:
    code = (
        "import sys, torch.nn as nn\n"
        "from grunlock.optim.optimizers import build_optimizer\n"
        "from grunlock.recipe.optimization_options import AdamwOptions\n"
        "build_optimizer(nn.Linear(2, 2), AdamwOptions(), None, 0)\n"
        "print(sorted({'pytorch_optimizer', 'schedulefree'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
