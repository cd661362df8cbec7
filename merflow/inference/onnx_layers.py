"""Layers of exported ensembles, in operations of ONNX."""

import copy
from collections.abc import Mapping
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from merflow.inference.settings import SIGNALS, InputSettings
from merflow.preprocessing.resize import area_weights
from merflow.systems.tsdgcn.sgcn import SGCN, ChebyshevLayer
from merflow.systems.tsdgcn.signals import FLAT, UNIT, less_clip_mean


class ClipReader(nn.Module):
    """Computes the input of the networks from clips, as :func:`merflow.inference.ensemble.clip_rows` does."""

    def __init__(self, settings: InputSettings) -> None:
        """``settings`` of the ensemble."""
        super().__init__()
        self.settings = settings

    @property
    def inputs(self) -> list[str]:
        """Names of the arrays that are read, of ``spatial, flow, apex_index``."""
        kind, branches = self.settings.kind, self.settings.branches
        grey = kind == "key-frames" or "spatial" in branches
        flow = kind.startswith("flow") or "temporal" in branches
        return ["spatial"] * grey + ["flow"] * flow + ["apex_index"] * (kind == "flow-image")

    def resize(self, images: Tensor) -> Tensor:
        """Return images ``[..., S, S]`` at the side of the networks, averaged by area."""
        size, side = images.shape[-1], self.settings.side
        weights = torch.tensor(area_weights(size, side))
        return images.float() if size == side else weights @ images.float() @ weights.T

    def grey(self, spatial: Tensor) -> Tensor:
        """Return :func:`merflow.systems.tsdgcn.signals.grey_signal`."""
        return self.standardised(self.resize(spatial) / 255)

    def standardised(self, images: Tensor) -> Tensor:
        """Return each image ``[..., side, side]`` at mean 0 and standard deviation 1."""
        images = images - images.mean(dim=(-2, -1), keepdim=True)
        deviation = images.square().mean(dim=(-2, -1), keepdim=True).sqrt()
        return images / deviation.clamp(min=FLAT)

    def motion(self, flow: Tensor) -> Tensor:
        """Return :func:`merflow.systems.tsdgcn.signals.flow_signal`, ``[n, rows, pixels]``."""
        small = self.resize(flow)
        if self.settings.signal == "strain":
            images = small[:, :, 2] / UNIT
        else:
            motion = small[:, :, :2] / (UNIT * flow.shape[-1])
            images = motion.flatten(1, 2)
            if self.settings.signal == "magnitude":
                images = motion.square().sum(dim=2).sqrt()
            elif self.settings.signal == "channels":
                images = torch.cat([motion, small[:, :, 2:] / UNIT], dim=2)
        return (self.standardised(images) if self.settings.normalise == "image" else images).flatten(2)

    def forward(self, *arrays: Tensor) -> Tensor:
        """Return rows ``[n, rows, pixels]`` of clips; ``arrays`` in the order of :attr:`inputs`."""
        clips = dict(zip(self.inputs, arrays, strict=True))
        if self.settings.kind == SIGNALS:
            return self.signals(clips)
        if self.settings.kind == "key-frames":
            return less_clip_mean(self.grey(clips["spatial"])).flatten(1).unsqueeze(1)
        if self.settings.kind.startswith("flows"):
            flows = self.resize(clips["flow"]).transpose(1, 2)
            if self.settings.kind == "flows-magnitude":
                flows = torch.cat([flows[:, :2], flows[:, :2].square().sum(dim=1, keepdim=True).sqrt()], dim=1)
            return flows.flatten(2)
        apex = clips["apex_index"].view(-1, 1, 1, 1, 1)
        # Selects the apex by a product with 0 and 1: fewer runtimes support a gather by two indices.
        is_apex = (torch.arange(clips["flow"].shape[1], device=apex.device).view(1, -1, 1, 1, 1) == apex).float()
        return self.resize((clips["flow"].float() * is_apex).sum(dim=1)).flatten(2)

    def signals(self, clips: Mapping[str, Tensor]) -> Tensor:
        """Return the fused signals of a pixel graph (``clip_signals`` of the system)."""
        signals = {}
        if "spatial" in clips:
            signals["spatial"] = self.grey(clips["spatial"]).flatten(2)
            if self.settings.relative == "pixels":
                signals["spatial"] = less_clip_mean(signals["spatial"])
        if "flow" in clips:
            signals["temporal"] = self.motion(clips["flow"])
        concat = self.settings.fusion == "concat" and len(signals) == 2
        if concat and self.settings.signal == "u+v":  # The spatial row is placed beside u and beside v.
            signals["spatial"] = signals["spatial"].unsqueeze(2).expand(-1, -1, 2, -1).flatten(1, 2)
        return torch.cat([signals[branch] for branch in self.settings.branches], dim=2 if concat else 1)


