"""MSJFN: a multi-scale joint feature network over one flow image. Our reading of the abstract, not the authors' code.

Source: Li, Wei, Wang, Zhou: Multi-scale joint feature network for micro-expression recognition (Computational Visual
Media 7, 2021). The abstract gives a backbone on an optical-flow image, three joint feature modules that integrate the
features of different layers, and a fusion of their predictions with the backbone's; all else is ours
(docs/fidelity.md).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from merflow.learning.losses import Loss

STAGES = 4
"""Stages of the backbone; three modules join neighbours."""
GRID = 4
"""Side of the map that each prediction is made of: where the face moves is what tells expressions apart."""


class Block(nn.Module):
    """A residual block of two 3 x 3 convolutions (He, Zhang, Ren, Sun, CVPR 2016)."""

    def __init__(self, given: int, width: int, stride: int) -> None:
        """Make a block from ``given`` to ``width`` filters."""
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(given, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.two = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width))
        self.past, self.stride = nn.Sequential(nn.Conv2d(given, width, 1, bias=False), nn.BatchNorm2d(width)), stride

    def forward(self, x: Tensor) -> Tensor:
        """``[clips, given, s, s]`` to ``[clips, width, s / stride, s / stride]``."""
        # Every other pixel first: the same as a stride of the 1 x 1 convolution, whose gradient writes beyond its
        # memory in oneDNN as of torch 2.13 (three filters, channels last, AVX-512).
        return functional.relu(self.two(self.one(x)) + self.past(x[:, :, :: self.stride, :: self.stride]))


class Classify(nn.Sequential):
    """Class scores of a block of maps."""

    def __init__(self, width: int, classes: int, dropout: float) -> None:
        """Make a linear layer over averages on a grid."""
        super().__init__(
            *(nn.AdaptiveAvgPool2d(GRID), nn.Flatten(), nn.Dropout(dropout)), nn.Linear(width * GRID**2, classes)
        )


class JointFeatureModule(nn.Module):
    """Features of two stages in one: fine maps for small motions, coarse ones for large motions."""

    def __init__(self, fine: int, coarse: int, classes: int, dropout: float) -> None:
        """Make a module for maps of ``fine`` and ``coarse`` filters; the joint features have ``fine``."""
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(fine, fine, 1), nn.Conv2d(coarse, fine, 1)
        self.join = nn.Sequential(nn.Conv2d(2 * fine, fine, 3, padding=1, bias=False), nn.BatchNorm2d(fine), nn.ReLU())
        self.classify = Classify(fine, classes, dropout)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Maps ``[clips, filters, s, s]`` of a stage and of the next to class scores ``[clips, classes]``."""
        larger = functional.interpolate(self.coarse(coarse), size=fine.shape[-2:], mode="bilinear", align_corners=False)
        return self.classify(self.join(torch.cat([self.fine(fine), larger], dim=1)))


class MSJFN(nn.Module):
    """Backbone, joint feature modules, and one prediction made of theirs."""

    def __init__(
        self, classes: int, dropout: float = 0.5, width: int = 16, modules: int = 3, fusion: str = "uniform"
    ) -> None:
        """Make a network with random weights from torch's generator.

        Args:
            classes: number of classes.
            dropout: before each prediction.
            width: filters of the first stage; each other one has twice those before it.
            modules: joint feature modules, 0 to 3; the deepest stages are joined first.
            fusion: ``uniform`` (mean of the probabilities), ``learned`` (a weighted mean, its weights learnt) or
                ``none``: the backbone answers, the modules only supervise its stages.
        """
        super().__init__()
        widths = [width * 2**stage for stage in range(STAGES)]
        self.stages = nn.ModuleList(
            Block(given, own, stride=2) for given, own in zip([3, *widths], widths, strict=False)
        )
        self.classify = Classify(widths[-1], classes, dropout)
        places = range(STAGES - 1 - modules, STAGES - 1)
        self.joint = nn.ModuleList(
            JointFeatureModule(widths[place], widths[place + 1], classes, dropout) for place in places
        )
        self.places, self.fusion = list(places), fusion if modules else "none"
        if self.fusion == "learned":
            self.weights = nn.Parameter(torch.zeros(modules + 1))

    def predictions(self, x: Tensor) -> Tensor:
        """Class scores of the backbone and of each module, ``[1 + modules, clips, classes]``."""
        x, maps = x.contiguous(memory_format=torch.channels_last), []  # Faster on a CPU.
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        joint = [module(maps[n], maps[n + 1]) for module, n in zip(self.joint, self.places, strict=True)]
        return torch.stack([self.classify(x), *joint])

    def fuse(self, predictions: Tensor) -> Tensor:
        """One answer of several, as logarithms of its probabilities, ``[clips, classes]``."""
        chances = predictions.log_softmax(dim=2)
        if self.fusion == "none":
            return chances[0]
        weights = self.weights if self.fusion == "learned" else chances.new_zeros(len(chances))
        return torch.logsumexp(chances + weights.log_softmax(dim=0)[:, None, None], dim=0)

    def forward(self, x: Tensor) -> Tensor:
        """Flow images ``[clips, 3 (u, v, strain), side, side]`` to class scores ``[clips, classes]``."""
        return self.fuse(self.predictions(x))

    def supervise(self, x: Tensor, y: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
        """Deep supervision: each prediction by itself, and the fused one, have to be right.

        Returns:
            The sum of their losses, and the fused class scores.
        """
        predictions = self.predictions(x)
        fused = self.fuse(predictions)
        own = sum(loss(one, y) for one in predictions)
        return (own if self.fusion == "none" else own + loss(fused, y)), fused
