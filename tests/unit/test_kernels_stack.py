"""Trained layers made ready for prediction: compiled against numpy, low precision, streaming, threads."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from grunlock.errors import KernelError, ShapeError
from grunlock.kernels.dispatch import gru_stack, lstm_stack
from grunlock.kernels.library import native_library, use_kernel
from grunlock.kernels.native_lstm_stack import NativeLstmStack
from grunlock.kernels.native_stack import NativeGruStack
from grunlock.kernels.portable_stack import PortableStack
from grunlock.kernels.stack import DirectionWeights, LayerWeights, RecurrentStack
from grunlock.shapes import FloatArray, pack_layout

NO_LIBRARY = "the package was installed without its compiled kernels, or GRUNLOCK_KERNEL=reference"


def draw_layer(
    rng: np.random.Generator,
    input_size: int,
    hidden_size: int,
    *,
    directions: int = 1,
    reset_after: bool = True,
    norm: bool = False,
    zoneout: float = 0.0,
    gates: int = 3,
) -> LayerWeights:
    def draw(*shape: int) -> FloatArray:
        return rng.uniform(-1, 1, shape).astype(np.float32) / np.float32(np.sqrt(hidden_size))

    def direction() -> DirectionWeights:
        size = gates * hidden_size
        gains = (1 + draw(size), 1 + draw(size)) if norm else (None, None)
        return DirectionWeights(
            draw(size, input_size),
            draw(size, hidden_size),
            draw(size),
            draw(size),
            *gains,
        )

    return LayerWeights(tuple(direction() for _ in range(directions)), reset_after, zoneout)


@pytest.fixture
def native() -> type[NativeGruStack]:
    if native_library() is None:
        pytest.skip(NO_LIBRARY)
    return NativeGruStack


def every_instruction_set() -> list[str]:
    library = native_library()
    return [] if library is None else [s.name for s in library.instruction_sets if s.compiled and s.supported]


CASES = {
    "plain": {},
    "bidirectional": {"directions": 2},
    "reset_before": {"reset_after": False},
    "norm": {"norm": True},
    "zoneout": {"zoneout": 0.3},
    "all": {"directions": 2, "reset_after": False, "norm": True, "zoneout": 0.2},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("indexed", [False, True])
def test_compiled_stacks_agree_with_numpy(native: type[NativeGruStack], case: str, indexed: bool) -> None:
    rng = np.random.default_rng(1)
    options = CASES[case]
    width = 19 * options.get("directions", 1)
    layers = [draw_layer(rng, 11, 19, **options), draw_layer(rng, width, 33, **options)]
    layout = pack_layout(np.array([7, 1, 4, 7, 2]))
    index = rng.integers(0, 6, layout.num_rows) if indexed else None
    rows = rng.standard_normal((6 if indexed else layout.num_rows, 11)).astype(np.float32)
    expected = PortableStack(layers, "gru").run(rows, index, layout.batch_sizes)
    try:
        for name in every_instruction_set():
            use_kernel(name)
            library = native_library()
            assert library is not None
            found = native(library, layers).run(rows, index, layout.batch_sizes)
            for ours, theirs in zip(found, expected, strict=True):
                np.testing.assert_allclose(ours, theirs, atol=3e-6, err_msg=name)
    finally:
        use_kernel(None)


@pytest.mark.parametrize("case", ["plain", "bidirectional", "norm", "zoneout"])
@pytest.mark.parametrize("indexed", [False, True])
def test_compiled_lstm_stacks_agree_with_numpy(case: str, indexed: bool) -> None:
    rng = np.random.default_rng(5)
    options = {**CASES[case], "gates": 4}
    width = 19 * options.get("directions", 1)
    layers = [draw_layer(rng, 11, 19, **options), draw_layer(rng, width, 33, **options)]
    layout = pack_layout(np.array([7, 1, 4, 7, 2]))
    index = rng.integers(0, 6, layout.num_rows) if indexed else None
    rows = rng.standard_normal((6 if indexed else layout.num_rows, 11)).astype(np.float32)
    expected = PortableStack(layers, "lstm").run(rows, index, layout.batch_sizes)
    near = 6e-2 if case == "norm" else 2e-2  # norms bring small gates to size 1, their rounding with them
    try:
        for name in every_instruction_set():
            use_kernel(name)
            stack = lstm_stack(layers)
            assert isinstance(stack, NativeLstmStack)
            for ours, theirs in zip(stack.run(rows, index, layout.batch_sizes), expected, strict=True):
                np.testing.assert_allclose(ours, theirs, atol=3e-6, err_msg=name)
            rounded, _ = lstm_stack(layers, "bfloat16").run(rows, index, layout.batch_sizes)
            assert 1e-5 < np.abs(rounded - expected[0]).max() < near
    finally:
        use_kernel(None)


@pytest.mark.parametrize("lengths", [[30], [9, 3, 3, 1], [5] * 40])
def test_low_precision_stays_near(native: type[NativeGruStack], lengths: list[int]) -> None:
    """bfloat16 keeps 8 bits of an operand, int8 has 127 steps to the largest entry of a row."""
    rng = np.random.default_rng(2)
    layers = [draw_layer(rng, 48, 64, directions=2), draw_layer(rng, 128, 32)]
    layout = pack_layout(np.array(lengths))
    rows = rng.standard_normal((layout.num_rows, 48)).astype(np.float32)
    library = native_library()
    assert library is not None
    exact, _ = native(library, layers).run(rows, None, layout.batch_sizes)
    distance = {}
    for precision in ("bfloat16", "int8"):
        results = []
        try:
            for name in every_instruction_set():
                use_kernel(name)
                stack = native(library, layers, precision)
                results.append(stack.run(rows, None, layout.batch_sizes)[0])
        finally:
            use_kernel(None)
        for other in results[1:]:  # operands are rounded alike on every instruction set, sums nearly so
            np.testing.assert_allclose(results[0], other, atol=2e-2)
        distance[precision] = float(np.abs(results[-1] - exact).max())
    assert 1e-5 < distance["bfloat16"] < 2e-2
    assert 1e-5 < distance["int8"] < 4e-2


def test_int8_products_are_exact_sums_of_whole_numbers(native: type[NativeGruStack]) -> None:
    """With weights and inputs that int8 holds exactly, the first step's gates are exact."""
    rng = np.random.default_rng(3)
    weight = rng.integers(-127, 128, (3 * 17, 21)).astype(np.float32) / 127
    weight[:, 0] = 1.0  # every row's largest entry
    zeros = np.zeros(3 * 17, np.float32)
    layer = LayerWeights(
        (DirectionWeights(weight, np.zeros((3 * 17, 17), np.float32), zeros, zeros),),
    )
    rows = rng.integers(-127, 128, (6, 21)).astype(np.float32) / 127
    rows[:, 1] = 1.0
    library = native_library()
    assert library is not None
    sizes = np.array([6])
    exact, _ = native(library, [layer]).run(rows, None, sizes)
    rounded, _ = native(library, [layer], "int8").run(rows, None, sizes)
    np.testing.assert_allclose(rounded, exact, atol=2e-6)


