"""Record what Keras computes for a GRU, so that tests can compare without having Keras.

Run it with a Python that has Keras and TensorFlow (`pip install keras tensorflow-cpu`), from the root of
the repository:

    python benchmarks/keras_golden.py

It writes tests/parity/golden/keras_gru.npz, for every combination of

    form       reset_after, reset_before (Keras: reset_after=False)
    direction  unidirectional, bidirectional
    layers     1_layers, 2_layers, 3_layers
    dtype      float32, float64

on one ragged batch, right-padded and masked, with random weights, biases and initial states. Inputs are
stored once, as float32 numbers that float64 runs take unchanged. Keys (sizes are in `about`;
E = H, or 2H if bidirectional; everything is in Keras's own layout, gates in order z r h):

    about                                                     JSON: versions, seed, sizes
    lengths [B]   input [B, T, D]                             input is zero past each end
    {form}/{direction}/kernel_l{k} [D or E, 3H]               weights of layer k, shared by all numbers of
    {form}/{direction}/recurrent_kernel_l{k} [H, 3H]          layers; backward ones end in _l{k}_reverse
    {form}/{direction}/bias_l{k} [2, 3H] or [3H]              reset_before has one bias
    {direction}/h0 [3 * directions, B, H]                     L layers use the first L * directions
    {direction}/cotangent_output [B, T, E]                    zero past each end
    {direction}/cotangent_final [3 * directions, B, H]
    {form}/{direction}/{layers}/{dtype}/output [B, T, E]      zeroed past each end
    .../final [L * directions, B, H]                          state after each sequence's last real step
    .../grad_input, .../grad_h0, .../grad_kernel_l{k}, ...    gradients of sum(output * cotangent_output)
                                                              + sum(final * cotangent_final)
"""

import itertools
import json
import platform
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

TARGET = Path(__file__).parents[1] / "tests" / "parity" / "golden" / "keras_gru.npz"
SEED = 20
LENGTHS = [5, 7, 1, 5, 3]
D, H = 7, 5
MAX_LAYERS = 3
FORMS = {"reset_after": True, "reset_before": False}
DIRECTIONS = {"unidirectional": ("",), "bidirectional": ("", "_reverse")}
DTYPES = ("float32", "float64")

Arrays = dict[str, np.ndarray]


def draw(random: np.random.Generator, *shape: int, scale: float) -> np.ndarray:
    """Normal numbers rounded to multiples of 1/256: exact in float32 and small when compressed."""
    return (np.round(random.normal(size=shape) * scale * 256) / 256).astype(np.float32)


def draw_inputs() -> Arrays:
    random = np.random.default_rng(SEED)
    B, T = len(LENGTHS), max(LENGTHS)
    real = (np.arange(T) < np.array(LENGTHS)[:, None])[..., None]  # [B, T, 1]
    arrays: Arrays = {"lengths": np.array(LENGTHS), "input": draw(random, B, T, D, scale=1.0) * real}
    for direction, suffixes in DIRECTIONS.items():
        states = (MAX_LAYERS * len(suffixes), B, H)
        arrays[f"{direction}/h0"] = draw(random, *states, scale=0.5)
        arrays[f"{direction}/cotangent_final"] = draw(random, *states, scale=1.0)
        arrays[f"{direction}/cotangent_output"] = draw(random, B, T, H * len(suffixes), scale=1.0) * real
        for form, layer, suffix in itertools.product(FORMS, range(MAX_LAYERS), suffixes):
            width = D if layer == 0 else H * len(suffixes)
            bias = (2, 3 * H) if FORMS[form] else (3 * H,)
            sizes = {"kernel": (width, 3 * H), "recurrent_kernel": (H, 3 * H), "bias": bias}
            for name, size in sizes.items():
                arrays[f"{form}/{direction}/{name}_l{layer}{suffix}"] = draw(random, *size, scale=0.5)
    return arrays


def build_layer(form: str, direction: str, dtype: str) -> keras.Layer:
    layer = keras.layers.GRU(
        H,
        reset_after=FORMS[form],
        return_sequences=True,
        return_state=True,
        use_cudnn=False,
        dtype=dtype,
    )
    return keras.layers.Bidirectional(layer, dtype=dtype) if direction == "bidirectional" else layer


def record(given: Arrays, form: str, direction: str, num_layers: int, dtype: str) -> Arrays:
    """Values and gradients of one stack of layers."""
    suffixes = DIRECTIONS[direction]
    num_states = num_layers * len(suffixes)

    def tensor(key: str) -> tf.Tensor:
        return tf.constant(given[key].astype(dtype))

    inputs, h0 = tensor("input"), tensor(f"{direction}/h0")[:num_states]
    mask = tf.sequence_mask(given["lengths"])
    layers = [build_layer(form, direction, dtype) for _ in range(num_layers)]
    names: list[str] = []
    variables: list[tf.Variable] = []
    for k, layer in enumerate(layers):
        layer.build((None, None, D if k == 0 else H * len(suffixes)))
        ours = [f"{n}_l{k}{suffix}" for suffix in suffixes for n in ("kernel", "recurrent_kernel", "bias")]
        layer.set_weights([given[f"{form}/{direction}/{name}"].astype(dtype) for name in ours])
        names += ours
        variables += [weight.value for weight in layer.trainable_weights]

    with tf.GradientTape() as tape:
        tape.watch([inputs, h0])
        output, finals = inputs, []
        for k, layer in enumerate(layers):
            initial = [h0[k * len(suffixes) + i] for i in range(len(suffixes))]
            output, *states = layer(output, mask=mask, initial_state=initial)
            finals += states
        final = tf.stack(finals)
        output *= tf.cast(mask, dtype)[..., None]
        loss = tf.reduce_sum(output * tensor(f"{direction}/cotangent_output"))
        loss += tf.reduce_sum(final * tensor(f"{direction}/cotangent_final")[:num_states])
    gradients = tape.gradient(loss, [inputs, h0, *variables])
    recorded = {"output": output, "final": final}
    recorded |= {f"grad_{n}": g for n, g in zip(["input", "h0", *names], gradients, strict=True)}
    arrays = {name: np.asarray(value) for name, value in recorded.items()}
    for name, value in arrays.items():
        if value.dtype != dtype or not np.isfinite(value).all():
            raise ValueError(f"Keras gave a wrong {name}: dtype {value.dtype}, expected finite {dtype}.")
    return {f"{form}/{direction}/{num_layers}_layers/{dtype}/{n}": a for n, a in arrays.items()}


def main() -> None:
    about = {
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "seed": SEED,
        "input_size": D,
        "hidden_size": H,
        "max_layers": MAX_LAYERS,
    }
    arrays = draw_inputs()
    given = dict(arrays)
    for form, direction, dtype in itertools.product(FORMS, DIRECTIONS, DTYPES):
        for num_layers in range(1, MAX_LAYERS + 1):
            arrays |= record(given, form, direction, num_layers, dtype)
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(TARGET, about=np.array(json.dumps(about)), **arrays)
    print(f"{TARGET}: {len(arrays)} arrays, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
