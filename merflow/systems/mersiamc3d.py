"""MERSiamC3D: a 3D CNN that learns from pairs of clips first. Our reading of the abstract, not the authors' code.

Source: Zhao et al.: A two-stage 3D CNN based learning method for spontaneous micro-expression recognition
(Neurocomputing 448, 2021). The abstract gives prior learning with a siamese 3D CNN, target learning with an adjusted
structure and focal loss, and adaptive key-frames as input; everything else is ours (docs/fidelity.md).
"""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from merflow.learning.batches import Batches, concatenate
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
    """Two branches with the same weights; the distance of their vectors predicts whether two clips have one class.

    The distance is weighted element by element (Koch, Zemel, Salakhutdinov, ICML workshop on deep learning 2015).
    """

    def __init__(self, branch: nn.Module, clips: Tensor | Batches) -> None:
        """Join a branch with the clips of the pairs, ``[clips, channels, frames, side, side]`` when indexed."""
        super().__init__()
        self.branch, self.compare = branch, nn.Linear(EMBEDDING, 2)
        self.clips = [clips]  # In a list, so that it is not part of the state.

    def forward(self, pairs: Tensor) -> Tensor:
        """Map indices of clips, int64 ``[pairs, 2]``, to scores ``[pairs, 2 (other class, same class)]``."""
        indices, back = torch.unique(pairs, return_inverse=True)
        first, second = self.branch(self.clips[0][indices])[back].unbind(dim=1)
        scores: Tensor = self.compare((first - second).abs())
        return scores


CHUNK_CLIPS = 256
"""Clips whose partners are drawn together: for many clips, a matrix of all pairs would not fit into memory."""


def draw_pairs(labels: Tensor, count: int, first_index: int = 0) -> Rows:
    """Draw pairs of clips: for each clip ``count`` partners of its class and as many of another class.

    Both clips of a pair are among the given ones, which are the training part or the validation part of a fold, never
    both. Random numbers come from torch's generator.

    Returns:
        Indices ``[pairs, 2]``, counted from ``first_index``, and 1 if both have the same class, else 0.
    """
    classes = labels.cpu()
    if classes.ndim == 2:  # Clips of one class show the same action units.
        classes = torch.unique(classes, dim=0, return_inverse=True)[1]
    indices, targets = [torch.zeros((0, 2), dtype=torch.int64)], [torch.zeros(0, dtype=torch.int64)]
    for same in (True, False):
        for start in range(0, len(classes), CHUNK_CLIPS):
            first = torch.arange(start, min(start + CHUNK_CLIPS, len(classes)))
            allowed = ((classes[first, None] == classes) == same) & (first[:, None] != torch.arange(len(classes)))
            has_partner = allowed.any(dim=1)  # A class may have a single clip.
            first, allowed = first[has_partner], allowed[has_partner]
            if len(first):
                second = torch.multinomial(allowed.double(), count, replacement=True)
                indices.append(torch.stack([first[:, None].expand(-1, count), second], dim=2).reshape(-1, 2))
                targets.append(torch.full((len(first) * count,), int(same)))
    return Rows(torch.cat(indices).to(labels.device) + first_index, torch.cat(targets).to(labels.device))


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
        pairs: int = 2,
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
        self.prior_epochs, self.pairs, self.frozen = prior_epochs, pairs if prior else 0, frozen if prior else 0

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
        self,
        training: Rows,
        validation: Rows | None,
        schedule: Schedule,
        name: str,
        checkpoints: Checkpoints | None = None,
    ) -> Training | None:
        """Prior learning: learn from pairs what clips of one class have in common, then drop the comparison.

        Arguments as in :func:`merflow.learning.fit.fit`; of the ``schedule`` only the number of epochs differs.

        Returns:
            Epoch and curve; None if there is no prior learning, or if no two clips can be compared.
        """
        if not self.pairs:
            return None
        train_pairs, validation_pairs, clips = draw_pairs(training.y, self.pairs), None, training.x
        if validation is not None:  # Validation clips follow the training clips.
            validation_pairs = draw_pairs(validation.y, self.pairs, len(training.y))
            clips = concatenate(training.x, validation.x)
        if not len(train_pairs.y):
            return None
        if validation_pairs is not None and not len(validation_pairs.y):
            validation_pairs = None
        frozen, self.frozen = self.frozen, 0
        siamese = Siamese(self.branch, clips).to(training.y.device)
        prior_schedule = replace(schedule, epochs=self.prior_epochs)
        loss = functional.cross_entropy
        result = fit(siamese, loss, train_pairs, validation_pairs, prior_schedule, name, checkpoints)
        self.frozen = frozen
        for layer in self.branch.layers[:frozen]:
            layer.requires_grad_(False)
        return result
