"""Recipe sections about optimisation: optimiser, SAM, schedule, clipping.

Each kind is a section of its own, so an option that a kind would ignore is an unknown key.
The methods themselves live in optim/.
"""

from typing import Annotated, Literal

from pydantic import Field

from grunlock.recipe.fields import (
    Count,
    Fraction,
    Momentum,
    NonNegativeFloat,
    PositiveFloat,
    Section,
)


class GdOptions(Section):
    """Plain gradient descent: the whole training set for one step."""

    kind: Literal["gd"] = "gd"
    lr: PositiveFloat = 0.5
    weight_decay: NonNegativeFloat = 0.0


class SgdOptions(Section):
    kind: Literal["sgd"] = "sgd"
    lr: PositiveFloat = 0.1
    weight_decay: NonNegativeFloat = 0.0


class MomentumOptions(Section):
    """SGD with heavy-ball momentum."""

    kind: Literal["momentum"] = "momentum"
    lr: PositiveFloat = 0.1
    momentum: Momentum = 0.9
    weight_decay: NonNegativeFloat = 0.0
    sparse_rows: bool = True  # of embedding tables, step only the rows that the batch read


class NesterovOptions(Section):
    kind: Literal["nesterov"] = "nesterov"
    lr: PositiveFloat = 0.1
    momentum: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.9
    weight_decay: NonNegativeFloat = 0.0
    sparse_rows: bool = True  # of embedding tables, step only the rows that the batch read


class RmspropOptions(Section):
    kind: Literal["rmsprop"] = "rmsprop"
    lr: PositiveFloat = 1e-3
    alpha: Momentum = 0.99
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.0
    sparse_rows: bool = True  # of embedding tables, step only the rows that the batch read


class AdagradOptions(Section):
    kind: Literal["adagrad"] = "adagrad"
    lr: PositiveFloat = 0.01
    eps: PositiveFloat = 1e-10
    weight_decay: NonNegativeFloat = 0.0


class AdamOptions(Section):
    """Adam; weight_decay is L2 in the gradient (adamw decouples it)."""

    kind: Literal["adam"] = "adam"
    lr: PositiveFloat = 1e-3
    beta1: Momentum = 0.9
    beta2: Momentum = 0.999
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.0
    sparse_rows: bool = True  # of embedding tables, step only the rows that the batch read


class AdamwOptions(Section):
    kind: Literal["adamw"] = "adamw"
    lr: PositiveFloat = 2e-3
    beta1: Momentum = 0.9
    beta2: Momentum = 0.999
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.01
    sparse_rows: bool = True  # of embedding tables, step only the rows that the batch read


class NadamOptions(Section):
    """NAdam with decoupled weight decay."""

    kind: Literal["nadam"] = "nadam"
    lr: PositiveFloat = 2e-3
    beta1: Momentum = 0.9
    beta2: Momentum = 0.999
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.01


class RadamOptions(Section):
    """RAdam with decoupled weight decay."""

    kind: Literal["radam"] = "radam"
    lr: PositiveFloat = 1e-3
    beta1: Momentum = 0.9
    beta2: Momentum = 0.999
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.01


class MuonOptions(Section):
    """Muon on hidden matrices, each gate a matrix of its own; AdamW at the same lr on the rest."""

    kind: Literal["muon"] = "muon"
    lr: PositiveFloat = 2e-3
    momentum: Momentum = 0.95
    beta1: Momentum = 0.9  # beta1, beta2, eps: of the AdamW part
    beta2: Momentum = 0.999
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.01


class ScheduleFreeOptions(Section):
    """Schedule-Free AdamW (2405.15682); wants schedule.kind = "constant"."""

    kind: Literal["schedule_free_adamw"] = "schedule_free_adamw"
    lr: PositiveFloat = 2.5e-3
    beta1: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.9
    beta2: Momentum = 0.999
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.01


class LionOptions(Section):
    kind: Literal["lion"] = "lion"
    lr: PositiveFloat = 1e-4
    beta1: Momentum = 0.9
    beta2: Momentum = 0.99
    weight_decay: NonNegativeFloat = 0.1


class AdanOptions(Section):
    kind: Literal["adan"] = "adan"
    lr: PositiveFloat = 1e-3
    beta1: Momentum = 0.98
    beta2: Momentum = 0.92
    beta3: Momentum = 0.99
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.02


class AdemamixOptions(Section):
    kind: Literal["ademamix"] = "ademamix"
    lr: PositiveFloat = 1e-3
    beta1: Momentum = 0.9
    beta2: Momentum = 0.999
    beta3: Momentum = 0.9999
    alpha: NonNegativeFloat = 5.0
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.01


class SoapOptions(Section):
    """SOAP on hidden matrices; AdamW at the same lr on the rest (a table V x D is too large for it)."""

    kind: Literal["soap"] = "soap"
    lr: PositiveFloat = 3e-3
    beta1: Momentum = 0.95
    beta2: Momentum = 0.95
    precondition_every_steps: Count = 10
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.01


