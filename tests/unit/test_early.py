"""Early decisions: the rule by hand, temperatures of beginnings, the promise over many calibration splits."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from grunlock.artifact import Artifact
from grunlock.errors import CalibrationError, ShapeError
from grunlock.evaluation.early import SHARES, early_curve
from grunlock.objectives.conformal import smallest_kept
from grunlock.runtime.early import Temperatures, path_of, stopping_places
from grunlock.runtime.guarantees import Guarantees
from grunlock.runtime.probabilities import probabilities
from grunlock.training import early
from grunlock.training.early import early_thresholds, fit_step_temperatures
from grunlock.training.guarantees import CERTAINTY, MAX_ERRORS
from tests.conftest import one_in
from tests.unit.streamed_models import FORWARD, TEXT, text_classifier
from tests.unit.test_runtime_guarantees import GUARANTEES

DRAWS, EXAMPLES = 250, 400


# ---- the rule --------------------------------------------------------------------------------------


def test_temperatures_lie_on_lines_between_powers_of_two() -> None:
    found = Temperatures(1.5, (8.0, 4.0, 1.0)).after(np.array([1, 2, 3, 4, 5, 1000]))
    between = np.exp(np.interp(np.log2(3), [1, 2], np.log([4, 1])))
    np.testing.assert_allclose(found, [8, 4, between, 1, 1, 1], rtol=1e-6)
    np.testing.assert_allclose(Temperatures(1.5).after(np.array([1, 7])), [1.5, 1.5])


def test_a_path_by_hand() -> None:
    logits = np.log(np.array([[0.6, 0.4], [0.3, 0.7], [0.9, 0.1]], np.float32))
    confidence, labels = path_of(logits, Temperatures(1.0, (1.0, 1.0)))
    np.testing.assert_allclose(confidence, [0.6, 0.7, 0.9, 0.9], rtol=1e-6)
    assert labels.tolist() == [0, 1, 0, 0]
    confidence, _ = path_of(logits, Temperatures(0.5, (2.0,)))
    np.testing.assert_allclose(
        confidence[2:], [0.75, 81 / 82], rtol=1e-6
    )  # the end has a temperature of its own


def test_stopping_is_at_the_first_place_that_reaches_the_threshold() -> None:
    confidence = np.array([0.6, 0.8, 0.7, 0.9])
    assert stopping_places(confidence, np.array([0.95, 0.9, 0.8, 0.75, 0.6, 0.0])).tolist() == [
        4,
        3,
        1,
        1,
        0,
        0,
    ]


@pytest.mark.parametrize("whole", [0.2, 1.0])
def test_a_stream_stops_where_the_path_says(whole: float) -> None:
    classifier = text_classifier(FORWARD, "wide.training=apart", "wide.buckets=64", "wide.characters=true")
    begun = (3.0, 2.0, 1.0)
    path = classifier.prefix_logits([TEXT])[0]
    confidence, labels = path_of(path, Temperatures(whole, begun))
    places = set()
    for threshold in np.quantile(confidence, np.linspace(0, 1, 7)) - 1e-5:
        guarantees = replace(GUARANTEES, temperature=whole, early={0.05: float(threshold)})
        model = replace(classifier, guarantees=guarantees, step_temperatures=begun)
        expected = int(stopping_places(confidence, np.array([threshold]))[0])
        for size in (1, 7, len(TEXT)):
            stream = model.stream(max_error=0.05)
            for start in range(0, len(TEXT), size):
                stream.feed(TEXT[start : start + size])
                assert stream.decided == (stream.answer is not None) == (stream.decided_at is not None)
            stream.finish()
            assert stream.decided
            assert stream.decided_at == min(expected + 1, len(path))
            assert stream.answer == model.labels[labels[expected]]
        places.add(expected)
    assert len(places) > 2
    assert (len(path) in places) == (whole == 0.2)  # sure only once it knows that this is the end


def test_a_decision_stands_and_a_stream_may_end_without_one() -> None:
    classifier = text_classifier(FORWARD)
    sure = replace(GUARANTEES, early={0.05: 0.0, 0.1: 1.1, 0.01: None})
    model = replace(classifier, guarantees=sure)
    stream = model.stream(max_error=0.05)
    stream.feed("the")
    assert not stream.decided  # the word may go on
    stream.feed(" cat sat")
    answer = model.predict(["the"])[0]
    assert (stream.answer, stream.decided_at) == (answer, 1)
    stream.feed(" on the mat and a zebra unlocks the gate ")
    stream.finish()
    assert (stream.answer, stream.decided_at) == (answer, 1)
    stream = model.stream(max_error=0.1)
    stream.feed(TEXT)
    stream.finish()
    assert (stream.answer, stream.decided_at, stream.decided) == (None, None, False)
    assert stream.label == model.predict([TEXT])[0]
    stream = model.stream(max_error=0.05)
    stream.finish()
    assert not stream.decided  # an empty text of a model that does not know them


def test_what_cannot_be_decided_early_is_refused() -> None:
    classifier = text_classifier(FORWARD)
    with pytest.raises(CalibrationError, match="without a calibration split"):
        classifier.stream(max_error=0.05)
    with pytest.raises(CalibrationError, match=r"not calibrated for early decisions(.|\n)*train again"):
        replace(classifier, guarantees=GUARANTEES).stream(max_error=0.05)
    model = replace(classifier, guarantees=replace(GUARANTEES, early={0.05: 0.9, 0.01: None}))
    with pytest.raises(
        CalibrationError, match=r"0.01 when it decides early(.|\n)*at least 459(.|\n)*one of: 0.05"
    ):
        model.stream(max_error=0.01)
    with pytest.raises(CalibrationError, match=r"this error rate(.|\n)*0.05, 0.01"):
        model.stream(max_error=0.3)
    assert model.stream().decided is False


def test_the_outlook_goes_by_the_steps_read() -> None:
    model = replace(text_classifier(FORWARD), step_temperatures=(9.0, 3.0))
    stream = model.stream()
    for text, temperature in (("the ", 9.0), ("ca", 3.0), ("t on", 3.0)):
        stream.feed(text)
        np.testing.assert_allclose(
            stream.outlook, probabilities(stream.logits[None], temperature)[0], rtol=1e-6
        )
    stream.finish()
    np.testing.assert_array_equal(stream.outlook, stream.probabilities)
    stream = text_classifier(FORWARD).stream()
    stream.feed("the cat")
    np.testing.assert_array_equal(stream.outlook, stream.probabilities)  # nothing is known of beginnings


def test_guarantees_keep_their_early_thresholds() -> None:
    for found in (None, {0.05: 0.9, 0.01: None}):
        guarantees = replace(GUARANTEES, early=found)
        assert Guarantees.from_dict(guarantees.to_dict()) == guarantees
    older = GUARANTEES.to_dict()
    del older["early"]
    assert Guarantees.from_dict(older) == GUARANTEES


# ---- temperatures and thresholds from examples -------------------------------------------------------


def drawn(
    rng: np.random.Generator, count: int, steps: int = 12, wrong: float = 0.01
) -> tuple[list[np.ndarray], np.ndarray]:
    """Paths of evidence for the target among four labels that grows with every step, as logits that are twice
    as sure as they should be; one target in a hundred is another one whatever is read."""
    targets = rng.integers(0, 4, count)
    shown = np.where(rng.random(count) < wrong, rng.integers(0, 4, count), targets)
    lengths = rng.integers(1, steps + 1, count)
    noise = rng.normal(0, 1, (count, steps, 4))
    noise[np.arange(count)[:, None], np.arange(steps), shown[:, None]] += 0.8
    logits = 2.0 * 0.8 * np.cumsum(noise, axis=1)
    return [path[:length].astype(np.float32) for path, length in zip(logits, lengths, strict=True)], targets


@pytest.fixture
def arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores of paths, which need no network."""
    monkeypatch.setattr(early, "split_paths", lambda network, store, most=None: enumerate(store.paths))


