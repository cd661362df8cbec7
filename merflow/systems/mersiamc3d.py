"""MERSiamC3D: a 3D CNN that learns from pairs of clips first. Our reading of the abstract, not the authors' code.

Source: Zhao et al.: A two-stage 3D CNN based learning method for spontaneous micro-expression recognition
(Neurocomputing 448, 2021). The abstract gives prior learning with a siamese 3D CNN, target learning with an adjusted
structure and focal loss, and adaptive key-frames as input; all else is ours (docs/fidelity.md).
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from merflow.learning.checkpoints import Checkpoints
from merflow.learning.fit import Rows, Schedule, Training, fit
from merflow.storage.disk_arrays import Batches, concatenate_batches

LAYERS = 4
EMBEDDING = 128
"""Numbers that stand for a clip."""
GRID = 4
"""Side of the last maps."""


class Branch(nn.Module):
    """A small C3D (Tran, Bourdev, Fergus, Torresani, Paluri, ICCV 2015): 3 x 3 x 3 convolutions, a clip as a vector.

    The first pooling leaves time alone, as in C3D.
    """

    def __init__(self, channels: int, width: int, dropout: float) -> None:
        """Make the branch for clips of ``channels``."""
        super().__init__()
        widths = [min(width * 2**layer, 4 * width) for layer in range(LAYERS)]
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv3d(given, own, 3, padding=1, bias=False), nn.BatchNorm3d(own), nn.ReLU())
            for given, own in zip([channels, *widths], widths, strict=False)
        )
        self.embed = nn.Sequential(
            *(nn.Flatten(), nn.Dropout(dropout), nn.Linear(widths[-1] * GRID**2, EMBEDDING), nn.ReLU())
        )

    def forward(self, x: Tensor) -> Tensor:
        """Clips ``[clips, channels, frames, side, side]`` to vectors ``[clips, EMBEDDING]``."""
        x = x.contiguous(memory_format=torch.channels_last_3d)  # Faster on a CPU.
        for place, layer in enumerate(self.layers):
            x = layer(x)
            if place == 0:
                x = functional.max_pool3d(x, (1, 2, 2))
            elif place < LAYERS - 1:
                x = functional.max_pool3d(x, 2, ceil_mode=True)
        return self.embed(functional.adaptive_avg_pool3d(x, (1, GRID, GRID)))


class Siamese(nn.Module):
    """Two branches with the same weights, and from the distance of their vectors whether two clips show one class.

    The distance is weighted number by number (Koch, Zemel, Salakhutdinov, ICML workshop on deep learning 2015).
    """

    def __init__(self, branch: nn.Module, clips: Tensor | Batches) -> None:
        """Join a branch with the clips that pairs are made of, ``[clips, channels, frames, side, side]`` by index."""
        super().__init__()
        self.branch, self.compare = branch, nn.Linear(EMBEDDING, 2)
        self.clips = [clips]  # In a list, so that it is no part of the state.

    def forward(self, pairs: Tensor) -> Tensor:
        """Pairs as places among the clips, int64 ``[pairs, 2]``, to scores ``[pairs, 2 (other class, same)]``."""
        places, back = pairs.unique(return_inverse=True)
        one, two = self.branch(self.clips[0][places])[back].unbind(dim=1)
        return self.compare((one - two).abs())


FIRST_AT_ONCE = 256
"""Clips whose partners are drawn together: a table of all clips by all clips would not fit into memory for many."""


def draw_pairs(labels: Tensor, count: int) -> Rows:
    """Pairs of clips: for each clip ``count`` of its own class and as many of another, drawn anew from all.

    They are drawn among the clips that are handed in, which are the training part of one fold or its validation part,
    and never of both. Random numbers come from torch's generator.

    Args:
        labels: int64 ``[clips]``.
        count: pairs of each kind for each clip.

    Returns:
        Places ``[pairs, 2]``, and 1 where both show one class.
    """
    own = labels.cpu()
    found, answers = [], []
    for same in (True, False):
        for first in torch.arange(len(own)).split(FIRST_AT_ONCE):
            allowed = ((own[first, None] == own) == same) & (first[:, None] != torch.arange(len(own)))
            first, allowed = first[allowed.any(dim=1)], allowed[allowed.any(dim=1)]  # A class may have one clip alone.
            if len(first):
                second = torch.multinomial(allowed.double(), count, replacement=True)
                found.append(torch.stack([first[:, None].expand(-1, count), second], dim=2).reshape(-1, 2))
                answers.append(torch.full((len(first) * count,), int(same)))
    pairs = torch.cat(found) if found else torch.zeros((0, 2), dtype=torch.int64)
    same = torch.cat(answers) if answers else torch.zeros(0, dtype=torch.int64)
    return Rows(pairs.to(labels.device), same.to(labels.device))


class MERSiamC3D(nn.Module):
    """The branch with a classifier: what target learning trains, and what answers."""

    def __init__(
        self,
        classes: int,
        dropout: float = 0.5,
        width: int = 16,
        reads: str = "flows",
        prior: bool = True,
        prior_epochs: int = 15,
        pairs: int = 2,
        frozen: int = 0,
    ) -> None:
        """Make a network with random weights from torch's generator.

        Args:
            classes: number of classes.
            dropout: before the vector and before the classifier.
            width: filters of the first layer; the next has twice, the last two have four times as many.
            reads: ``flows`` (three channels) or ``key-frames`` (one).
            prior: whether :meth:`prior` learns from pairs first.
            prior_epochs: at most so many epochs of it.
            pairs: pairs of each kind for each clip.
            frozen: first layers that target learning leaves as they are; only after prior learning.
        """
        super().__init__()
        self.branch = Branch(3 if reads == "flows" else 1, width, dropout)
        self.classify = nn.Sequential(nn.Dropout(dropout), nn.Linear(EMBEDDING, classes))
        self.pairs, self.frozen = pairs if prior else 0, frozen if prior else 0

    def forward(self, x: Tensor) -> Tensor:
        """Clips ``[clips, channels, frames, side, side]`` to class scores ``[clips, classes]``."""
        return self.classify(self.branch(x))

    def train(self, mode: bool = True) -> "MERSiamC3D":
        """As of every module; frozen layers keep their normalisation too."""
        super().train(mode)
        for layer in self.branch.layers[: self.frozen]:
            layer.eval()
        return self

    def prior(
        self,
        training: Rows,
        validation: Rows | None,
        settings: Mapping[str, Any],
        name: str,
        checkpoints: Checkpoints | None = None,
    ) -> Training | None:
        """Prior learning: what clips of one class have in common, from pairs; then the comparison is taken off.

        Args:
            training: clips that train, and their classes.
            validation: clips that choose the epoch, or None.
            settings: the block ``network``: ``learning_rate, patience, batch, weight_decay, prior_epochs``.
            name: of the fold, for the log.
            checkpoints: as of :func:`merflow.learning.fit.fit`.

        Returns:
            How it went; None where it is left out, or where no two clips can be compared.
        """
        if not self.pairs:
            return None
        learnt = draw_pairs(training.y, self.pairs)
        held = draw_pairs(validation.y, self.pairs) if validation is not None else None
        if not len(learnt.y):
            return None
        if held is not None and len(held.y):  # Pairs of validation clips lie behind those that train.
            clips, held = concatenate_batches(training.x, validation.x), Rows(held.x + len(training.y), held.y)
        else:
            clips, held = training.x, None
        frozen, self.frozen = self.frozen, 0
        siamese = Siamese(self.branch, clips).to(clips.device)
        own = Schedule.of({"decay": 0.0, **settings, "epochs": settings["prior_epochs"]})
        course = fit(siamese, functional.cross_entropy, learnt, held, own, name, checkpoints)
        self.frozen = frozen
        for layer in self.branch.layers[:frozen]:
            layer.requires_grad_(False)
        return course
