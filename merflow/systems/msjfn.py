"""MSJFN: a multi-scale joint feature network on one flow image. Our reading of the abstract, not the authors' code.

Source: Li, Wei, Wang, Zhou: Multi-scale joint feature network for micro-expression recognition (Computational Visual
Media 7, 2021). The abstract gives a backbone on an optical-flow image, three joint feature modules that integrate the
features of different layers, and a fusion of their predictions with the backbone's; everything else is ours
(docs/fidelity.md).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from merflow.learning.losses import Loss

STAGES = 4
"""Stages of the backbone; each of three modules joins two neighbours."""
GRID = 4
"""Side of the map that each prediction is made of: expressions differ in where the face moves."""


class Block(nn.Module):
    """A residual block of two 3 x 3 convolutions (He, Zhang, Ren, Sun, CVPR 2016)."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        """Make a block from ``inputs`` to ``width`` filters."""
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(inputs, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width))
        self.shortcut = nn.Sequential(nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width))
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[clips, inputs, s, s]`` to ``[clips, width, s / stride, s / stride]``."""
        # Subsampling equals a stride of the 1 x 1 convolution, whose gradient writes beyond its memory in oneDNN as of
        # torch 2.13 (three filters, channels last, AVX-512).
        return functional.relu(self.second(self.first(x)) + self.shortcut(x[:, :, :: self.stride, :: self.stride]))


class Classify(nn.Sequential):
    """Class scores of a block of maps."""

    def __init__(self, width: int, classes: int, dropout: float) -> None:
        """Make a linear layer over averages on a grid."""
        super().__init__(
            *(nn.AdaptiveAvgPool2d(GRID), nn.Flatten(), nn.Dropout(dropout)), nn.Linear(width * GRID**2, classes)
        )


class JointFeatureModule(nn.Module):
    """Joint features of two stages: fine maps for small motions, coarse maps for large motions."""

    def __init__(self, fine: int, coarse: int, classes: int, dropout: float) -> None:
        """Make a module for maps of ``fine`` and ``coarse`` filters; the joint features have ``fine``."""
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(fine, fine, 1), nn.Conv2d(coarse, fine, 1)
        self.join = nn.Sequential(nn.Conv2d(2 * fine, fine, 3, padding=1, bias=False), nn.BatchNorm2d(fine), nn.ReLU())
        self.classify = Classify(fine, classes, dropout)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Map maps ``[clips, filters, s, s]`` of a stage and of the next one to class scores ``[clips, classes]``."""
        larger = functional.interpolate(self.coarse(coarse), size=fine.shape[-2:], mode="bilinear", align_corners=False)
        scores: Tensor = self.classify(self.join(torch.cat([self.fine(fine), larger], dim=1)))
        return scores


class MSJFN(nn.Module):
    """Backbone, joint feature modules, and the fusion of their predictions."""

    def __init__(
        self,
        classes: int,
        dropout: float = 0.5,
        width: int = 16,
        modules: int = 3,
        fusion: str = "uniform",
        units: bool = False,
    ) -> None:
        """Make a network with random weights from torch's generator.

        Args:
            classes: number of classes.
            dropout: before each prediction.
            width: filters of the first stage; each further stage has twice as many.
            modules: number of joint feature modules, 0 to 3; the deepest stages are joined first.
            fusion: ``uniform`` (mean of the probabilities), ``learned`` (mean with learned weights) or ``none``: the
                backbone predicts, the modules only supervise its stages.
            units: whether the classes are action units, whose probabilities are fused unit by unit.
        """
        super().__init__()
        widths = [width * 2**stage for stage in range(STAGES)]
        self.stages = nn.ModuleList(
            Block(inputs, outputs, stride=2) for inputs, outputs in zip([3, *widths], widths, strict=False)
        )
        self.classify = Classify(widths[-1], classes, dropout)
        indices = range(STAGES - 1 - modules, STAGES - 1)
        self.joint = nn.ModuleList(
            JointFeatureModule(widths[index], widths[index + 1], classes, dropout) for index in indices
        )
        self.indices, self.fusion, self.units = list(indices), fusion if modules else "none", units
        if self.fusion == "learned":
            self.weights = nn.Parameter(torch.zeros(modules + 1))

    def predictions(self, x: Tensor) -> Tensor:
        """Return class scores of the backbone and of each module, ``[1 + modules, clips, classes]``."""
        x, maps = x.contiguous(memory_format=torch.channels_last), []  # Faster on a CPU.
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        joint = [module(maps[n], maps[n + 1]) for module, n in zip(self.joint, self.indices, strict=True)]
        return torch.stack([self.classify(x), *joint])

    def fuse(self, predictions: Tensor) -> Tensor:
        """Fuse class scores ``[1 + modules, clips, classes]`` to log probabilities ``[clips, classes]``.

        Those of action units are fused to the logits of their mean probabilities.
        """
        weights = self.weights if self.fusion == "learned" else predictions.new_zeros(len(predictions))

        def fused(log_probs: Tensor) -> Tensor:
            if self.fusion == "none":
                return log_probs[0]
            return torch.logsumexp(log_probs + weights.log_softmax(dim=0)[:, None, None], dim=0)

        if self.units:
            return fused(functional.logsigmoid(predictions)) - fused(functional.logsigmoid(-predictions))
        return fused(predictions.log_softmax(dim=2))

    def forward(self, x: Tensor) -> Tensor:
        """Map flow images ``[clips, 3 (u, v, strain), side, side]`` to class scores ``[clips, classes]``."""
        return self.fuse(self.predictions(x))

    def supervise(self, x: Tensor, y: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
        """Deep supervision: return the sum of the losses of each prediction and the fused one, and its class scores."""
        predictions = self.predictions(x)
        fused = self.fuse(predictions)
        losses = [loss(scores, y) for scores in predictions]
        if self.fusion != "none":
            losses.append(loss(fused, y))
        return sum(losses[1:], start=losses[0]), fused
