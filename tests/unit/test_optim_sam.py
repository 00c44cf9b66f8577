"""SAM against its equations, and what happens when the second gradient fails."""

import pytest
import torch
from torch import Tensor, nn

from grunlock.errors import TrainingError
from grunlock.optim.optimizers import Optimizer, build_optimizer
from grunlock.recipe.optimization_options import MuonOptions, OptimizerOptions, SamOptions, SgdOptions

SCALES = torch.tensor([1.0, 4.0, 0.25])


class Bowl(nn.Module):
    """loss = sum(SCALES * w^4): the gradient depends on the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))

    def forward(self) -> Tensor:
        return (SCALES * self.w**4).sum()


def gradient_at(w: Tensor) -> Tensor:
    return 4.0 * SCALES * w**3


def take_step(model: Bowl, options: OptimizerOptions, sam: SamOptions) -> None:
    optimizer = build_optimizer(model, options, sam, 0)

    def gradients() -> None:
        optimizer.zero_grad()
        model().backward()

    gradients()
    assert optimizer.step(gradients)


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("rho", [0.05, 0.4])
def test_equations(rho: float, adaptive: bool) -> None:
    model = Bowl()
    w = model.w.detach().clone()
    g = gradient_at(w)
    climb = rho * (w**2 * g / (w.abs() * g).norm() if adaptive else g / g.norm())
    take_step(model, SgdOptions(lr=0.01), SamOptions(rho=rho, adaptive=adaptive))
    assert torch.allclose(model.w, w - 0.01 * gradient_at(w + climb), rtol=1e-5)


@pytest.mark.parametrize("adaptive", [False, True])
def test_is_the_librarys(adaptive: bool) -> None:
    import pytorch_optimizer

    ours, theirs = Bowl(), Bowl()
    library = pytorch_optimizer.SAM(theirs.parameters(), torch.optim.SGD, lr=0.01, rho=0.1, adaptive=adaptive)
    for _ in range(5):
        take_step(ours, SgdOptions(lr=0.01), SamOptions(rho=0.1, adaptive=adaptive))

        def gradients() -> None:
            theirs.zero_grad()
            theirs().backward()

        gradients()
        library.step(gradients)  # type: ignore[arg-type]
    assert torch.allclose(ours.w, theirs.w, rtol=1e-5)


def linear_and_optimizer(options: OptimizerOptions) -> tuple[nn.Linear, Optimizer]:
    model = nn.Linear(3, 3)
    optimizer = build_optimizer(model, options, SamOptions(), 0)
    model(torch.ones(1, 3)).square().sum().backward()
    return model, optimizer


@pytest.mark.parametrize("options", [SgdOptions(), MuonOptions()])
def test_non_finite_second_gradient_changes_nothing(options: OptimizerOptions) -> None:
    model, optimizer = linear_and_optimizer(options)
    before = model.weight.detach().clone()

    def spoilt() -> None:
        assert not torch.equal(model.weight, before)  # at the climbed point
        model.weight.grad = torch.full((3, 3), torch.nan)

    assert not optimizer.step(spoilt)
    assert torch.equal(model.weight, before)


def test_failing_closure_gives_the_weights_back() -> None:
    model, optimizer = linear_and_optimizer(SgdOptions())
    before = model.weight.detach().clone()

    def failing() -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        optimizer.step(failing)
    assert torch.equal(model.weight, before)


def test_step_without_closure_is_refused() -> None:
    _, optimizer = linear_and_optimizer(SgdOptions())
    with pytest.raises(TrainingError, match=r"step\(closure\)"):
        optimizer.step(None)
