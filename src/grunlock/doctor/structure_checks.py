"""Faults in how a model is put together: what reads pads, forms that are confused, knobs that do nothing."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from grunlock.doctor.experiment import NUM_TEXTS, Seen
from grunlock.doctor.findings import Finding
from grunlock.doctor.foreign import Dropout, ForeignModel, GruLayer, Padding

STRONG_DROPOUT = 0.8
MOVED = 1e-3  # a probability that 20 pads move by more than rounding
CURES = {
    "torch": "packed = nn.utils.rnn.pack_padded_sequence(x, lengths.cpu(), batch_first=True, "
    "enforce_sorted=False); _, h = gru(packed)",
    "Keras": "Embedding(..., mask_zero=True), or a Masking layer in front of the GRU",
    "ONNX": "give the GRU node its input sequence_lens, and export a model that packs its sequences",
}
PADDING_SOURCES = (
    "read at the padding: Chinese-Text-Classification-Pytorch models/TextRNN.py; ktrain bigru (Embedding "
    "without mask_zero); DeLFT gru (no Masking); Ludwig RecurrentStack (mask ignored)"
)
RESET_SOURCE = (
    "onnxscript#2852 (exporter of torch 2.10 drops linear_before_reset); keras-team docs against code"
)


def _cure(model: ForeignModel) -> str:
    return CURES[model.kind.split()[0]] if model.kind.split()[0] in CURES else CURES["torch"]


def state_at_padding(model: ForeignModel, seen: Seen | None) -> list[Finding]:
    """The final state is the one behind the pads."""
    parts = set(model.pooling or ()) & {"last", "last_step"}
    zero_step = model.padding.gru is False and model.padding.pooling and "last_step" in parts
    if zero_step and model.padding.at_pads == "zero":
        return [
            _padding_finding(
                model,
                "state_at_padding",
                "Shorter texts are judged by a row of zeros.",
                seen,
                "sequences are packed, but the last column of the unpacked output is read, which is zero "
                "for every text that is not the longest of its batch",
                "take h_n, the second result of the GRU, instead of out[:, -1]",
            )
        ]
    if not model.padding.gru or not parts:
        return []
    return [
        _padding_finding(
            model,
            "state_at_padding",
            "The last state is read at the padding, not at the last word.",
            seen,
            "the GRU goes on over pads, and the state behind them is what the head reads",
            _cure(model),
        )
    ]


def pooling_over_padding(model: ForeignModel, seen: Seen | None) -> list[Finding]:
    """Maximum, mean or all positions, pads included."""
    knowing = set(model.padding.knowing)
    parts = [
        part for part in model.pooling or () if part in ("max", "mean", "flatten") and part not in knowing
    ]
    if not parts or not model.padding.pooling:
        return []
    if parts == ["max"] and model.padding.gru is False and model.padding.at_pads == "held":
        return []  # the last state once more: the maximum is the same
    zeros = model.padding.gru is False and model.padding.at_pads == "zero"
    evidence = (
        "positions behind the end are zeros, and they are pooled too"
        if zeros
        else "the states that the GRU computed at pads are pooled too"
    )
    cure = "mask before pooling: out.masked_fill(~mask[..., None], float('-inf')).amax(1), or "
    cure += "(out * mask[..., None]).sum(1) / lengths[:, None]"
    if model.kind.startswith("Keras"):
        cure = "GlobalAveragePooling1D, which honours the mask of mask_zero=True; for the maximum "
        cure += "keras.ops.max(keras.ops.where(mask[..., None], x, -1.0), axis=1) in a layer of your own"
    return [
        replace(
            _padding_finding(
                model,
                "pooling_over_padding",
                f"Pooling ({', '.join(parts)}) reads pads.",
                seen,
                evidence,
                cure,
            ),
            severity="fault" if model.padding.gru or parts != ["max"] else "warning",
        )
    ]


def _padding_finding(
    model: ForeignModel, check: str, what: str, seen: Seen | None, evidence: str, cure: str
) -> Finding:
    moved = None if seen is None else seen.moved_by_pads
    shown = "" if moved is None else f"; 20 pads behind a text move a probability by up to {moved:.2g}"
    return Finding(
        check,
        "fault",
        what,
        ", ".join(layer.name for layer in model.layers[-1:]),
        evidence + shown,
        "The answer depends on how long the other texts of the batch are, and the words have faded by "
        "the end.",
        cure,
        PADDING_SOURCES,
    )


def moved_by_padding(model: ForeignModel, seen: Seen | None) -> list[Finding]:
    """Answers that change with padding, where it is not known what reads it."""
    known = seen is None or seen.form is not None or seen.depends_on_batch > 0
    if known or seen is None or seen.moved_by_pads is None or seen.moved_by_pads < MOVED:
        return []
    return [
        Finding(
            "moved_by_padding",
            "fault",
            "Padding changes the answers.",
            model.where,
            f"20 pads behind a text move a probability by up to {seen.moved_by_pads:.2g}",
            "The answer depends on how long the other texts of the batch are.",
            f"attention and pooling need the mask as well; for the GRU: {_cure(model)}",
            PADDING_SOURCES,
        )
    ]


def backward_after_one_step(model: ForeignModel, seen: Seen | None) -> list[Finding]:
    if "last_step" not in (model.pooling or ()) or not model.bidirectional:
        return []
    return [
        Finding(
            "backward_after_one_step",
            "fault",
            "The backward direction is read after one step.",
            model.layers[-1].name,
            "the head reads the output at the last position, where the backward GRU has only begun",
            "Half of the states have seen one word or one pad.",
            "take the final states: torch.cat([h_n[-2], h_n[-1]], dim=1)",
        )
    ]


def batch_dependence(model: ForeignModel, seen: Seen | None) -> list[Finding]:
    if seen is None or not seen.depends_on_batch:
        return []
    hint = "" if model.facts.get("batch_first", True) else "; nn.GRU has batch_first=False"
    return [
        Finding(
            "batch_dependence",
            "fault",
            "An answer depends on the other texts of its batch.",
            model.where,
            f"the same text alone and among {NUM_TEXTS - 1} others: outputs differ by up to "
            f"{seen.depends_on_batch:.2g}{hint}",
            "The GRU reads across texts instead of along them, or something normalises over the batch.",
            "nn.GRU(..., batch_first=True) if batches are [batch, steps, features]",
        )
    ]


def reset_form(model: ForeignModel, seen: Seen | None) -> list[Finding]:
    """An export that computes the reset before the product, with weights that were trained after it."""
    before = [layer for layer in model.layers if not layer.reset_after]
    if before and model.kind == "Keras 3 file":
        return [
            Finding(
                "reset_before",
                "note",
                "The reset gate acts before the matrix product.",
                ", ".join(layer.name for layer in before),
                "reset_after=False",
                "cuDNN, the fast paths of the torch and JAX backends and most other libraries compute the "
                "other form: this one is slow there, and an export may silently change it.",
                "keep it if it runs where you need it, or bring it over with --convert, which runs both",
                RESET_SOURCE,
            )
        ]
    if model.kind != "ONNX graph":
        return []
    return [finding for layer in before for finding in _lost_reset_form(model, layer)]


def _lost_reset_form(model: ForeignModel, layer: GruLayer) -> list[Finding]:
    H = layer.hidden_size
    recurrent = np.concatenate([d.bias_hh[2 * H :] for d in layer.directions])
    own = np.concatenate([d.bias_ih[2 * H :] for d in layer.directions])
    producer = str(model.facts.get("producer", ""))
    two_biases = bool(np.abs(recurrent).max() > 1e-6 and np.abs(recurrent - own).max() > 1e-6)
    if not two_biases:
        return []
    from_torch = producer.lower().startswith("pytorch")
    return [
        Finding(
            "reset_form",
            "fault" if from_torch else "warning",
            "The graph computes another GRU than the one that was trained.",
            f"{layer.name}, linear_before_reset=0",
            f"written by {producer}{', whose GRU has the other form only' if from_torch else ''}; the "
            f"candidate has two biases that differ (by up to {np.abs(recurrent - own).max():.2g}), which "
            "only training with reset after the product leaves",
            "Reset before and after the matrix product are two different functions; outputs are off by "
            "about a tenth and nothing warns.",
            "set the attribute: node.attribute linear_before_reset = 1, or export with a newer "
            "onnxscript; `grunlock doctor ORIGINAL --compare EXPORT` shows which form agrees",
            RESET_SOURCE,
        )
    ]


def dropouts(model: ForeignModel, seen: Seen | None) -> list[Finding]:
    """Knobs without effect, and dropout where it does harm."""
    return [finding for each in model.dropouts for finding in _dropout(model, each)]


def _dropout(model: ForeignModel, each: Dropout) -> list[Finding]:
    if not each.acts:
        torch_gru = each.rate > 0
        return [
            Finding(
                "idle_knob",
                "warning" if torch_gru else "note",
                "A dropout does nothing.",
                each.name,
                "nn.GRU lays dropout between layers, and there is one layer"
                if torch_gru
                else "its rate is 0",
                "The model was trained without the regulariser that its code asks for.",
                "nn.Dropout in front of and behind the GRU" if torch_gru else "give it a rate, or delete it",
                "Ludwig passes recurrent_dropout as torch's between-layer dropout, a no-op at num_layers=1"
                if torch_gru
                else None,
            )
        ]
    if each.place in ("logits", "probs"):
        where = "in front of the softmax" if each.place == "logits" else "behind the softmax"
        return [
            Finding(
                "dropout_on_answers",
                "fault",
                f"Dropout is laid on the answers, {where}.",
                each.name,
                f"rate {each.rate:g}",
                "Logits are set to zero at random: the loss is noise on which class is right, and the "
                "trained weights are too large or too small for predicting.",
                "lay it on what the last layer reads, one line earlier",
            )
        ]
    if each.rate >= STRONG_DROPOUT:
        return [
            Finding(
                "strong_dropout",
                "warning",
                "A dropout leaves almost nothing.",
                each.name,
                f"rate {each.rate:g}",
                "A baseline with such a rate underfits and makes every rival look good.",
                "0.2 to 0.5",
                "ktrain standard_gru: two GRU(256, dropout=0.9)",
            )
        ]
    return []


def norm_over_padding(model: ForeignModel, seen: Seen | None) -> list[Finding]:
    """BatchNorm in front of the GRU whose statistics counted pads."""
    found = []
    for norm in model.norms:
        if norm.place != "embedding" or norm.masked:
            continue
        sure = model.kind == "Keras 3 file"
        found.append(
            Finding(
                "norm_over_padding",
                "fault" if sure else "warning",
                "BatchNorm between embedding and GRU counts pads.",
                norm.name,
                "no mask reaches it"
                if sure
                else "BatchNorm1d of torch has no mask; only a batch without pads is counted rightly",
                "Mean and variance are those of padding as much as of words, and change with the lengths "
                "in a batch.",
                "mask_zero=True in the Embedding: BatchNormalization of Keras 3 honours masks"
                if sure
                else "normalise packed.data, or take encoder.norm=batch of grunlock, which knows no pads",
                "pytorch#70529 (masked BatchNorm, open)",
            )
        )
    return found


def keras_settings(model: ForeignModel, seen: Seen | None) -> list[Finding]:
    """What settings of Keras layers cost."""
    found = []
    options: Mapping[str, Mapping[str, Any]] = model.facts.get("options", {})
    for name, settings in options.items():
        if settings.get("recurrent_dropout"):
            found.append(
                Finding(
                    "recurrent_dropout",
                    "warning",
                    "recurrent_dropout takes the GRU off its fast path.",
                    name,
                    f"recurrent_dropout={settings['recurrent_dropout']:g}; written by Keras "
                    f"{model.facts['keras']}",
                    "Keras then runs a loop in Python (25 times slower in tensorflow#38236), and before "
                    "the mend of 2024-12 a GRU gave activations of 1e25 at length 100.",
                    "Dropout on inputs and outputs; or encoder.state_dropout of grunlock, at kernel speed",
                    "tensorflow#38236, keras#20276",
                )
            )
    num_softmax = int(model.facts.get("num_softmax") or 0)
    if num_softmax > 1:
        found.append(
            Finding(
                "softmax_twice",
                "fault",
                "The softmax is applied twice.",
                model.where,
                f"{num_softmax} of them",
                "Probabilities of probabilities: no answer can be surer than e / (e + K - 1).",
                "delete the second one",
            )
        )
    return found


def activations(model: ForeignModel, seen: Seen | None) -> list[Finding]:
    return [
        Finding(
            "gru_activation",
            "warning",
            "The GRU has other activations than tanh and sigmoid.",
            layer.name,
            f"{layer.activation} and {layer.gate_activation}",
            "No fast kernel computes it, and a state without bounds can explode.",
            "activation='tanh', recurrent_activation='sigmoid'",
            "keras gru.py: cuDNN only with tanh and sigmoid",
        )
        for layer in model.layers
        if (layer.activation, layer.gate_activation) != ("tanh", "sigmoid")
    ]


CHECKS = (
    state_at_padding,
    pooling_over_padding,
    moved_by_padding,
    backward_after_one_step,
    batch_dependence,
    reset_form,
    dropouts,
    norm_over_padding,
    keras_settings,
    activations,
)


def mended(model: ForeignModel, check: str) -> ForeignModel | None:
    """The model without the fault, if it can be mended without training."""
    sound = Padding(gru=False, pooling=False)
    if check in ("state_at_padding", "pooling_over_padding"):
        parts = tuple(
            "last" if p == "last_step" and not model.bidirectional else p for p in model.pooling or ()
        )
        return replace(model, padding=sound, pooling=parts)
    if check == "backward_after_one_step":
        parts = tuple("last" if p == "last_step" else p for p in model.pooling or ())
        return replace(model, pooling=parts)
    if check == "reset_form":
        return replace(model, layers=tuple(replace(layer, reset_after=True) for layer in model.layers))
    return None