def store_of(paths: list[np.ndarray], targets: np.ndarray) -> SimpleNamespace:
    return SimpleNamespace(paths=paths, targets=targets)


def judged(
    paths: list[np.ndarray], targets: np.ndarray, threshold: float, temperatures: Temperatures
) -> float:
    """The share of wrong ones among the decided, example by example, step by step."""
    wrong = decided = 0
    for logits, target in zip(paths, targets, strict=True):
        ends = [
            *(
                (row, t)
                for row, t in zip(logits, temperatures.after(np.arange(1, len(logits) + 1)), strict=True)
            )
        ]
        for row, temperature in [*ends, (logits[-1], temperatures.whole)]:
            if probabilities(row[None], float(temperature)).max() >= threshold:
                decided += 1
                wrong += row.argmax() != target
                break
    return wrong / max(decided, 1)


@pytest.mark.usefixtures("arrays")
def test_temperatures_of_beginnings_are_found() -> None:
    def fitted(count: int) -> tuple[float, ...]:
        store = store_of(*drawn(np.random.default_rng(0), count, wrong=0.0))
        return fit_step_temperatures(None, store)  # type: ignore[arg-type]

    np.testing.assert_allclose(fitted(8000), [2.0] * 4, rtol=0.1)  # after 1, 2, 4, 8 steps
    assert len(fitted(60)) == 2  # 60 examples have a first step, more than 50 of them a second one
    assert fitted(49) == ()


