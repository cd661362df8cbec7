"""Settings of a loss and of a training schedule, as scripts receive them."""

from collections.abc import Sequence
from dataclasses import dataclass

MOST_ANSWERS = 200
"""Most epochs of a training of which the answers for the test clips are kept."""


@dataclass(frozen=True)
class LossSettings:
    """The loss that a network minimises (:func:`merflow.learning.losses.make_loss`).

    Attributes:
        name: ``focal`` or ``cross-entropy``.
        alpha: weight of the focal loss, one number or one per class; 1.0 for cross entropy, which ignores it.
        gamma: focusing parameter of the focal loss; 0.0 for cross entropy, which ignores it.
    """

    name: str
    alpha: float | Sequence[float]
    gamma: float


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
    """

    epochs: int
    patience: int
    learning_rate: float
    decay: float
    batch: int
    weight_decay: float

    @property
    def answers_every(self) -> int:
        """Number of epochs from one kept answer for the test clips to the next (:data:`MOST_ANSWERS`)."""
        return -(-self.epochs // MOST_ANSWERS)
