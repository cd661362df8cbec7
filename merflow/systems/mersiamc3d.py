"""MERSiamC3D: a 3D CNN that learns from pairs of clips first. Our reading, not the authors' code.

Source: Zhao et al.: A two-stage 3D CNN based learning method for spontaneous micro-expression recognition
(Neurocomputing 448, 2021). The abstract gives prior learning with a siamese 3D CNN, target learning with an adjusted
structure and focal loss, and adaptive key-frames as input; a thesis reports a network like C3D and a gamma of 2 (one
secondary source). Everything else is ours (docs/fidelity.md).
"""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from merflow.learning.checkpoints import Checkpoints
from merflow.learning.fit import Rows, Training, fit
from merflow.learning.settings import Schedule

LAYERS = 4
EMBEDDING = 128
"""Length of the vector that represents a clip."""
GRID = 4
"""Side of the last maps."""


class Branch(nn.Module):
    """A small C3D (Tran, Bourdev, Fergus, Torresani, Paluri, ICCV 2015): 3 x 3 x 3 convolutions, one vector per clip.

    The first pooling does not pool over time, as in C3D.
    """

    def __init__(self, channels: int, width: int, dropout: float) -> None:
        """Make the branch for clips of ``channels``."""
        super().__init__()
        widths = [min(width * 2**layer, 4 * width) for layer in range(LAYERS)]
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv3d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm3d(outputs), nn.ReLU())
            for inputs, outputs in zip([channels, *widths], widths, strict=False)
        )
        self.pool = nn.AdaptiveAvgPool3d((1, GRID, GRID))
        self.embed = nn.Sequential(
            *(nn.Flatten(), nn.Dropout(dropout), nn.Linear(widths[-1] * GRID**2, EMBEDDING), nn.ReLU())
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map clips ``[clips, channels, frames, side, side]`` to vectors ``[clips, EMBEDDING]``."""
        x = x.contiguous(memory_format=torch.channels_last_3d)  # Faster on a CPU.
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index == 0:
                x = functional.max_pool3d(x, (1, 2, 2))
            elif index < LAYERS - 1:
                x = functional.max_pool3d(x, 2, ceil_mode=True)
        vectors: Tensor = self.embed(self.pool(x))
        return vectors


class Siamese(nn.Module):
    """One branch for all clips; the distance of two vectors predicts whether their clips have one class.

    The distance is weighted element by element (Koch, Zemel, Salakhutdinov, ICML workshop on deep learning 2015).
    """

    def __init__(self, branch: nn.Module) -> None:
        """Compare the vectors of a branch."""
        super().__init__()
        self.branch, self.compare = branch, nn.Linear(EMBEDDING, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map clips ``[clips, channels, frames, side, side]`` to scores ``[clips, clips]``, above 0 for one class."""
        vectors = self.branch(x)
        scores: Tensor = self.compare((vectors[:, None] - vectors).abs()).squeeze(2)
        return scores


class SameClass:
    """The targets of :class:`Siamese` for a batch of clips: 1 where two clips have one class, else 0."""

    def __init__(self, labels: Tensor) -> None:
        """Compare clips by their classes ``[clips]`` or action units ``[clips, units]``."""
        self.labels = labels.reshape(len(labels), -1)

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.labels)

    def __getitem__(self, clips: Tensor) -> Tensor:
        """Return the targets of the clips at some indices, float32 ``[clips, clips]``."""
        chosen = self.labels[clips]
        return (chosen[:, None] == chosen).all(dim=2).float()

    def __str__(self) -> str:
        """Return the text that identifies the targets in a checkpoint."""
        return f"same class of {self.labels.tolist()}"


def pair_loss(scores: Tensor, same: Tensor) -> Tensor:
    """Return the binary cross entropy of all pairs in a batch; pairs of one class and of two count equally.

    ``scores`` and ``same``: float32 ``[clips, clips]``, of which the diagonal is ignored. The abstract names no loss
    (docs/fidelity.md, entries 30 and 31).
    """
    pairs = ~torch.eye(len(same), dtype=torch.bool, device=same.device)
    weights = torch.zeros_like(same)
    for kind in (pairs & (same == 1), pairs & (same == 0)):  # A batch may have only one kind, or a single clip.
        weights += 0.5 * kind / kind.sum().clamp(min=1)
    return functional.binary_cross_entropy_with_logits(scores, same, weights, reduction="sum")


class MERSiamC3D(nn.Module):
    """The branch with a classifier: what target learning trains, and what predicts."""

    def __init__(
        self,
        classes: int,
        dropout: float = 0.5,
        width: int = 16,
        input_kind: str = "flows",
        prior: bool = True,
        prior_epochs: int = 15,
        frozen: int = 0,
    ) -> None:
        """Make a network with random weights from torch's generator.

        The options are those of :data:`merflow.systems.registry.NETWORKS`; ``dropout`` comes before the vector and
        before the classifier, and each of the first layers has twice the filters of the one before. Layers are frozen
        only after prior learning.
        """
        super().__init__()
        self.branch = Branch(1 if input_kind == "key-frames" else 3, width, dropout)
        self.classify = nn.Sequential(nn.Dropout(dropout), nn.Linear(EMBEDDING, classes))
        self.prior_epochs, self.frozen = (prior_epochs, frozen) if prior else (0, 0)

    def forward(self, x: Tensor) -> Tensor:
        """Map clips ``[clips, channels, frames, side, side]`` to class scores ``[clips, classes]``."""
        scores: Tensor = self.classify(self.branch(x))
        return scores

    def train(self, mode: bool = True) -> "MERSiamC3D":
        """Set training mode; frozen layers keep their normalisation too."""
        super().train(mode)
        for layer in self.branch.layers[: self.frozen]:
            layer.eval()
        return self

    def prior(
        self, training: Rows, schedule: Schedule, name: str, checkpoints: Checkpoints | None = None
    ) -> Training | None:
        """Prior learning: learn from all pairs in a batch what clips of one class have in common.

        Arguments as in :func:`merflow.learning.fit.fit`; of the ``schedule`` only the number of epochs differs. The
        comparison is dropped in the end.

        Returns:
            Epoch and curve; None if there is no prior learning.
        """
        if not self.prior_epochs:
            return None
        frozen, self.frozen = self.frozen, 0
        siamese = Siamese(self.branch).to(training.y.device)
        pairs = Rows(training.x, SameClass(training.y))
        result = fit(siamese, pair_loss, pairs, None, replace(schedule, epochs=self.prior_epochs), name, checkpoints)
        self.frozen = frozen
        for layer in self.branch.layers[:frozen]:
            layer.requires_grad_(False)
        return result