@pytest.mark.usefixtures("arrays")
def test_the_promise_is_kept_over_many_calibration_splits() -> None:
    """And not by never deciding: of every rate that can be kept there are promises."""
    rng = np.random.default_rng(0)
    temperatures = Temperatures(2.2, (2.5, 2.0, 2.0, 2.1))
    many, many_targets = drawn(rng, 20_000)
    paths = [path_of(logits, temperatures) for logits in many]
    given = dict.fromkeys(MAX_ERRORS, 0)
    broken = dict.fromkeys(MAX_ERRORS, 0)
    errors: dict[float, float] = {}

    def error_of(threshold: float) -> float:
        if threshold not in errors:
            places = [int(stopping_places(confidence, np.array([threshold]))[0]) for confidence, _ in paths]
            right = [
                labels[place] == target
                for (_, labels), place, target in zip(paths, places, many_targets, strict=True)
                if place < len(labels)
            ]
            errors[threshold] = 1.0 - float(np.mean(right))
        return errors[threshold]

    for _ in range(DRAWS):
        store = store_of(*drawn(rng, EXAMPLES))
        found = early_thresholds(None, store, temperatures, MAX_ERRORS, CERTAINTY)  # type: ignore[arg-type]
        for rate, threshold in found.items():
            if threshold is not None:
                given[rate] += 1
                broken[rate] += error_of(threshold) > rate
    assert max(broken.values()) <= 0.05 * DRAWS + 2 * (0.05 * 0.95 * DRAWS) ** 0.5
    assert given[0.1] > 0.9 * DRAWS
    some = drawn(rng, 300)
    assert judged(*some, 0.8, temperatures) == pytest.approx(error_of(0.8), abs=0.05)


