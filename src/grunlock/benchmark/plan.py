"""Which comparisons each group holds."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from grunlock.benchmark.cases import Case, Comparison, Contender, Mode
from grunlock.benchmark.lengths import Batches

OWN = Contender("grunlock")
NN_GRU = Contender("torch")
MM = Contender("torch", "mm")
GRID_MODES: tuple[Mode, ...] = ("forward", "training")
STATE_DROPOUT = 0.2
REGULARIZED = (
    replace(OWN, state_dropout=0.2),
    replace(OWN, zoneout=0.1),
    replace(OWN, weight_dropout=0.3),
    replace(OWN, layer_norm=True),
)


@dataclass(frozen=True)
class Sizes:
    """The axes of all groups."""

    batch_size: int = 64
    num_steps: int = 200
    hidden_sizes: tuple[int, ...] = (64, 128, 256, 512)
    grid_batch_sizes: tuple[int, ...] = (1, 4, 16, 64, 256)
    grid_steps: tuple[int, ...] = (1, 5, 30, 100, 500)
    grid_hidden_sizes: tuple[int, ...] = (16, 64, 256, 512, 1024)
    num_length_batches: int = 8
    ragged_size: int = 128
    latency_steps: int = 30
    latency_size: int = 128
    latency_layers: int = 2
    memory_size: int = 256


FULL = Sizes()
QUICK = Sizes(
    num_steps=50,
    hidden_sizes=(64, 128),
    grid_batch_sizes=(1, 64),
    grid_steps=(1, 30),
    grid_hidden_sizes=(16, 256),
    num_length_batches=2,
)


def plan(groups: tuple[str, ...], sizes: Sizes, lengths: Batches) -> list[Comparison]:
    """The comparisons of the groups, in the order in which GROUPS names them."""
    return [
        comparison for name, build in GROUPS.items() if name in groups for comparison in build(sizes, lengths)
    ]


def _square(mode: Mode, sizes: Sizes, size: int) -> Case:
    return Case(mode, sizes.batch_size, sizes.num_steps, size, size)


def _forward(sizes: Sizes, lengths: Batches) -> list[Comparison]:
    peers = (NN_GRU, replace(NN_GRU, form="packed"), *_keras(0.0), Contender("jax"), Contender("onnxruntime"))
    return [
        Comparison("forward", _square("forward", sizes, size), OWN, (*peers, MM))
        for size in sizes.hidden_sizes
    ]


def _training(sizes: Sizes, lengths: Batches) -> list[Comparison]:
    peers = (NN_GRU, replace(NN_GRU, form="packed"), *_keras(0.0), Contender("jax"))
    return [
        Comparison("training", _square("training", sizes, size), OWN, (*peers, MM))
        for size in sizes.hidden_sizes
    ]


def _state_dropout(sizes: Sizes, lengths: Batches) -> list[Comparison]:
    own = replace(OWN, state_dropout=STATE_DROPOUT)
    return [
        Comparison("state-dropout", _square("training", sizes, size), own, _keras(STATE_DROPOUT))
        for size in sizes.hidden_sizes
    ]


def _keras(state_dropout: float) -> tuple[Contender, Contender]:
    return (
        Contender("keras", state_dropout=state_dropout),
        Contender("keras", "compiled", state_dropout=state_dropout),
    )


def _regularizers(sizes: Sizes, lengths: Batches) -> list[Comparison]:
    return [
        Comparison("regularizers", _square("training", sizes, size), OWN, REGULARIZED)
        for size in sizes.hidden_sizes
    ]


def _bfloat16(sizes: Sizes, lengths: Batches) -> list[Comparison]:
    own = replace(OWN, precision="bfloat16")
    return [
        Comparison("bfloat16", _square(mode, sizes, size), own, (OWN, replace(MM, precision="bfloat16")))
        for mode in GRID_MODES
        for size in sizes.hidden_sizes
    ]


def _lengths(sizes: Sizes, lengths: Batches) -> list[Comparison]:
    batches, longest = lengths[: sizes.num_length_batches], max(map(max, lengths))
    size = sizes.ragged_size
    return [
        Comparison(
            "lengths",
            Case(mode, len(batches[0]), longest, size, size, lengths=batches),
            replace(OWN, form="packed"),
            (NN_GRU, replace(NN_GRU, form="packed")),
        )
        for mode in GRID_MODES
    ]


def _latency(sizes: Sizes, lengths: Batches) -> list[Comparison]:
    """The rival of every precision is the same, so the subject of each comparison is one of ours."""
    size = sizes.latency_size
    case = Case("forward", 1, sizes.latency_steps, size, size, sizes.latency_layers)
    own = Contender("grunlock", "latency")
    subjects = (own, replace(own, precision="bfloat16"), replace(own, precision="int8"))
    return [
        Comparison("latency", case, subject, (Contender("onnxruntime"), NN_GRU), threads=1)
        for subject in subjects
    ]


def _grid(sizes: Sizes, lengths: Batches) -> list[Comparison]:
    return [
        Comparison("grid", Case(mode, B, T, H, H), OWN, (NN_GRU,))
        for mode in GRID_MODES
        for H in sizes.grid_hidden_sizes
        for T in sizes.grid_steps
        for B in sizes.grid_batch_sizes
    ]


def _memory(sizes: Sizes, lengths: Batches) -> list[Comparison]:
    case = _square("training", sizes, sizes.memory_size)
    peers = (NN_GRU, Contender("keras"), Contender("jax"))
    return [Comparison("memory", case, OWN, peers, quantity="bytes")]


def _beside_torch(sizes: Sizes, lengths: Batches) -> list[Comparison]:
    case = _square("training", sizes, sizes.ragged_size)
    alone = Contender("grunlock", "linear")
    others = (replace(alone, form="linear_after_torch"), replace(alone, form="linear_after_own"))
    return [Comparison("beside-torch", case, alone, others)]


GROUPS: dict[str, Callable[[Sizes, Batches], list[Comparison]]] = {
    "forward": _forward,
    "training": _training,
    "state-dropout": _state_dropout,
    "regularizers": _regularizers,
    "bfloat16": _bfloat16,
    "lengths": _lengths,
    "latency": _latency,
    "memory": _memory,
    "beside-torch": _beside_torch,
    "grid": _grid,
}
