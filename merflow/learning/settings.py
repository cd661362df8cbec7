"""Settings of a loss, of a training schedule and of augmentation, as scripts receive them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

WARM_UP = 0.05
"""Share of the steps of a cosine schedule in which the learning rate rises."""
AVERAGED = 0.25
"""Share of the epochs, the last ones, whose weights are averaged."""

MOST_ANSWERS = 200
"""Most epochs of a training of which the answers for the test clips are kept."""


@dataclass(frozen=True)
class LossSettings:
    """The loss that a network minimises (:func:`merflow.learning.losses.make_loss`).

    Attributes:
        name: ``focal`` or ``cross-entropy``.
        alpha: weight of the focal loss, one number or one per class; 1.0 for cross entropy, which ignores it.
        gamma: focusing parameter of the focal loss; 0.0 for cross entropy, which ignores it.
        weights: ``none``, or ``balanced``: each class counts as much as any other in the training part of a fold.
    """

    name: str
    alpha: float | Sequence[float]
    gamma: float
    weights: str = "none"


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a network trains.

    Attributes:
        epochs: maximum number of epochs.
        patience: number of epochs without a smaller validation loss after which training stops.
        learning_rate: learning rate of Adam.
        decay: the rate at step n is ``learning_rate / (1 + decay * n)``, as in Keras.
        batch: rows per step.
        weight_decay: L2 penalty.
        cosine: whether the rate rises in the first :data:`WARM_UP` of all steps and falls to 0 along a cosine
            (Loshchilov, Hutter, ICLR 2017) in the others, instead of ``decay``.
        average: whether the mean of the weights of the last :data:`AVERAGED` epochs is kept (Izmailov, Podoprikhin,
            Garipov, Vetrov, Wilson: Averaging Weights Leads to Wider Optima and Better Generalization, UAI 2018).
    """

    epochs: int
    patience: int
    learning_rate: float
    decay: float
    batch: int
    weight_decay: float
    cosine: bool = field(default=False, kw_only=True)
    average: bool = field(default=False, kw_only=True)

    @property
    def answers_every(self) -> int:
        """Number of epochs from one kept answer for the test clips to the next (:data:`MOST_ANSWERS`)."""
        return -(-self.epochs // MOST_ANSWERS)

    def rate(self, step: int, steps: int) -> float:
        """Learning rate at a step, counted from 0, of all ``steps``."""
        if not self.cosine:
            return self.learning_rate / (1 + self.decay * step)
        warm_up = WARM_UP * steps
        if step < warm_up:
            return self.learning_rate * min(1.0, (step + 1) / warm_up)
        return self.learning_rate * (1 + math.cos(math.pi * (step - warm_up) / (steps - warm_up))) / 2

    def share(self, epoch: int) -> float:
        """Share of the weights after an epoch, counted from 1, in the kept ones: 1, or 1 / n for n averaged epochs."""
        return 1 / max(1, epoch - math.floor(self.epochs * (1 - AVERAGED))) if self.average else 1.0


@dataclass(frozen=True)
class AugmentSettings:
    """What training clips are changed by (:class:`merflow.learning.augmentation.Augmentation`).

    Numbers are drawn for each clip, uniformly up to the given one in both directions.

    Attributes:
        mirror: whether a half of the clips, on average, is mirrored left to right.
        rotation: degrees.
        shift: share of the side of an image, in x and in y.
        scale: share by which a face is larger or smaller; its motion is too.
        strength: share by which the motion is stronger or weaker.
    """

    mirror: bool
    rotation: float
    shift: float
    scale: float
    strength: float