class ExportedChebyshevLayer(nn.Module):
    """:class:`merflow.systems.tsdgcn.sgcn.ChebyshevLayer` in operations of ONNX; ``[images, nodes, channels]``.

    In place of a sparse product, each node gathers its neighbours, padded with weights of zero to equal numbers.
    """

    def __init__(self, layer: ChebyshevLayer) -> None:
        """Share the weights of ``layer``."""
        super().__init__()
        self.weight, self.bias, self.cluster = layer.weight, layer.bias, layer.pool.shape[1]
        starts, columns, values = (part.cpu().numpy() for part in layer.laplacian)
        counts = np.diff(starts, append=len(columns))
        row = np.repeat(np.arange(len(starts)), counts)
        position = np.arange(len(columns)) - np.repeat(starts, counts)
        neighbours = np.zeros((len(starts), counts.max()), np.int64)
        entries = np.zeros((len(starts), counts.max(), 1), np.float32)
        neighbours[row, position], entries[row, position, 0] = columns, values
        self.neighbours: Tensor
        self.entries: Tensor
        self.pool: Tensor
        self.register_buffer("neighbours", torch.from_numpy(neighbours).flatten())
        self.register_buffer("entries", torch.from_numpy(entries))
        self.register_buffer("pool", layer.pool.cpu().flatten())

    def product(self, x: Tensor) -> Tensor:
        """Return the product of the Laplacian with ``x``."""
        gathered = x.index_select(1, self.neighbours).reshape(-1, *self.entries.shape[:2], x.shape[2])
        return torch.sum(gathered * self.entries, dim=2)

    def forward(self, x: Tensor) -> Tensor:
        """``[images, nodes, inputs]`` to ``[images, coarse nodes, outputs]``."""
        before, last = x, self.product(x)
        y = before @ self.weight[0] + last @ self.weight[1]
        for k in range(2, len(self.weight)):
            before, last = last, 2 * self.product(last) - before
            y = y + last @ self.weight[k]
        children = y.index_select(1, self.pool).reshape(y.shape[0], -1, self.cluster, y.shape[2])
        return functional.relu(children.amax(dim=2) + self.bias)


class ExportedSGCN(nn.Module):
    """The features of an SGCN in operations of ONNX."""

    def __init__(self, network: SGCN) -> None:
        """Share the weights of ``network``."""
        super().__init__()
        self.layers = nn.ModuleList(ExportedChebyshevLayer(cast(ChebyshevLayer, layer)) for layer in network.layers)
        self.norms, self.channels, self.connected = network.norms, network.channels, network.connected
        self.order: Tensor
        self.register_buffer("order", network.order.cpu())

    def features(self, x: Tensor) -> Tensor:
        """Return :meth:`merflow.systems.tsdgcn.sgcn.SGCN.features`, ``[images, hidden]``."""
        signal = x.reshape(x.shape[0], self.channels, -1).index_select(2, self.order).transpose(1, 2)
        for index, layer in enumerate(self.layers):
            signal = layer(signal)
            if self.norms:
                signal = self.norms[index](signal.transpose(1, 2)).transpose(1, 2)
        return functional.relu(self.connected(signal.flatten(1)))


class GridAverage(nn.Module):
    """``nn.AdaptiveAvgPool3d((1, cells, cells))`` as matrix products."""

    def __init__(self, cells: int) -> None:
        """``cells`` along each side."""
        super().__init__()
        self.cells = cells

    def forward(self, x: Tensor) -> Tensor:
        """``[n, channels, frames, height, width]`` to ``[n, channels, 1, cells, cells]``."""
        # Pooling a unit matrix gives the weight of each pixel in each cell, ``[cells, side]``.
        height, width = (functional.adaptive_avg_pool1d(torch.eye(side), self.cells).T for side in x.shape[-2:])
        return height @ x.mean(dim=2, keepdim=True) @ width.T


def exportable(module: nn.Module) -> nn.Module:
    """Return a copy of a module, on the CPU, in which layers without an ONNX form are replaced.

    Three-dimensional convolutions get a bias of zeros: torch 2.13 exports those without one with a bias of the wrong
    shape.
    """
    module = copy.deepcopy(module).cpu().eval()
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, SGCN):
                setattr(parent, name, ExportedSGCN(child))
            elif isinstance(child, nn.AdaptiveAvgPool3d):
                setattr(parent, name, GridAverage(cast(tuple[int, ...], child.output_size)[-1]))
            elif isinstance(child, nn.Conv3d) and child.bias is None:
                child.bias = nn.Parameter(child.weight.new_zeros(child.out_channels), requires_grad=False)
    return module
