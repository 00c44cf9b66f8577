"""keras.layers.GRU on TensorFlow, in a traced function, with and without XLA's compiler."""

from collections.abc import Mapping
from typing import Any

import keras  # type: ignore[import-not-found, unused-ignore]
import numpy as np
import tensorflow as tf  # type: ignore[import-not-found, import-untyped, unused-ignore]

from grunlock.benchmark.arrays import Array, draw_batches, draw_weights, swap_reset_update
from grunlock.benchmark.cases import Case, Contender
from grunlock.benchmark.timing import Prepared, UnsupportedError

CONVERTED = ("weight_ih", "weight_hh", "bias")


def start(threads: int) -> dict[str, str]:
    if keras.backend.backend() != "tensorflow":
        raise ImportError(f"Keras runs on {keras.backend.backend()} here, not on TensorFlow")
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    return {"keras": keras.__version__, "tensorflow": tf.__version__}


def prepare(case: Case, contender: Contender) -> Prepared:
    unsupported = contender.zoneout or contender.weight_dropout or contender.layer_norm
    if case.lengths is not None or unsupported or contender.precision != "float32":
        raise UnsupportedError("Keras is measured on padded float32 with recurrent dropout at most")
    layers = _layers(case, contender.state_dropout)
    batch = draw_batches(case)[0]
    inputs = tf.constant(batch.inputs.transpose(1, 0, 2))  # [B, T, D], its own layout
    cotangent = tf.constant(batch.cotangent.transpose(1, 0, 2))
    work = _gradients if case.mode == "training" else _output
    compiled = contender.form == "compiled"

    def traced(training: bool) -> Any:
        def function(inputs: Any, cotangent: Any) -> Any:
            return work(layers, inputs, cotangent, training)

        return tf.function(function, jit_compile=compiled)

    timed, checked = traced(case.mode == "training"), traced(False)
    return Prepared(
        lambda: timed(inputs, cotangent),
        lambda: _as_torch(case, [value.numpy() for value in checked(inputs, cotangent)]),
    )


def _layers(case: Case, state_dropout: float) -> list[Any]:
    weights, layers = draw_weights(case), []
    for k in range(case.num_layers):
        layer = keras.layers.GRU(case.hidden_size, return_sequences=True, recurrent_dropout=state_dropout)
        layer.build((None, None, case.hidden_size if k else case.input_size))
        biases = [swap_reset_update(weights[f"{name}_l{k}"]) for name in ("bias_ih", "bias_hh")]
        matrices = [swap_reset_update(weights[f"{name}_l{k}"]).T for name in ("weight_ih", "weight_hh")]
        layer.set_weights([*matrices, np.stack(biases)])
        layers.append(layer)
    return layers


def _output(layers: list[Any], inputs: Any, cotangent: Any, training: bool) -> tuple[Any, ...]:
    for layer in layers:
        inputs = layer(inputs, training=training)
    return (inputs,)


def _gradients(layers: list[Any], inputs: Any, cotangent: Any, training: bool) -> tuple[Any, ...]:
    """Output, then gradients for the input and every weight."""
    variables = [weight.value for layer in layers for weight in layer.trainable_weights]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        (output,) = _output(layers, inputs, cotangent, training)
    return (output, *tape.gradient(output, [inputs, *variables], output_gradients=cotangent))


def _as_torch(case: Case, values: list[Array]) -> Mapping[str, Array]:
    """Names and layouts of torch.nn.GRU, rows [T * B, .] time-major."""
    rows = [value.transpose(1, 0, 2).reshape(-1, value.shape[2]) for value in values[:2]]
    found = dict(zip(("output", "grad_input"), rows, strict=False))
    for index, value in enumerate(values[2:]):
        k, name = index // len(CONVERTED), CONVERTED[index % len(CONVERTED)]
        if name == "bias":
            for part, gradient in zip(("ih", "hh"), value, strict=True):
                found[f"grad_bias_{part}_l{k}"] = swap_reset_update(gradient)
        else:
            found[f"grad_{name}_l{k}"] = swap_reset_update(value.T)
    return found
