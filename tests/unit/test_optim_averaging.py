"""The weight average against its formula, and the loan of averaged weights."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from grunlock.errors import RunError
from grunlock.optim.averaging import WeightAverage


def model_with(value: float) -> nn.Sequential:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)
    return model


def walk(model: nn.Module, average: WeightAverage, values: list[float]) -> None:
    for value in values:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(value)
        average.update()


def averaged_value(model: nn.Module, average: WeightAverage) -> float:
    with average.averaged_weights():
        return next(model.parameters())[0, 0].item()


@pytest.mark.parametrize("decay", [0.2, 0.5, 0.9])
def test_formula_with_warm_up(decay: float) -> None:
    model = model_with(0.0)
    average = WeightAverage(model, decay)
    values = [1.0, 3.0, -2.0, 5.0, 0.5, 7.0]
    expected = values[0]  # the first update copies
    for updates, value in enumerate(values[1:], start=1):
        d = min(decay, (1 + updates) / (10 + updates))
        expected = d * expected + (1 - d) * value
    walk(model, average, values)
    assert averaged_value(model, average) == pytest.approx(expected, rel=1e-6)


def test_lends_parameters_and_gives_back_exactly() -> None:
    model = model_with(0.0)
    average = WeightAverage(model, 0.9)
    walk(model, average, [0.1, 0.7, 0.3])
    norm = model[1]
    assert isinstance(norm, nn.BatchNorm1d)
    assert norm.running_mean is not None
    norm.running_mean.fill_(4.0)
    before = copy.deepcopy(model.state_dict())
    with average.averaged_weights():
        assert not torch.equal(model.state_dict()["0.weight"], before["0.weight"])
        assert norm.running_mean.tolist() == [4.0, 4.0]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with pytest.raises(KeyError), average.averaged_weights():
        raise KeyError
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_before_the_first_update() -> None:
    model = model_with(2.0)
    assert averaged_value(model, WeightAverage(model, 0.9)) == 2.0


def test_goes_on_bit_for_bit_from_its_state(tmp_path: Path) -> None:
    model = model_with(0.0)
    first = WeightAverage(model, 0.9)
    walk(model, first, [0.1, 0.7, 0.3])
    torch.save(first.state_dict(), tmp_path / "state.pt")
    other = model_with(9.0)
    second = WeightAverage(other, 0.9)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    walk(model, first, [0.9, 1.1])
    walk(other, second, [0.9, 1.1])
    with first.averaged_weights(), second.averaged_weights():
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_another_models_state_is_refused() -> None:
    state = WeightAverage(nn.Linear(2, 2), 0.9).state_dict()
    with pytest.raises(RunError, match="another model's"):
        WeightAverage(model_with(0.0), 0.9).load_state_dict(state)