@pytest.mark.usefixtures("arrays")
@pytest.mark.parametrize(
    "mistake", one_in(2, ["answers are those at the end", "thresholds by their own error"])
)
def test_the_simulation_would_see_a_rule_that_promises_too_much(
    mistake: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    temperatures = Temperatures(2.2, (2.5, 2.0, 2.0, 2.1))
    if mistake.startswith("answers"):  # who is right in the end counts as right early

        def at_end(logits: np.ndarray, given: Temperatures) -> tuple[np.ndarray, np.ndarray]:
            confidence, labels = path_of(logits, given)
            return confidence, np.full_like(labels, labels[-1])

        monkeypatch.setattr(early, "path_of", at_end)
    else:  # what was seen instead of what can be promised

        def seen(
            answered: np.ndarray, wrong: np.ndarray, grid: np.ndarray, rate: float, _: float
        ) -> float | None:
            kept = grid[wrong <= rate * answered]
            return float(kept.min()) if len(kept) else None

        monkeypatch.setattr(early, "smallest_kept", seen)
    many = drawn(rng, 1500)
    broken = 0
    for _ in range(40):
        store = store_of(*drawn(rng, EXAMPLES))
        threshold = early_thresholds(None, store, temperatures, (0.2,), CERTAINTY)[0.2]  # type: ignore[arg-type]
        broken += threshold is not None and judged(*many, threshold, temperatures) > 0.2
    assert broken > 10


def test_the_worst_case_is_kept_too() -> None:
    """Every threshold errs a little more often than allowed, whoever it answers."""
    rng = np.random.default_rng(0)
    grid = 1.0 - 0.05 * 2.0 ** (np.arange(-32, 25) / 8)
    failures = 0
    for _ in range(1000):
        levels, wrong = rng.random(300), rng.random(300) < 0.0501
        answered = np.array([(levels >= threshold).sum() for threshold in grid])
        errors = np.array([(wrong & (levels >= threshold)).sum() for threshold in grid])
        failures += smallest_kept(answered, errors, grid, 0.05, 0.95) is not None
    assert 0 < failures <= 50 + 2 * (1000 * 0.05 * 0.95) ** 0.5


# ---- the curve -------------------------------------------------------------------------------------


def test_a_curve_by_hand(artifact: Artifact) -> None:
    even = np.zeros((10, 3), np.float32)
    late = even.copy()
    late[4:, 1] = 3.0  # sure of the second label from step 5 on
    wrong = even[:1] + np.array([0, 0, 2], np.float32)
    guarantees = replace(GUARANTEES, temperature=1.0, early={0.05: 0.9, 0.1: 0.7, 0.01: None})
    model = replace(artifact, temperature=1.0, guarantees=guarantees, step_temperatures=(2.0,))
    found = early_curve(model, [(late, 1), (late, 0), (wrong, 0), (even, 0)])
    assert [row.share for row in found.shares] == list(SHARES)
    assert [row.accuracy for row in found.shares] == [0.5] * 4 + [0.5] * 6
    assert (found.num_examples, found.mean_steps) == (4, 31 / 4)
    of_late, of_wrong = np.log(np.exp(1.5) + 2), np.log(np.exp(1.0) + 2)  # at temperature 2
    assert found.shares[4].nll == pytest.approx((2 * of_late - 1.5 + of_wrong + np.log(3)) / 4, rel=1e-5)
    plain = 2 * np.log(np.exp(3) + 2) - 3 + np.log(np.exp(2) + 2) + np.log(3)
    assert found.shares[4].plain_nll == found.shares[9].nll == pytest.approx(plain / 4, rel=1e-5)
    strict, loose, none = found.decisions
    # At 0.9 only the whole is sure enough: e^3 / (e^3 + 2) = 0.909; at 0.7 also the other: e^2 / (e^2 + 2).
    assert (strict.decided_fraction, strict.error, strict.share_read) == (0.5, 0.5, 1.0)
    assert (loose.decided_fraction, loose.error, loose.share_read) == (0.75, pytest.approx(2 / 3), 1.0)
    begun = early_curve(replace(model, step_temperatures=(1.0,)), [(late, 1), (even, 0)]).decisions[0]
    assert (begun.decided_fraction, begun.error, begun.share_read) == (0.5, 0.0, 0.75)
    assert (none.max_error, none.can_promise, none.error, none.share_read) == (0.01, False, None, 1.0)
    assert early_curve(replace(model, guarantees=None), [(late, 1)]).decisions == ()
    with pytest.raises(ShapeError, match="nothing to evaluate"):
        early_curve(model, [])