CELLS = {"gru": 3, "lstm": 4}


@pytest.fixture(params=["compiled", "numpy"])
def kernel(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "compiled" and native_library() is None:
        pytest.skip(NO_LIBRARY)
    use_kernel("reference" if request.param == "numpy" else None)
    yield
    use_kernel(None)


def stack_of(cell: str, layers: list[LayerWeights]) -> RecurrentStack:
    return gru_stack(layers) if cell == "gru" else lstm_stack(layers)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("cell", CELLS)
def test_streaming_one_step_at_a_time_is_the_whole_run(cell: str) -> None:
    rng = np.random.default_rng(4)
    gates = CELLS[cell]
    layers = [draw_layer(rng, 5, 24, gates=gates), draw_layer(rng, 24, 8, zoneout=0.1, gates=gates)]
    rows = rng.standard_normal((12, 3, 5)).astype(np.float32)  # steps, sequences
    whole, final = stack_of(cell, layers).run(rows.reshape(36, 5), None, np.full(12, 3))
    single = [stack_of(cell, [layer]) for layer in layers]
    states = [
        np.zeros((one.num_states, 3, size), np.float32) for one, size in zip(single, (24, 8), strict=True)
    ]
    steps = []
    for step in rows:
        for one, state in zip(single, states, strict=True):
            step = one.advance(step, np.array([3]), state)
        steps.append(step)
    np.testing.assert_allclose(np.concatenate(steps), whole, atol=2e-6)
    np.testing.assert_allclose(states[-1][0], final, atol=2e-6)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("cell", CELLS)
def test_a_stack_of_equal_layers_carries_all_its_states(cell: str) -> None:
    rng = np.random.default_rng(5)
    layers = [draw_layer(rng, 16, 16, gates=CELLS[cell]), draw_layer(rng, 16, 16, gates=CELLS[cell])]
    rows = rng.standard_normal((6, 16)).astype(np.float32)
    stack = stack_of(cell, layers)
    whole, _ = stack.run(rows, None, np.ones(6, np.int64))
    states = np.zeros((stack.num_states, 1, 16), np.float32)
    steps = [stack.advance(row[None], np.array([1]), states) for row in rows]
    np.testing.assert_allclose(np.concatenate(steps), whole, atol=2e-6)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("cell", CELLS)
def test_both_directions_go_on_from_states_of_their_own(cell: str) -> None:
    """Forward from what came before, backward from what came after; the same in numpy and compiled."""
    rng = np.random.default_rng(8)
    layers = [draw_layer(rng, 7, 9, directions=2, gates=CELLS[cell])]
    rows = rng.standard_normal((10, 7)).astype(np.float32)
    stack, numpy = stack_of(cell, layers), PortableStack(layers, "gru" if cell == "gru" else "lstm")
    states = rng.uniform(-1, 1, (stack.num_states, 2, 9)).astype(np.float32)
    expected = states.copy()
    sizes = np.full(5, 2)
    np.testing.assert_allclose(
        stack.advance(rows, sizes, states), numpy.advance(rows, sizes, expected), atol=2e-6
    )
    np.testing.assert_allclose(states, expected, atol=2e-6)


def test_many_threads_predict_at_once() -> None:
    rng = np.random.default_rng(6)
    stack = gru_stack([draw_layer(rng, 32, 48, directions=2)])
    problems = [rng.standard_normal((40 * size, 32)).astype(np.float32) for size in range(1, 9)]
    alone = [stack.run(rows, None, np.full(40, len(rows) // 40)) for rows in problems]
    with ThreadPoolExecutor(8) as pool:
        together = list(
            pool.map(lambda rows: stack.run(rows, None, np.full(40, len(rows) // 40)), problems * 5)
        )
    for i, (output, final) in enumerate(together):
        np.testing.assert_array_equal(output, alone[i % 8][0])
        np.testing.assert_array_equal(final, alone[i % 8][1])


def test_errors(native: type[NativeGruStack], monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    library = native_library()
    assert library is not None
    layer = draw_layer(rng, 4, 4, norm=True)
    with pytest.raises(KernelError, match="int8 is there for GRU layers with reset_after and without norms"):
        native(library, [layer], "int8")
    with pytest.raises(ShapeError, match="index names rows that are not there"):
        gru_stack([replace(layer)]).run(np.zeros((2, 4), np.float32), np.array([0, 2]), np.array([2]))
    with pytest.raises(KernelError, match="int8 is for GRU layers"):
        lstm_stack([layer], "int8")
    try:
        use_kernel("reference")
        with pytest.raises(KernelError, match="Without the compiled kernels predictions are made in float32"):
            gru_stack([layer], "int8")
    finally:
        use_kernel(None)
