"""Recipe sections that change the training loss, or its texts. None acts on a finished model."""

from typing import Annotated

from pydantic import Field

from grunlock.recipe.fields import PositiveFloat, Probability, Section


class AugmentationOptions(Section):
    """Random changes of training texts, drawn anew at each reading. Rates are shares of a text's tokens."""

    swap: Probability = 0.0  # trade places with another token of the text (EDA, Wei 2019, 1901.11196)
    deletion: Probability = 0.0  # are left out; one always stays (EDA)
    punctuation: Probability = 0.0  # at most so many marks are put in between (AEDA, Karimi 2021, 2108.13230)


class MixupOptions(Section):
    """Sequences of a batch mixed behind the pooling, and their targets (senMixup, Guo 2019, 1905.08941)."""

    alpha: PositiveFloat = 1.0  # shares are drawn from Beta(alpha, alpha); small: nearly whole ones


class RdropOptions(Section):
    """Two passes with different dropout have to agree (R-Drop, Liang 2021, 2106.14448)."""

    # of (KL(p1 || p2) + KL(p2 || p1)) / 2 beside the mean cross-entropy of both; half the paper's alpha
    weight: PositiveFloat = 1.0


class AdversarialOptions(Section):
    """The loss once more, at vectors moved to where it rises fastest (Miyato 2017, 1605.07725)."""

    epsilon: PositiveFloat = 0.1  # length of the move, as a share of that of all the sequence's vectors
    weight: PositiveFloat = 1.0  # beside the plain loss


class VirtualAdversarialOptions(Section):
    """Answers at vectors moved to where they change fastest have to stay (VAT, Miyato 2017, 1605.07725)."""

    epsilon: PositiveFloat = 0.1  # as in adversarial
    probe: PositiveFloat = 0.01  # length of the random move that shows the direction (the paper's xi)
    weight: PositiveFloat = 1.0  # of KL(p || moved p) beside the plain loss


class DistillationOptions(Section):
    """A teacher's probabilities beside the labels (Hinton 2015, 1503.02531); see `grunlock distill`."""

    weight: Annotated[float, Field(gt=0.0, le=1.0)] = 0.7  # of the teacher's part; the labels have the rest
    temperature: PositiveFloat = 2.0  # both distributions are softened by it
