"""What our layers and torch.nn.GRU share as contenders: both are torch modules with the same weights."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from grunlock.benchmark.arrays import Array, BatchArrays, draw_batches, draw_weights
from grunlock.benchmark.cases import Case
from grunlock.benchmark.timing import Prepared

NUM_LINEAR = 3  # layers of the step that is timed beside a recurrent kernel
LINEAR_SIZE = 512
LINEAR_ROWS = 256


@dataclass(frozen=True)
class TorchBatch:
    """A batch in the form a contender takes."""

    rows: Tensor  # the leaf: [T, B, D] padded, [N, D] packed
    batch_sizes: Tensor | None  # [T] if packed
    cotangent: Tensor  # like the output
    real: Tensor  # [T, B]

    @property
    def inputs(self) -> Tensor | PackedSequence:
        return self.rows if self.batch_sizes is None else PackedSequence(self.rows, self.batch_sizes)

    def packed_rows(self, value: Tensor) -> Array:
        """Output or its gradient as rows in packed order."""
        array: Array = (value[self.real] if self.batch_sizes is None else value).detach().float().numpy()
        return array


def torch_batch(arrays: BatchArrays, packed: bool, needs_grad: bool) -> TorchBatch:
    padded, cotangent = torch.from_numpy(arrays.inputs), torch.from_numpy(arrays.cotangent)
    real = torch.from_numpy(arrays.real)
    if not packed:
        return TorchBatch(padded.requires_grad_(needs_grad), None, cotangent, real)
    rows, batch_sizes, *_ = pack_padded_sequence(padded, torch.from_numpy(arrays.lengths))
    return TorchBatch(rows.requires_grad_(needs_grad), batch_sizes, cotangent[real], real)


def prepare_module(module: nn.Module, case: Case, packed: bool) -> Prepared:
    """The case done by `module`, which takes torch.nn.GRU's weights and may have masks of its own."""
    weights = {name: torch.from_numpy(value) for name, value in draw_weights(case).items()}
    module.load_state_dict(weights, strict=False)  # gains of layer norms stay as they are
    training = case.mode == "training"
    batches = [torch_batch(arrays, packed, training) for arrays in draw_batches(case)]
    module.train(training)

    def call() -> None:
        for batch in batches:
            if training:
                gradients(module, batch)
            else:
                forward(module, batch)

    def check() -> Mapping[str, Array]:
        module.eval()
        found = _check(module, batches[0], training)
        module.train(training)
        return found

    return Prepared(call, check)


def forward(module: nn.Module, batch: TorchBatch) -> Tensor:
    with torch.no_grad():
        return _output(module, batch)


def gradients(module: nn.Module, batch: TorchBatch) -> tuple[Tensor, ...]:
    """For the input, then for every parameter."""
    leaves = (batch.rows, *module.parameters())
    return torch.autograd.grad(_output(module, batch), leaves, batch.cotangent)


def _output(module: nn.Module, batch: TorchBatch) -> Tensor:
    output, _ = module(batch.inputs)
    rows: Tensor = output if batch.batch_sizes is None else output.data
    return rows


def _check(module: nn.Module, batch: TorchBatch, training: bool) -> dict[str, Array]:
    found = {"output": batch.packed_rows(forward(module, batch))}
    if training:
        grad_input, *others = gradients(module, batch)
        found["grad_input"] = batch.packed_rows(grad_input)
        names = [name for name, _ in module.named_parameters()]
        found |= {f"grad_{name}": g.float().numpy() for name, g in zip(names, others, strict=True)}
    return found


def prepare_product(case: Case, precision: str) -> Prepared:
    """One torch.mm, [N, D] by [D, 3H]."""
    dtype = getattr(torch, precision)
    rows = torch.randn(case.num_rows, case.input_size).to(dtype)
    weight = torch.from_numpy(draw_weights(case)["weight_ih_l0"]).to(dtype).t()
    return Prepared(lambda: torch.mm(rows, weight), dict)


def prepare_linear(before_each: Prepared | None) -> Prepared:
    """A training step of Linear layers, each time after another step, untimed."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(NUM_LINEAR):
        layers += [nn.Linear(LINEAR_SIZE, LINEAR_SIZE), nn.ReLU()]
    network = nn.Sequential(*layers)
    inputs = torch.randn(LINEAR_ROWS, LINEAR_SIZE)

    def call() -> tuple[Tensor, ...]:
        return torch.autograd.grad(network(inputs).square().mean(), tuple(network.parameters()))

    return Prepared(call, dict, before_each.call if before_each else lambda: None)
