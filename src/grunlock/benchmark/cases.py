"""What is measured: cases, contenders, and the comparisons made of them. Plain values that travel as JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Mode = Literal["forward", "training"]
Form = Literal[
    "padded",  # a [T, B, D] tensor
    "packed",  # torch's PackedSequence
    "compiled",  # Keras with XLA's just-in-time compiler
    "latency",  # the fastest road of one sequence through a stack of layers, without gradients
    "mm",  # one matrix product of the size of the input projection: the ceiling
    "linear",  # a training step of torch's Linear layers
    "linear_after_torch",  # the same, each time after a step of torch.nn.GRU, untimed
    "linear_after_own",  # the same, after a step of grunlock.layers.GRU
]
Precision = Literal["float32", "bfloat16", "int8"]

NUM_GATES = 3
TRAINING_FACTOR = 3  # of the forward products: again for the inputs' gradient, and for the weights'
GRU_FORMS = ("padded", "packed", "compiled", "latency")


@dataclass(frozen=True)
class Case:
    """Work that is the same for all contenders. Letters as in shapes.py.

    A training call computes the gradients of sum(output * R), R fixed and random, for all weights and the
    input. With `lengths` there are several ragged batches, and a call goes through all of them.
    """

    mode: Mode
    batch_size: int
    num_steps: int  # T; with `lengths` the longest there is
    input_size: int
    hidden_size: int
    num_layers: int = 1
    lengths: tuple[tuple[int, ...], ...] | None = None  # per batch, longest first
    seed: int = 0

    @property
    def batches(self) -> tuple[tuple[int, ...], ...]:
        """The lengths [B] of each batch."""
        if self.lengths is not None:
            return self.lengths
        return ((self.num_steps,) * self.batch_size,)

    @property
    def num_rows(self) -> int:
        """N of a call: real steps of all batches."""
        return sum(sum(batch) for batch in self.batches)

    def __str__(self) -> str:
        ragged = "" if self.lengths is None else f" ({self._raggedness()} of padded)"
        steps = f"T={self.num_steps}{ragged}"
        sizes = f"D=H={self.hidden_size}"
        if self.input_size != self.hidden_size:
            sizes = f"D={self.input_size} H={self.hidden_size}"
        layers = f" L={self.num_layers}" if self.num_layers > 1 else ""
        return f"{self.mode} B={self.batch_size} {steps} {sizes}{layers}"

    def _raggedness(self) -> str:
        padded = sum(len(batch) * max(batch) for batch in self.batches)
        return f"{self.num_rows / padded:.0%}"


@dataclass(frozen=True)
class Contender:
    """One way to do a case's work."""

    peer: str  # whose process does it
    form: Form = "padded"
    precision: Precision = "float32"
    state_dropout: float = 0.0
    zoneout: float = 0.0
    weight_dropout: float = 0.0
    layer_norm: bool = False

    @property
    def label(self) -> str:
        names = {
            "linear": "torch Linear step alone",
            "linear_after_torch": "torch Linear step after nn.GRU's",
            "linear_after_own": "torch Linear step after grunlock's",
            "mm": "torch.mm",
        }
        words = [names.get(self.form, {"torch": "torch.nn.GRU"}.get(self.peer, self.peer))]
        words += [self.form] if self.form in ("packed", "compiled") else []
        words += [self.precision] if self.precision != "float32" else []
        rates = {"state_dropout": self.state_dropout, "zoneout": self.zoneout}
        rates |= {"weight_dropout": self.weight_dropout}
        words += [f"{name}={rate}" for name, rate in rates.items() if rate]
        return " ".join([*words, *(["layer_norm"] if self.layer_norm else [])])

    @property
    def plain(self) -> bool:
        """Whether it computes the plain GRU in evaluation mode, so that outputs can be compared.

        With zoneout it does not: there the state moves by the expectation.
        """
        return self.form in GRU_FORMS and not (self.layer_norm or self.zoneout)


@dataclass(frozen=True)
class Comparison:
    """Contenders measured in turn. Every ratio is another's seconds (or bytes) over the subject's."""

    group: str
    case: Case
    subject: Contender
    others: tuple[Contender, ...]
    quantity: Literal["seconds", "bytes"] = "seconds"
    threads: int | None = None  # None: as many as the whole benchmark uses

    @property
    def contenders(self) -> tuple[Contender, ...]:
        return (self.subject, *self.others)


def gflop(case: Case, contender: Contender) -> float | None:
    """Multiplications and additions of the matrix products of one call, in thousands of millions.

    Per real step and layer 2 * 3H * (D + H), three times that in training: the same count for every GRU,
    whatever it computes besides or on padding. None if the contender does other work.
    """
    H, D, N = case.hidden_size, case.input_size, case.num_rows
    if contender.form == "mm":
        return 2 * N * D * NUM_GATES * H / 1e9
    if contender.form not in GRU_FORMS:
        return None
    first, upper = D + H, (case.num_layers - 1) * 2 * H
    factor = TRAINING_FACTOR if case.mode == "training" else 1
    return factor * 2 * N * NUM_GATES * H * (first + upper) / 1e9


def to_json(value: Case | Contender) -> dict[str, Any]:
    return asdict(value)


def case_from_json(fields: Mapping[str, Any]) -> Case:
    lengths = fields["lengths"]
    ragged = None if lengths is None else tuple(tuple(batch) for batch in lengths)
    return Case(**{**fields, "lengths": ragged})
