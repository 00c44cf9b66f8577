"""Faults that weights show by themselves. Each check is a pure function of the description."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from grunlock.doctor.findings import Finding
from grunlock.doctor.foreign import ForeignModel, GruLayer
from grunlock.doctor.gates import DirectionActivity
from grunlock.kernels.stack import DirectionWeights
from grunlock.shapes import FloatArray

FROZEN, EMPTY = 0.98, 0.02  # an update gate that never leaves these bounds writes nothing, or keeps nothing
CONSTANT = 1e-4  # standard deviation of a state that says nothing
MANY = 0.1  # share of units from which it is a warning
MOST = 0.5  # and from which it is a fault
GROWS, EXPLODES = 1.02, 1.1  # per step: over 100 steps 7 and 14,000 times
BLOCK_GAP = 0.5  # between means inside and outside of a block of LSTM's forget bias
BLOCK_ERRORS = 6.0  # standard errors that the gap must be as well
LEAST_UNITS = 8
ZERO_ROWS_SHARE = 0.05
LEAST_NUMBERS = 1000
HEAD_CURE = "train again with a smaller rate and class weights: --set loss.class_weights=balanced"


def arrays_of(model: ForeignModel) -> Iterator[tuple[str, FloatArray]]:
    """Every array with the name of its part."""
    if model.embedding is not None:
        yield model.embedding.name, model.embedding.weight
    for layer in model.layers:
        for i, direction in enumerate(layer.directions):
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                yield f"{layer.name}{', backward' if i else ''}, {name}", getattr(direction, name)
    for norm in model.norms:
        yield f"{norm.name}, gain", norm.gain
        yield f"{norm.name}, shift", norm.shift
    for dense in model.head:
        yield f"{dense.name}, weight", dense.weight
        yield f"{dense.name}, bias", dense.bias


def non_finite(model: ForeignModel) -> list[Finding]:
    bad = {name: int((~np.isfinite(array)).sum()) for name, array in arrays_of(model)}
    bad = {name: count for name, count in bad.items() if count}
    if not bad:
        return []
    shown = ", ".join(f"{count:,} in {name}" for name, count in list(bad.items())[:4])
    return [
        Finding(
            "non_finite_weights",
            "fault",
            "Weights are inf or nan.",
            ", ".join(list(bad)[:4]),
            f"{shown}",
            "Every answer that touches them is nan; training went on after its loss had exploded.",
            "train again from the last sound checkpoint, with gradient clipping: "
            "torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)",
        )
    ]


def lstm_initialisation(model: ForeignModel) -> list[Finding]:
    """A block of forget biases at n/4 to n/2, where an LSTM has its forget gate. A GRU has 3H biases, so the
    block covers the last quarter of reset and the first half of update."""
    found = []
    for layer, i, direction in _directions(model):
        gap = (
            _block_gap(direction.bias_ih, layer.hidden_size),
            _block_gap(direction.bias_hh, layer.hidden_size),
        )
        gaps = [g for g in gap if g is not None]
        if gaps and layer.hidden_size >= LEAST_UNITS:
            inside, outside = max(gaps, key=lambda g: g[0] - g[1])
            size = 3 * layer.hidden_size
            found.append(
                Finding(
                    "lstm_initialisation",
                    "fault",
                    "The biases were initialised as an LSTM's.",
                    f"{layer.name}{', backward' if i else ''}, biases {size // 4} to {size // 2 - 1} of "
                    f"{size}",
                    f"mean {inside:.2f} there, {outside:.2f} in the rest of the reset and update gates",
                    "A quarter of the reset gates and half of the update gates start open and the others "
                    "do not; units of one layer remember differently for no reason of the data.",
                    "initialise whole gates: with torch.no_grad(): gru.bias_hh_l0[H:2*H] = 1  (update, z "
                    "= 1 keeps)",
                    "tsai, RNNPlus._weights_init: bias_ih[n/4:n/2] = 1 for the GRU too",
                )
            )
    return found


def _block_gap(bias: FloatArray, hidden: int) -> tuple[float, float] | None:
    """Means inside and outside of the block, if both of its parts stand out."""
    start, end = 3 * hidden // 4, 3 * hidden // 2
    pairs = ((bias[start:hidden], bias[:start]), (bias[hidden:end], bias[end : 2 * hidden]))
    for inside, outside in pairs:
        if len(inside) < 2 or len(outside) < 2:
            return None
        error = np.sqrt(inside.var() / len(inside) + outside.var() / len(outside)) + 1e-9
        gap = inside.mean() - outside.mean()
        if not (gap > BLOCK_GAP and gap > BLOCK_ERRORS * error):
            return None
    rest = np.concatenate([bias[:start], bias[end : 2 * hidden]])
    return float(bias[start:end].mean()), float(rest.mean())


def units(activity: list[DirectionActivity]) -> list[Finding]:
    """Dead units, and update gates that stand still."""
    found = []
    for each in activity:
        where = f"{each.layer}{', backward' if each.reverse else ''}"
        frozen = each.update_range[0] > FROZEN
        dead = (each.spread < CONSTANT) & ~frozen
        found += _unit_finding(
            "dead_units",
            dead,
            where,
            "Units give the same number whatever they read.",
            f"standard deviation of the state below {CONSTANT:g} on random texts",
            "They take time and weights and say nothing.",
            "train again with a smaller encoder.hidden_size, or with a smaller learning rate",
        )
        found += _unit_finding(
            "frozen_units",
            frozen,
            where,
            "Update gates never let anything in.",
            f"z between {_span(each, frozen)} at every step, z = 1 keeps the old state",
            "Such a unit holds its first state; its gradient to the input vanishes, so it stays so.",
            "train again with a smaller bias of the update gate (encoder.update_bias=1) and gradient "
            "clipping",
        )
        empty = (each.update_range[1] < EMPTY) & ~dead
        found += _unit_finding(
            "memoryless_units",
            empty,
            where,
            "Update gates never keep anything.",
            f"z between {_span(each, empty)} at every step, z = 0 takes the candidate",
            "Such a unit remembers through its recurrent weights only, as in a plain RNN.",
            "train again with encoder.update_bias=1",
        )
    return found


def _span(each: DirectionActivity, which: NDArray[np.bool_]) -> str:
    if not which.any():
        return ""
    return f"{each.update_range[0][which].min():.3f} and {each.update_range[1][which].max():.3f}"


def _unit_finding(
    check: str, which: NDArray[np.bool_], where: str, what: str, evidence: str, why: str, cure: str
) -> list[Finding]:
    share = float(np.mean(which))
    if not share:
        return []
    severity = "fault" if share >= MOST else "warning" if share >= MANY else "note"
    counted = f"{int(which.sum())} of {len(which)} units: {evidence}"
    return [Finding(check, severity, what, where, counted, why, cure)]  # type: ignore[arg-type]


def growth(model: ForeignModel, activity: list[DirectionActivity]) -> list[Finding]:
    """Whether a small difference grows from step to step: the largest Lyapunov exponent, measured."""
    found = []
    for each in activity:
        if each.growth <= GROWS:
            continue
        layer = next(layer for layer in model.layers if layer.name == each.layer)
        weight = layer.directions[int(each.reverse)].weight_hh
        blocks = np.split(weight.astype(np.float64), 3)
        radius = float(np.abs(np.linalg.eigvals(blocks[2])).max())
        found.append(
            Finding(
                "exploding_state",
                "fault" if each.growth > EXPLODES else "warning",
                "Small differences grow from step to step.",
                f"{each.layer}{', backward' if each.reverse else ''}, weight_hh",
                f"a nudge grows {each.growth:.3f} times per step, {each.growth**50:,.0f} times in 50 "
                f"steps; spectral radius of the candidate's matrix {radius:.1f}, largest singular value "
                f"{float(np.linalg.norm(blocks[2], 2)):.1f}",
                "Two texts that differ in one early word end in unrelated states, and gradients grow the "
                "same way, so that training cannot mend it.",
                "train again from orthogonal recurrent weights, with gradient clipping and weight decay: "
                "torch.nn.init.orthogonal_ for each [H, H] block of weight_hh",
                "Pascanu, Mikolov and Bengio 2013, On the difficulty of training recurrent neural networks",
            )
        )
    return found


def vocabulary(model: ForeignModel) -> list[Finding]:
    """Rows of the embedding that are all zero, or that many words share."""
    if model.embedding is None or len(model.embedding.weight) < 2:
        return []
    table, pad = model.embedding.weight, model.embedding.padding_id
    words = np.delete(table, [pad if pad is not None else 0], axis=0)
    zero = ~words.any(axis=1)
    _, counts = np.unique(words[~zero], axis=0, return_counts=True) if (~zero).any() else (None, np.zeros(1))
    shared = int(counts[counts > 1].sum())
    found = []
    if zero.any():
        found.append(
            Finding(
                "zero_vectors",
                "warning" if zero.mean() >= ZERO_ROWS_SHARE else "note",
                "Words have an empty vector.",
                model.embedding.name,
                f"{int(zero.sum()):,} of {len(words):,} rows are all zero, beside the padding",
                "These words cannot be told from each other or from padding; usually a vector file did "
                "not know them and nothing trained them.",
                "draw them at random before training, or take vectors that know them: grunlock vectors",
            )
        )
    if shared >= ZERO_ROWS_SHARE * len(words) and shared > 1:
        found.append(
            Finding(
                "shared_vectors",
                "warning",
                "Words share one vector.",
                model.embedding.name,
                f"{shared:,} of {len(words):,} rows equal another row",
                "The model cannot tell these words apart.",
                "draw rows of words without a pretrained vector one by one",
            )
        )
    return found


def rounding(model: ForeignModel) -> list[Finding]:
    """Weights that are exactly float16 numbers."""
    values = np.concatenate([array.ravel() for _, array in arrays_of(model)])
    values = values[np.isfinite(values) & (values != 0) & (np.abs(values) != 1)]
    narrow = model.facts.get("narrow")
    if not narrow and (
        len(values) < LEAST_NUMBERS or (values.astype(np.float16).astype(np.float32) != values).any()
    ):
        return []
    small = float(np.mean(np.abs(values) < np.finfo(np.float16).tiny)) if len(values) else 0.0
    return [
        Finding(
            "rounded_weights",
            "note",
            "The weights are stored in 16 bits.",
            model.where,
            f"{narrow or 'every number is one of float16'}; {small:.1%} of them lie where float16 loses "
            "digits",
            "Fine for predicting as a rule, too coarse to train on: updates below a two-thousandth of a "
            "weight are lost.",
            "keep float32 weights for training and round a copy for serving",
        )
    ]


def unreachable_classes(model: ForeignModel) -> list[Finding]:
    """Classes that no state can choose. States lie in (-1, 1), so weight . h is at most its 1-norm."""
    bounded = len(model.head) == 1 and not any(norm.place == "pooled" for norm in model.norms)
    if not bounded or len(model.head[0].bias) < 2 or "flatten" in (model.pooling or ()):
        return []
    dense = model.head[0]
    margins = (
        dense.bias[:, None]
        - dense.bias[None]
        + np.abs(dense.weight[:, None] - dense.weight[None]).sum(axis=2)
    )
    never = np.flatnonzero(margins.min(axis=1) < 0)
    if not len(never):
        return []
    k = int(never[0])
    rival = int(margins[k].argmin())
    return [
        Finding(
            "unreachable_class",
            "fault",
            "A class can never be answered.",
            f"{dense.name}, class {', '.join(map(str, never[:5].tolist()))}",
            f"class {k} stays at least {-margins[k, rival]:.2f} below class {rival} whatever the text: "
            f"biases {dense.bias[k]:.2f} and {dense.bias[rival]:.2f}",
            "A state's numbers lie between -1 and 1, so the weights cannot make up for the bias.",
            HEAD_CURE,
        )
    ]


def _directions(model: ForeignModel) -> Iterator[tuple[GruLayer, int, DirectionWeights]]:
    for layer in model.layers:
        for i, direction in enumerate(layer.directions):
            yield layer, i, direction
