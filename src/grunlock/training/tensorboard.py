"""A listener that writes the run's curves for TensorBoard."""

from pathlib import Path

from grunlock.training.events import EpochDone, Event, RunDone, StepDone


class TensorBoard:
    """Scalars under step/ and epoch/, by optimiser step. A resumed run overwrites what it repeats."""

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=step + 1 if step else None)

    def __call__(self, event: Event) -> None:
        if isinstance(event, StepDone):
            for name in ("train_loss", "lr", "grad_norm"):
                self._writer.add_scalar(f"step/{name}", getattr(event, name), event.step)
        elif isinstance(event, EpochDone):
            for name in ("train_loss", "valid_loss", "valid_accuracy", "valid_macro_f1"):
                self._writer.add_scalar(f"epoch/{name}", getattr(event, name), event.step)
        elif isinstance(event, RunDone):
            self._writer.close()
