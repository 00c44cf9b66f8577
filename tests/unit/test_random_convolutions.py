"""Random convolutions of series: against their definition, and what a linear model makes of them."""

import numpy as np
import pytest

from grunlock.comparison.random_convolutions import RandomConvolutions, series_baseline


def series(rng: np.random.Generator, *lengths: int, channels: int = 2) -> list[np.ndarray]:
    return [rng.normal(size=(n, channels)).astype(np.float32) for n in lengths]


def by_hand(values: np.ndarray, weights: np.ndarray, bias: float, dilation: int, padded: bool) -> list[float]:
    """Largest value and share of positive ones. values: [T, F], weights: [F, length]."""
    length, reach = weights.shape[1], (weights.shape[1] - 1) // 2 * dilation
    steps = range(len(values)) if padded else range(reach, len(values) - reach)
    found = [
        bias
        + sum(
            weights[:, k] @ values[place]
            for k in range(length)
            if 0 <= (place := t + (k - length // 2) * dilation) < len(values)
        )
        for t in steps or range(len(values))  # a kernel longer than the series is padded
    ]
    return [max(found), float(np.mean(np.array(found) > 0))]


def test_features_are_those_of_the_paper() -> None:
    rng = np.random.default_rng(0)
    some = series(rng, 40, 9, 25, 3)
    model = RandomConvolutions(seed=1, num_kernels=30).fit(some)
    found = model.transform(some)
    assert found.shape == (4, 60)
    assert len({kernels.dilation for kernels in model.kernels_}) > 1
    start = 0
    for kernels in model.kernels_:
        size = len(kernels.biases)
        for k in range(size):
            weights = kernels.weights[k].numpy()
            for i, values in enumerate(some):
                expected = by_hand(
                    values, weights, float(kernels.biases[k]), kernels.dilation, bool(kernels.padded[k])
                )
                assert found[i, [start + k, start + size + k]] == pytest.approx(expected, abs=1e-4)
        start += 2 * size


def test_kernels_are_centred_and_read_some_channels() -> None:
    model = RandomConvolutions(num_kernels=200).fit(series(np.random.default_rng(0), 50, channels=5))
    weights = np.concatenate([k.weights.numpy().sum(axis=2) for k in model.kernels_])
    np.testing.assert_allclose(weights, 0, atol=1e-5)
    read = np.concatenate([k.weights.numpy().any(axis=2).sum(axis=1) for k in model.kernels_])
    assert set(read) <= {1, 2, 3, 4, 5}
    assert len(set(read)) > 2


def test_the_neighbours_in_a_batch_do_not_matter() -> None:
    some = series(np.random.default_rng(0), 40, 8, 12)
    model = RandomConvolutions(num_kernels=20).fit(some)
    alone = np.concatenate([model.transform([each]) for each in some])
    np.testing.assert_allclose(model.transform(some), alone, atol=1e-5)


def test_a_linear_model_on_them_tells_rhythms_apart() -> None:
    rng = np.random.default_rng(0)
    classes = np.arange(60) % 2
    some = [
        (np.sin(np.arange(n) * (0.5 + 0.3 * label) + rng.uniform(0, 6)) + rng.normal(0, 0.3, n))[:, None]
        for n, label in zip(rng.integers(20, 40, 60), classes, strict=True)
    ]
    some = [each.astype(np.float32) for each in some]
    model = series_baseline().fit(some[:40], classes[:40])
    assert (model.predict(some[40:]) == classes[40:]).mean() > 0.9
