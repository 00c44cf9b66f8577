"""Clipping against torch's own, the percentile's window, and what the guard says."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from grunlock.errors import TrainingError
from grunlock.optim.clipping import NonFiniteFacts, NonFiniteGuard, build_clipper, likely_causes
from grunlock.recipe.optimization_options import ClipOptions, NormClip, PercentileClip, ValueClip


def parameters_with(*gradients: list[float] | None) -> list[nn.Parameter]:
    held = []
    for gradient in gradients:
        parameter = nn.Parameter(torch.zeros(len(gradient or [0.0])))
        parameter.grad = None if gradient is None else torch.tensor(gradient)
        held.append(parameter)
    return held


def gradients_of(parameters: list[nn.Parameter]) -> list[list[float] | None]:
    return [None if p.grad is None else p.grad.tolist() for p in parameters]


@pytest.mark.parametrize("max_norm", [0.5, 2.5, 4.9, 5.1, 100.0])
def test_norm_agrees_with_torch(max_norm: float) -> None:
    ours, theirs = parameters_with([3.0], None, [0.0, 4.0]), parameters_with([3.0], None, [0.0, 4.0])
    result = build_clipper(NormClip(max_norm=max_norm)).clip(ours)
    norm = torch.nn.utils.clip_grad_norm_(theirs, max_norm)
    assert result.grad_norm == pytest.approx(float(norm))
    assert result.clipped == (max_norm < 5.0)
    assert result.finite
    assert gradients_of(ours) == gradients_of(theirs)


def test_value_agrees_with_torch() -> None:
    ours, theirs = parameters_with([3.0, -0.2], [-4.0]), parameters_with([3.0, -0.2], [-4.0])
    clipper = build_clipper(ValueClip(max_value=1.5))
    result = clipper.clip(ours)
    torch.nn.utils.clip_grad_value_(theirs, 1.5)
    assert result.clipped
    assert result.grad_norm == pytest.approx(math.sqrt(9 + 0.04 + 16))
    assert gradients_of(ours) == gradients_of(theirs)
    assert not clipper.clip(parameters_with([1.5], [-1.5])).clipped


def test_off_only_measures() -> None:
    parameters = parameters_with([3.0], [4.0])
    result = build_clipper(None).clip(parameters)
    assert (result.grad_norm, result.clipped, result.finite) == (5.0, False, True)
    assert gradients_of(parameters) == [[3.0], [4.0]]


def test_no_gradient_at_all() -> None:
    result = build_clipper(NormClip()).clip(parameters_with(None))
    assert (result.grad_norm, result.clipped, result.finite) == (0.0, False, True)


def test_percentile_of_the_window_with_this_step() -> None:
    clipper = build_clipper(PercentileClip(percentile=50.0, window_steps=4))
    norms = [1.0, 3.0, 2.0, 8.0, 10.0, 0.5]
    window: list[float] = []
    for norm in norms:
        window = [*window, norm][-4:]
        limit = float(np.percentile(window, 50.0))
        parameters = parameters_with([norm])
        result = clipper.clip(parameters)
        assert result.clipped == (norm > limit)
        assert gradients_of(parameters)[0] == pytest.approx([min(norm, limit)])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("options", [None, NormClip(), ValueClip(), PercentileClip()])
def test_non_finite_gradients_are_left_alone_and_forgotten(bad: float, options: ClipOptions | None) -> None:
    clipper = build_clipper(options)
    clipper.clip(parameters_with([3.0]))
    before = clipper.state_dict()
    parameters = parameters_with([100.0], [bad, 2.0])
    result = clipper.clip(parameters)
    assert not result.finite
    assert not result.clipped
    assert not math.isfinite(result.grad_norm)
    assert gradients_of(parameters)[0] == [100.0]
    assert clipper.state_dict() == before


def test_state_goes_through_json() -> None:
    options = PercentileClip(percentile=75.0, window_steps=3)
    first, second = build_clipper(options), build_clipper(options)
    for norm in (1.0, 2.0, 3.0, 4.0):
        first.clip(parameters_with([norm]))
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    ours, theirs = parameters_with([9.0]), parameters_with([9.0])
    assert first.clip(ours) == second.clip(theirs)
    assert gradients_of(ours) == gradients_of(theirs)


def test_guard_gives_up_after_so_many_in_a_row_only() -> None:
    guard = NonFiniteGuard(3)

    def bad() -> bool:
        return guard.check(loss=math.nan, grad_norm=math.nan, lr=0.1, clip=None)

    assert not bad()
    assert not bad()
    assert guard.check(loss=1.0, grad_norm=2.0, lr=0.1, clip=None)
    assert not bad()
    assert not bad()
    with pytest.raises(TrainingError, match="3 steps in a row"):
        bad()


def test_guard_state_goes_through_json() -> None:
    first, second = NonFiniteGuard(2), NonFiniteGuard(2)
    first.check(loss=1.0, grad_norm=2.0, lr=0.1, clip=None)
    first.check(loss=1.0, grad_norm=math.inf, lr=0.1, clip=None)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    with pytest.raises(TrainingError, match="the gradient norm was 2 and then"):
        second.check(loss=1.0, grad_norm=math.inf, lr=0.1, clip=None)


def test_message_of_a_divergence() -> None:
    guard = NonFiniteGuard(1)
    for norm in (1.0, 10.0, 250.0):
        guard.check(loss=2.0, grad_norm=norm, lr=0.5, clip=None)
    with pytest.raises(TrainingError) as caught:
        guard.check(loss=math.inf, grad_norm=math.nan, lr=0.5, clip=None)
    assert str(caught.value) == (
        "Training stopped: 1 step in a row gave no finite loss and gradient. Likely causes:\n"
        "- the gradient norm grew from 1 to 250 over the last 3 finite steps: lower optim.lr (this step "
        'used 0.5), or set clip.kind = "norm" (clip is off)\n'
        "- the loss itself is not finite (inf): the weights or the inputs are at fault\n"
        "  got:      loss inf, gradient norm nan\n"
        "  cure:     change one thing above and train again; training.max_nonfinite_steps says how many "
        "such steps are allowed"
    )


@pytest.mark.parametrize(
    ("clip", "advice"),
    [
        (NormClip(max_norm=5.0), "lower clip.max_norm (now 5)"),
        (ValueClip(max_value=2.0), 'set clip.kind = "norm" (now "value", max_value 2)'),
        (PercentileClip(percentile=95.0), "lower clip.percentile (now 95)"),
    ],
)
def test_advice_fits_the_clip_setting(clip: ClipOptions, advice: str) -> None:
    causes = likely_causes(NonFiniteFacts(1.0, math.inf, 0.1, clip, (1.0, 1.1)))
    assert advice in causes[0]
    assert causes[1] == "the loss is still finite (1): only the gradient overflows"


def test_never_finite_points_at_the_inputs() -> None:
    causes = likely_causes(NonFiniteFacts(math.nan, math.nan, 0.1, NormClip(), ()))
    assert "look for non-finite weights or inputs" in causes[0]