class ProdigyOptions(Section):
    """Prodigy finds its own step size; lr is a factor on it."""

    kind: Literal["prodigy"] = "prodigy"
    lr: PositiveFloat = 1.0
    beta1: Momentum = 0.9
    beta2: Momentum = 0.999
    d_coef: PositiveFloat = 1.0
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.01


OptimizerOptions = Annotated[
    GdOptions
    | SgdOptions
    | MomentumOptions
    | NesterovOptions
    | RmspropOptions
    | AdagradOptions
    | AdamOptions
    | AdamwOptions
    | NadamOptions
    | RadamOptions
    | MuonOptions
    | ScheduleFreeOptions
    | LionOptions
    | AdanOptions
    | AdemamixOptions
    | SoapOptions
    | ProdigyOptions,
    Field(discriminator="kind"),
]


class PretrainedOptions(Section):
    """Start from embedding and encoder as `grunlock pretrain` left them in a folder (ULMFiT, 1801.06146)."""

    path: str
    # the encoder learns at optim.lr / lr_decay, the embedding at optim.lr / lr_decay^2
    lr_decay: Annotated[float, Field(ge=1.0)] = 1.0
    # at first only what is new learns; after so many epochs the encoder too, after twice as many everything
    unfreeze_epochs: Annotated[int, Field(ge=0)] = 0


class SamOptions(Section):
    """Sharpness-aware minimisation around any optimiser (2010.01412): two gradients a step."""

    rho: PositiveFloat = 0.05
    adaptive: bool = False


class ScheduleSection(Section):
    """What every schedule has. Not used by itself."""

    warmup_fraction: Fraction = 0.0  # of all steps, linear from 0, in front of any schedule


class ConstantSchedule(ScheduleSection):
    kind: Literal["constant"] = "constant"


class StepSchedule(ScheduleSection):
    """Times `factor` every so many epochs: the halving of the founding document."""

    kind: Literal["step"] = "step"
    every_epochs: Count = 5
    factor: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5


class ExponentialSchedule(ScheduleSection):
    """Times `factor` after each epoch."""

    kind: Literal["exponential"] = "exponential"
    factor: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.99


class MilestonesSchedule(ScheduleSection):
    """Halved at places derived from the number of training examples; see recipe/derived.py."""

    kind: Literal["milestones"] = "milestones"
    factor: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    examples_without_halving: Count = 1000
    start_fraction: Fraction = 0.3  # of all steps, before the first halving


class LinearSchedule(ScheduleSection):
    kind: Literal["linear"] = "linear"
    final_lr_fraction: Fraction = 0.0


class CosineSchedule(ScheduleSection):
    kind: Literal["cosine"] = "cosine"
    final_lr_fraction: Fraction = 0.01


class OneCycleSchedule(ScheduleSection):
    """Up to the peak and down again, both as half cosines (Smith 2018)."""

    kind: Literal["one_cycle"] = "one_cycle"
    start_lr_fraction: Fraction = 0.04
    peak_at_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.3
    final_lr_fraction: Fraction = 0.0001


class WarmupStableDecaySchedule(ScheduleSection):
    """Constant, then linear decay in the last part."""

    kind: Literal["warmup_stable_decay"] = "warmup_stable_decay"
    warmup_fraction: Fraction = 0.05
    decay_fraction: Fraction = 0.2
    final_lr_fraction: Fraction = 0.0


class PlateauSchedule(ScheduleSection):
    """Times `factor` whenever validation loss has not improved for more than `patience_epochs`."""

    kind: Literal["plateau"] = "plateau"
    factor: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    patience_epochs: Count = 1


ScheduleOptions = Annotated[
    ConstantSchedule
    | StepSchedule
    | ExponentialSchedule
    | MilestonesSchedule
    | LinearSchedule
    | CosineSchedule
    | OneCycleSchedule
    | WarmupStableDecaySchedule
    | PlateauSchedule,
    Field(discriminator="kind"),
]


class NormClip(Section):
    """Scale all gradients down together when their global norm exceeds max_norm."""

    kind: Literal["norm"] = "norm"
    max_norm: PositiveFloat = 1.0


class ValueClip(Section):
    """Cut each gradient entry to [-max_value, max_value]."""

    kind: Literal["value"] = "value"
    max_value: PositiveFloat = 1.0


class PercentileClip(Section):
    """Clip to a percentile of the recent global norms (AutoClip, Seetharaman 2020)."""

    kind: Literal["percentile"] = "percentile"
    percentile: Annotated[float, Field(gt=0.0, le=100.0)] = 90.0
    window_steps: Count = 200


ClipOptions = Annotated[NormClip | ValueClip | PercentileClip, Field(discriminator="kind")]
