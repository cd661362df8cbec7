"""The members of an ensemble as networks: from what they read of clips to probabilities."""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from merflow.systems.settings import SignalSettings
from merflow.systems.tsdgcn.fold_training import EndToEnd
from merflow.systems.tsdgcn.fusion import relative_features
from merflow.systems.tsdgcn.heads import Head, clip_probabilities
from merflow.systems.tsdgcn.sgcn import SGCN

IMAGE_BATCH = 16
"""Images of a batch of graph networks; larger batches exceed a processor's cache."""
CLIP_BATCH = 64
"""Clips of a batch of other networks."""


class MemberGroup(nn.Module):
    """Members that share networks: the heads of a seed on its SGCNs, or one network alone.

    ``forward`` maps rows, float32 ``[n, rows, pixels]``, to probabilities at temperature 1, float32 ``[members, n,
    classes]``; ``units``: whether the classes are action units.
    """

    members = 1
    units = False

    def __init__(self, centre: Mapping[str, Tensor] | None = None) -> None:
        """Keep the centring of the rows (:func:`merflow.learning.batches.centre_arrays`), if there is one."""
        super().__init__()
        self.mean: Tensor | None
        self.divisor: Tensor
        for name in ("mean", "divisor"):
            self.register_buffer(name, (centre or {}).get(name))

    def centred(self, rows: Tensor) -> Tensor:
        """Return the centred rows."""
        return rows if self.mean is None else (rows - self.mean) / self.divisor

    def batch(self, rows: int) -> int:
        """Return the number of clips of a batch, for clips of ``rows`` rows."""
        return max(1, IMAGE_BATCH // rows)


class SharedGraphs(MemberGroup):
    """SGCNs and the heads that were trained on their features (Eq. 4 and 5)."""

    def __init__(
        self, networks: Sequence[nn.Module], heads: Sequence[nn.Module], settings: SignalSettings, branch: Sequence[int]
    ) -> None:
        """Join networks with heads on features ``[n, rows, features]``.

        ``settings``: what they read of a clip; ``branch``: branch of each row.
        """
        super().__init__()
        self.settings, self.branch = settings, list(branch)
        self.networks, self.heads, self.members = nn.ModuleList(networks), nn.ModuleList(heads), len(heads)
        self.pixels = cast("SGCN", networks[0]).order.numel()

    def forward(self, rows: Tensor) -> Tensor:
        """See :class:`MemberGroup`."""
        images = torch.split(rows.flatten(0, 1), self.pixels, dim=1)
        networks = cast("list[SGCN]", list(self.networks))
        features = torch.cat([network.features(image) for image in images for network in networks], dim=1)
        features = features.reshape(-1, rows.shape[1], features.shape[1])
        features = relative_features(features, self.settings, self.branch)
        return torch.stack([clip_probabilities(head(features), self.units) for head in self.heads])


class EndToEndGraphs(MemberGroup):
    """SGCNs that were trained inside a fold together with their head, and the centring of their input, if any."""

    def __init__(self, model: EndToEnd, centre: Mapping[str, Tensor]) -> None:
        """Join a network with its centring, which may be empty."""
        super().__init__(centre)
        self.model = model

    def forward(self, rows: Tensor) -> Tensor:
        """See :class:`MemberGroup`."""
        rows = self.centred(rows)
        if cast("Head", self.model.head).rows > 1:
            return clip_probabilities(self.model(rows.flatten(1)), self.units)[None]
        scores: Tensor = self.model(rows.flatten(0, 1))
        return clip_probabilities(scores.reshape(-1, rows.shape[1], scores.shape[1]), self.units)[None]


class ClipNetwork(MemberGroup):
    """A network that reads clips, and the centring of its input."""

    def __init__(self, model: nn.Module, centre: Mapping[str, Tensor], shape: tuple[int, ...]) -> None:
        """Join them; ``shape`` is the network's input for a clip, ``[channels, (frames,) side, side]``."""
        super().__init__(centre)
        self.model, self.shape = model, shape

    def batch(self, rows: int) -> int:
        """See :class:`MemberGroup`."""
        return CLIP_BATCH

    def forward(self, rows: Tensor) -> Tensor:
        """See :class:`MemberGroup`."""
        return clip_probabilities(self.model(self.centred(rows).reshape(-1, *self.shape)), self.units)[None]
