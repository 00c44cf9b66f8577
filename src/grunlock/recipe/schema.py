"""The recipe: one frozen description of a training. Defaults of every option stand here and in
the section modules beside this one, and nowhere else.

Reading files, overriding and error texts: read.py. Values that follow from data: derived.py.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from grunlock.recipe.fields import Count, Optional, PositiveFloat, Probability, Section
from grunlock.recipe.model_options import (
    BagOptions,
    ChunkOptions,
    EncoderOptions,
    GruOptions,
    HeadOptions,
    LstmOptions,
    MinGruOptions,
    MinLstmOptions,
    PoolingOptions,
    SelfAttentionOptions,
    StemOptions,
    WideOptions,
    check_heads,
)
from grunlock.recipe.optimization_options import (
    AdamwOptions,
    ClipOptions,
    CosineSchedule,
    NormClip,
    OptimizerOptions,
    PretrainedOptions,
    SamOptions,
    ScheduleOptions,
)
from grunlock.recipe.regularization_options import (
    AdversarialOptions,
    AugmentationOptions,
    DistillationOptions,
    MixupOptions,
    RdropOptions,
    VirtualAdversarialOptions,
)
from grunlock.recipe.series_options import SeriesDataOptions, SeriesOptions
from grunlock.recipe.text_options import (
    MAX_NGRAM_BUCKETS,
    EmbeddingOptions,
    NgramOptions,
    TextDataOptions,
    TextOptions,
)

DataOptions = Annotated[TextDataOptions | SeriesDataOptions, Field(discriminator="kind")]

ValidMetric = Literal["accuracy", "macro_f1", "nll"]


class ExampleBatches(Section):
    """A fixed number of sequences in each batch."""

    kind: Literal["examples"] = "examples"
    size: Count = 64
    window_batches: Count = 50  # batches that are sorted by length together; 1: no sorting


class TokenBatches(Section):
    """As many sequences as fit a budget of tokens, or of steps: long sequences make small batches."""

    kind: Literal["tokens"] = "tokens"
    size: Count = 2048
    window_batches: Count = 50


BatchOptions = Annotated[ExampleBatches | TokenBatches, Field(discriminator="kind")]


class LossOptions(Section):
    """Cross-entropy, in nats per sequence."""

    label_smoothing: Probability = 0.0
    class_weights: Annotated[Literal["balanced"] | dict[str, PositiveFloat] | None, Optional] = (
        None  # balanced: inverse class frequency; a table: weight by label, others 1
    )


class TrainingOptions(Section):
    """How long, judged by what, saved how often."""

    epochs: Count | Literal["auto"] = 15  # auto: by the number of examples, see derived.py
    metric: ValidMetric = "accuracy"  # on validation: picks the epoch to keep; among equals the loss
    keep: Literal["best", "last"] = "best"
    # where the validation examples were cut from the training source and this is small: when all is chosen,
    # learn anew from both
    refit: bool = False
    patience_epochs: Annotated[Count | None, Optional] = None  # stop when metric has not improved
    ema_decay: Annotated[Annotated[float, Field(gt=0.0, lt=1.0)] | None, Optional] = (
        None  # average of the weights, used for validation and kept
    )
    bptt_steps: Annotated[Count | None, Optional] = (
        None  # gradients end after so many steps, the state goes on: memory for long sequences
    )
    max_nonfinite_steps: Count = 20  # in a row, then training stops with the likely causes
    checkpoint_every_seconds: PositiveFloat = 30.0
    checkpoint_every_steps: Annotated[Count | None, Optional] = None


class Recipe(Section):
    """Everything that decides a training, together with the data. Same recipe, same result."""

    name: str = "default"
    seed: Annotated[int, Field(ge=0)] = 0
    data: DataOptions = TextDataOptions()
    text: Annotated[TextOptions | None, Optional] = TextOptions()  # for texts only, as embedding and wide
    embedding: Annotated[EmbeddingOptions | None, Optional] = EmbeddingOptions()
    series: Annotated[SeriesOptions | None, Optional] = None  # for series only; on if it is left out there
    stem: Annotated[StemOptions | None, Optional] = None
    encoder: EncoderOptions = GruOptions()
    chunks: Annotated[ChunkOptions | None, Optional] = None
    attention: Annotated[SelfAttentionOptions | None, Optional] = None
    pooling: PoolingOptions = PoolingOptions()
    head: HeadOptions = HeadOptions()
    wide: Annotated[WideOptions | None, Optional] = None
    loss: LossOptions = LossOptions()
    augmentation: Annotated[AugmentationOptions | None, Optional] = None  # of texts; series have their own
    mixup: Annotated[MixupOptions | None, Optional] = None
    rdrop: Annotated[RdropOptions | None, Optional] = None
    adversarial: Annotated[AdversarialOptions | None, Optional] = None
    virtual_adversarial: Annotated[VirtualAdversarialOptions | None, Optional] = None
    distillation: Annotated[DistillationOptions | None, Optional] = None
    pretrained: Annotated[PretrainedOptions | None, Optional] = None
    optim: OptimizerOptions = AdamwOptions()
    sam: Annotated[SamOptions | None, Optional] = None
    schedule: ScheduleOptions = CosineSchedule()
    clip: Annotated[ClipOptions | None, Optional] = NormClip()
    batches: BatchOptions = ExampleBatches()
    training: TrainingOptions = TrainingOptions()
    calibration: Annotated[Literal["temperature"] | None, Optional] = "temperature"

    @model_validator(mode="before")
    @classmethod
    def _sections_for_series(cls, settings: Any) -> Any:
        """What a recipe for series leaves out: sections of texts are off, its own is on."""
        data = settings.get("data")
        if (data.get("kind") if isinstance(data, dict) else getattr(data, "kind", None)) == "series":
            return {"text": None, "embedding": None, "series": {}, **settings}
        return settings

    @model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        self._check_sections_fit_the_data()
        if self.optim.kind == "schedule_free_adamw" and self.schedule.kind != "constant":
            raise ValueError(
                f'schedule.kind = "constant" with optim.kind = "schedule_free_adamw" '
                f'(it replaces the schedule), got "{self.schedule.kind}"'
            )
        if self.chunks is not None:
            _ = self.chunks.outer_options()  # refuses sizes that its heads do not divide
            if self.pooling.inputs:
                raise ValueError("with chunks: pooling.inputs = false, for pooling is over chunks, not steps")
        if self.pretrained is not None:
            self._check_rates_of_parts(self.pretrained)
        if getattr(self.data, "unlabelled", None) is not None and self.virtual_adversarial is None:
            raise ValueError("virtual_adversarial on with data.unlabelled, which nothing else reads")
        if self.rdrop is not None and (self.adversarial or self.virtual_adversarial):
            raise ValueError("with rdrop: adversarial and virtual_adversarial off")
        if self.attention is not None:
            self._check_attention_heads(self.attention)
        if self.training.bptt_steps is not None:
            self._check_steps_can_be_cut()
        return self

    def _check_sections_fit_the_data(self) -> None:
        needed: dict[str, object] = {"text": self.text, "embedding": self.embedding}
        foreign: dict[str, object] = {"series": self.series}
        other = "numeric series"
        if self.data.kind == "series":
            of_texts = {**needed, "wide": self.wide, "augmentation": self.augmentation}
            of_texts |= {"distillation": self.distillation, "pretrained": self.pretrained}
            needed, foreign, other = foreign, of_texts, "texts"
        wrong = [f"{name} on" for name, section in needed.items() if section is None]
        wrong += [f"{name} off, it is for {other}" for name, on in foreign.items() if on is not None]
        if wrong:
            raise ValueError(f'with data.kind = "{self.data.kind}": {"; ".join(wrong)}')

    def _check_rates_of_parts(self, pretrained: PretrainedOptions) -> None:
        one_rate = self.optim.kind in ("muon", "soap", "prodigy", "schedule_free_adamw")
        if one_rate and (pretrained.lr_decay != 1.0 or pretrained.unfreeze_epochs):
            raise ValueError(
                "pretrained.lr_decay = 1 and pretrained.unfreeze_epochs = 0 with "
                f'optim.kind = "{self.optim.kind}", which has one learning rate'
            )
        if self.embedding is not None and self.embedding.vectors is not None:
            raise ValueError("embedding.vectors off with pretrained, which has an embedding of its own")

    def _check_attention_heads(self, attention: SelfAttentionOptions) -> None:
        size = self.input_size
        if size is None and isinstance(self.encoder, BagOptions) and self.chunks is None:
            raise ValueError("with attention and an encoder of kind bag: a series.size")
        size = self.encoder.output_size(size or 1)
        if self.chunks is not None:
            size = self.chunks.outer_options().output_size(2 * size)
        check_heads(size, attention.num_heads, "with attention, the encoder's output size")

    @property
    def input_size(self) -> int | None:
        """D, the size of the vectors that stem and encoder read; None if the data decides."""
        if self.embedding is not None:
            return self.embedding.size
        return None if self.series is None else self.series.size

    def ngrams_of(self, tokens: str) -> NgramOptions | None:
        """The character n-grams that belong to a type of such tokens, for the embedding or the wide path."""
        found = None if self.embedding is None else self.embedding.ngrams_of(tokens)
        if self.wide is None or not self.wide.characters:
            return found
        if found is None:
            return NgramOptions(buckets=MAX_NGRAM_BUCKETS, min_length=2)
        # A multiple of the embedding's buckets: those are the remainders.
        buckets = MAX_NGRAM_BUCKETS // found.buckets * found.buckets
        return found.model_copy(update={"buckets": buckets})

    @property
    def wide_apart(self) -> WideOptions | None:
        """The wide path, if it learns apart from the network."""
        return self.wide if self.wide is not None and self.wide.training == "apart" else None

    def _check_steps_can_be_cut(self) -> None:
        """Truncation carries states from stretch to stretch; what reads all steps at once has none."""
        encoder = self.encoder
        if isinstance(encoder, GruOptions | LstmOptions | MinGruOptions | MinLstmOptions):
            wanted = {
                "encoder.bidirectional = false": not encoder.bidirectional,
                'encoder.norm = "layer" or "off"': encoder.norm != "batch",
                "stem off": self.stem is None,
                "chunks off": self.chunks is None,
                "attention off": self.attention is None,
                "pooling.inputs = false": not self.pooling.inputs,
                "rdrop off": self.rdrop is None,
                "adversarial off": self.adversarial is None,
                "virtual_adversarial off": self.virtual_adversarial is None,
                "pooling.parts of last, max, mean": set(self.pooling.parts) <= {"last", "max", "mean"},
            }
            missing = ", ".join(name for name, given in wanted.items() if not given)
        else:
            missing = f"an encoder of kind gru, lstm, mingru or minlstm, got {encoder.kind}"
        if missing:
            raise ValueError(f"with training.bptt_steps: {missing}")
