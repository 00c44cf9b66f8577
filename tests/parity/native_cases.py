"""Cases of the GRU layer for the compiled kernels, drawn at random, and their solution by any implementation.

What may differ, and by how much, is in native_tolerance.py.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from random import Random
from typing import Literal, get_args

import torch
from torch import Tensor

from grunlock.kernels import library
from grunlock.kernels.direction import DrawnZoneout, GruDirection
from tests.parity.agreement import Results

Layer = Callable[..., tuple[Tensor, Tensor]]
ZoneoutKind = Literal["off", "mask", "rate", "drawn"]
Indexing = Literal["none", "distinct", "few"]

KEEP = 0.7  # chance that a mask keeps an entry
ZONEOUT_RATE = 0.3
# Layer norm over fewer divides by next to nothing so often that errors grow from step to step: with 10 units
# and 61 steps the oracle itself, in float32, can leave the bounds.
FEW_UNITS = 16
FEW_STEPS = 3
MASKS = ("state_mask", "zoneout", "cell_zoneout")  # of a direction; they get no gradients


def usable_kernels() -> list[str]:
    """Every instruction set that the installed library and this machine have; none without a library."""
    if not library.LIBRARY_PATH.is_file():
        return []
    sets = library.load_library(library.LIBRARY_PATH).instruction_sets
    return [s.name for s in sets if s.compiled and s.supported]


@contextmanager
def kernel(name: str | None = None, threads: int | None = None) -> Iterator[None]:
    """Inside, this instruction set computes with that many threads; None: as the environment says."""
    library.use_kernel(name)
    chosen = library.native_library()
    assert chosen is not None
    if threads is not None:
        chosen.set_num_threads(threads)
    try:
        yield
    finally:
        library.use_kernel(None)


@dataclass(frozen=True)
class Case:
    """lengths: longest first. indexing: none, as many vectors as rows, or so few that most are read often."""

    lengths: tuple[int, ...]
    input_size: int = 5
    hidden_size: int = 7
    num_directions: int = 1
    indexing: Indexing = "none"
    input_mask: bool = False
    state_mask: bool = False
    zoneout: ZoneoutKind = "off"
    norm: bool = False
    h0: bool = False
    bias: bool = True
    reset_after: bool = True
    seed: int = 0

    @property
    def num_rows(self) -> int:
        return sum(self.lengths)

    @property
    def batch_sizes(self) -> list[int]:
        return [sum(length > t for length in self.lengths) for t in range(self.lengths[0])]

    def __str__(self) -> str:
        on = [f.name for f in fields(self) if getattr(self, f.name) is True]
        words = [
            f"B{len(self.lengths)}",
            f"T{self.lengths[0]}",
            f"D{self.input_size}",
            f"H{self.hidden_size}",
        ]
        return "-".join([*words, f"{self.num_directions}x", self.indexing, self.zoneout, *on])


@dataclass(frozen=True)
class Problem:
    """All tensors of one call. Its loss is the sum of its results times the cotangents."""

    rows: Tensor  # [U, D]
    index: Tensor | None  # [N]
    batch_sizes: Sequence[int]  # [T]
    directions: tuple[GruDirection, ...]
    input_mask: Tensor | None  # [B, D]
    reset_after: bool
    cotangents: tuple[Tensor, ...]  # of output [N, directions * H] and final [directions, B, H]


def draw_case(random: Random, most_work: float) -> Case:
    """Any sizes whose products need at most some `most_work` multiply-adds forward, one row at least."""
    hidden_size, input_size = _draw_size(random, 1024), _draw_size(random, 1024)
    num_directions = random.choice([1, 2])
    norm = random.random() < 0.3
    most_rows = int(most_work / (3 * hidden_size * (hidden_size + input_size) * num_directions))
    most_steps = FEW_STEPS if norm and hidden_size < FEW_UNITS else 500
    longest = _draw_size(random, max(1, min(most_steps, most_rows)))
    batch = _draw_size(random, max(1, min(257, most_rows // longest if random.random() < 0.5 else most_rows)))
    left = most_rows - longest
    lengths = [longest]
    shape = random.choice(["full", "any", "short"])
    while len(lengths) < batch and left > 0:
        length = {"full": longest, "any": random.randint(1, longest), "short": 1}[shape]
        if random.random() < 0.1:
            length = 1
        lengths.append(min(length, left))
        left -= lengths[-1]
    return Case(
        tuple(sorted(lengths, reverse=True)),
        input_size,
        hidden_size,
        num_directions,
        indexing=random.choice(get_args(Indexing)),
        input_mask=random.random() < 0.3,
        state_mask=random.random() < 0.4,
        zoneout=random.choice(["off", *get_args(ZoneoutKind)]),
        norm=norm,
        h0=random.random() < 0.5,
        bias=random.random() < 0.8,
        reset_after=random.random() < 0.7,
        seed=random.randint(0, 2**32),
    )


def with_half_the_steps(case: Case) -> Case:
    """Of the longest sequence; shorter ones stay."""
    most = max(1, case.lengths[0] // 2)
    return replace(case, lengths=tuple(min(length, most) for length in case.lengths))


def for_bfloat16(case: Case) -> Case:
    """A norm magnifies what rounding to 8 bits moves, step by step: few steps, no norm over few units."""
    if not case.norm:
        return case
    if case.hidden_size < FEW_UNITS:
        return replace(case, norm=False)
    return replace(case, lengths=tuple(min(length, FEW_STEPS) for length in case.lengths))


def _draw_size(random: Random, most: int) -> int:
    """From 1 to `most`: small ones as often as large ones, and the neighbours of vector and tile widths."""
    if random.random() < 0.4:
        near = random.choice([1, 4, 8, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024]) + random.choice(
            [-1, 0, 0, 1]
        )
        return min(max(1, near), most)
    return min(most, int(2 ** random.uniform(0, most.bit_length())))


def draw_problem(case: Case) -> Problem:
    """In float32: weights as torch.nn.GRU draws them, inputs of deviation 1."""
    random = torch.Generator().manual_seed(case.seed)
    batch, rows, size = len(case.lengths), case.num_rows, case.hidden_size

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    def uniform(*shape: int) -> Tensor:
        return (torch.rand(*shape, generator=random) * 2 - 1) * size**-0.5

    def mask(*shape: int, scale: float = 1 / KEEP) -> Tensor:
        return (torch.rand(*shape, generator=random) < KEEP).float() * scale

    def inputs_kept() -> Tensor | None:
        if not case.input_mask:
            return None
        kept = mask(batch, case.input_size)
        if case.norm:  # a sequence without any input stays at 0, where a norm's slope is steepest, for ever
            kept[:, 0] = 1 / KEEP
        return kept

    def zoneout() -> Tensor | float | DrawnZoneout | None:
        seed = int(torch.randint(2**62, (), generator=random))
        match case.zoneout:
            case "off":
                return None
            case "mask":
                return mask(rows, size, scale=1.0)
            case "rate":
                return ZONEOUT_RATE
            case "drawn":
                return DrawnZoneout(ZONEOUT_RATE, seed)

    directions = tuple(
        GruDirection(
            uniform(3 * size, case.input_size),
            uniform(3 * size, size),
            uniform(3 * size) if case.bias else None,
            uniform(3 * size) if case.bias else None,
            1 + uniform(3 * size) if case.norm else None,
            1 + uniform(3 * size) if case.norm else None,
            normal(batch, size).tanh() if case.h0 else None,
            mask(batch, size) if case.state_mask else None,
            zoneout(),
        )
        for _ in range(case.num_directions)
    )
    vectors = rows if case.indexing != "few" else rows // 3 + 1
    index = None if case.indexing == "none" else torch.randint(vectors, (rows,), generator=random)
    return Problem(
        normal(vectors, case.input_size),
        index,
        case.batch_sizes,
        directions,
        inputs_kept(),
        case.reset_after,
        (normal(rows, case.num_directions * size), normal(case.num_directions, batch, size)),
    )


def converted(problem: Problem, dtype: torch.dtype) -> Problem:
    """The same numbers in another type."""

    def convert(direction: GruDirection) -> GruDirection:
        tensors = {k: v.to(dtype) for k, v in vars(direction).items() if isinstance(v, Tensor)}
        return replace(direction, **tensors)

    return replace(
        problem,
        rows=problem.rows.to(dtype),
        directions=tuple(convert(direction) for direction in problem.directions),
        input_mask=None if problem.input_mask is None else problem.input_mask.to(dtype),
        cotangents=tuple(cotangent.to(dtype) for cotangent in problem.cotangents),
    )


def leaves(problem: Problem) -> dict[str, Tensor]:
    """Everything that gets a gradient: rows, and weight_ih0, h0_1 and so on of each direction."""
    found = {"rows": problem.rows}
    for place, direction in enumerate(problem.directions):
        for name, value in vars(direction).items():
            if isinstance(value, Tensor) and name not in MASKS:
                found[f"{name}.{place}"] = value
    return found


def with_leaves(problem: Problem, given: Results) -> Problem:
    """The problem with these tensors in place of its own of the same names."""
    directions = tuple(
        replace(
            direction,
            **{name: given[f"{name}.{place}"] for name in vars(direction) if f"{name}.{place}" in given},
        )
        for place, direction in enumerate(problem.directions)
    )
    return replace(problem, rows=given.get("rows", problem.rows), directions=directions)


def forward(layer: Layer, problem: Problem, **options: object) -> tuple[Tensor, Tensor]:
    return layer(
        problem.rows,
        problem.index,
        problem.batch_sizes,
        problem.directions,
        input_mask=problem.input_mask,
        reset_after=problem.reset_after,
        **options,
    )


def solve(layer: Layer, problem: Problem, **options: object) -> dict[str, Tensor]:
    """output, final and, as grad_{leaf}, every gradient of the loss."""
    fresh = {name: value.detach().clone().requires_grad_() for name, value in leaves(problem).items()}
    output, final = forward(layer, with_leaves(problem, fresh), **options)
    gradients = torch.autograd.grad(
        [output, final], list(fresh.values()), problem.cotangents, materialize_grads=True
    )
    results = {"output": output.detach(), "final": final.detach()}
    return results | {f"grad_{name}": value for name, value in zip(fresh, gradients, strict=True)}
