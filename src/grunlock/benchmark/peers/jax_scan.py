"""The GRU written in JAX as one would write it: the input projected at once, then lax.scan, all compiled."""

from collections.abc import Mapping
from typing import Any

import jax  # type: ignore[import-not-found, unused-ignore]
import jaxlib  # type: ignore[import-not-found, unused-ignore]
import numpy as np
from jax import lax  # type: ignore[import-not-found, unused-ignore]
from jax import numpy as jnp

from grunlock.benchmark.arrays import Array, draw_batches, draw_weights
from grunlock.benchmark.cases import Case, Contender
from grunlock.benchmark.timing import Prepared, UnsupportedError


def start(threads: int) -> dict[str, str]:
    """XLA takes its threads from the CPUs the process may use, which are as many as `threads`."""
    jax.config.update("jax_platforms", "cpu")
    jax.devices()
    return {"jax": jax.__version__, "jaxlib": jaxlib.__version__}


def prepare(case: Case, contender: Contender) -> Prepared:
    masked = contender.state_dropout or contender.zoneout or contender.weight_dropout
    if case.lengths is not None or masked or contender.layer_norm or contender.precision != "float32":
        raise UnsupportedError("the JAX scan is measured on padded float32 without masks")
    batch = draw_batches(case)[0]
    weights = {name: jnp.asarray(value) for name, value in draw_weights(case).items()}
    inputs, cotangent = jnp.asarray(batch.inputs), jnp.asarray(batch.cotangent)
    work = jax.jit(_gradients if case.mode == "training" else _forward)

    def call() -> Any:
        return jax.block_until_ready(work(weights, inputs, cotangent))

    def check() -> Mapping[str, Array]:
        output, *gradients = call()
        found = {"output": np.asarray(output).reshape(-1, case.hidden_size)}
        if gradients:
            for_weights, for_inputs = gradients
            found["grad_input"] = np.asarray(for_inputs).reshape(-1, case.input_size)
            found |= {f"grad_{name}": np.asarray(value) for name, value in for_weights.items()}
        return found

    return Prepared(call, check)


def gru(weights: Mapping[str, Any], rows: Any) -> Any:
    """[T, B, D] to [T, B, H] of the last layer; torch's weights and equations."""
    for k in range(len(weights) // 4):
        w_hh, b_hh = weights[f"weight_hh_l{k}"], weights[f"bias_hh_l{k}"]

        def step(h: Any, x: Any, w_hh: Any = w_hh, b_hh: Any = b_hh) -> tuple[Any, Any]:
            x_r, x_z, x_n = jnp.split(x, 3, axis=1)
            a_r, a_z, a_n = jnp.split(h @ w_hh.T + b_hh, 3, axis=1)
            r, z = jax.nn.sigmoid(x_r + a_r), jax.nn.sigmoid(x_z + a_z)
            n = jnp.tanh(x_n + r * a_n)
            h = (1 - z) * n + z * h
            return h, h

        input_gates = rows @ weights[f"weight_ih_l{k}"].T + weights[f"bias_ih_l{k}"]  # [T, B, 3H]
        h0 = jnp.zeros((rows.shape[1], w_hh.shape[1]), rows.dtype)
        _, rows = lax.scan(step, h0, input_gates)
    return rows


def _forward(weights: Any, inputs: Any, cotangent: Any) -> tuple[Any, ...]:
    return (gru(weights, inputs),)


def _gradients(weights: Any, inputs: Any, cotangent: Any) -> tuple[Any, ...]:
    output, backward = jax.vjp(gru, weights, inputs)
    return (output, *backward(cotangent))
