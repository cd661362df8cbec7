"""SGCN: the stochastic graph convolutional network of Table I.

Source: Tang, Chai, Lu: Transferring Dual Stochastic Graph Convolutional Network for Facial Micro-expression Recognition
(arXiv 2203.05208); the filters are those of Defferrard, Bresson, Vandergheynst: Convolutional Neural Networks on Graphs
with Fast Localized Spectral Filtering (2016).

Activations are stored as ``[nodes, images, channels]``: one product with the sparse Laplacian (one row per node) then
serves many images, and the dense products read the same memory as ``[nodes * images, channels]``. On a CPU a layer
processes a few images at a time, so that the operands of the Chebyshev recurrence, the dense products and the pooling
stay in the cache and no large array is allocated.
"""

from collections.abc import Iterator, Mapping
from math import ceil, sqrt
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from merflow.systems.tsdgcn.graph import Graph

ORDERS = (9, 9, 6, 6, 4, 4)
"""K of each layer (Table I): number of terms of the Chebyshev sum in Eq. 3."""
WIDTHS = (32, 32, 64, 64, 128, 128)
"""d of each layer (Table I): number of output channels."""
HIDDEN = 512
"""Width of the fully connected layer (Table I)."""
MOST_CHANNELS = 3
"""Most values at a pixel of an image."""
CACHED = 320 * 1024
"""Floats (1.25 MB) of the largest array that a layer processes at a time on a CPU. With fewer, call overhead exceeds
the gain from the cache. The number does not depend on the machine, because the last bits of results depend on it."""


class SparseMatrix(NamedTuple):
    """A sparse matrix in the format of ``embedding_bag``; ``starts`` are the indices of the first entry of each row."""

    starts: Tensor
    columns: Tensor
    values: Tensor

    @classmethod
    def of(cls, matrix: csr_array) -> "SparseMatrix":
        """Return a float32 copy of a SciPy matrix."""
        starts, columns = (torch.from_numpy(part.astype(np.int32)) for part in (matrix.indptr[:-1], matrix.indices))
        return cls(starts, columns, torch.from_numpy(matrix.data.astype(np.float32)))

    def times(self, x: Tensor) -> Tensor:
        """Return the product with ``x [rows, images, channels]``, computed as the weighted sum of an embedding bag."""
        flat = x.reshape(len(x), -1)
        product = functional.embedding_bag(self.columns, flat, self.starts, mode="sum", per_sample_weights=self.values)
        return product.view(x.shape)


def chebyshev_terms(laplacian: SparseMatrix, x: Tensor, order: int) -> Iterator[Tensor]:
    """Yield the ``order`` terms T_0(L) x, T_1(L) x, ... of Eq. 3, by T_k = 2 L T_(k-1) - T_(k-2).

    ``laplacian``: the rescaled one; ``x``: ``[nodes, images, channels]``.
    """
    yield x
    if order == 1:
        return
    doubled = laplacian._replace(values=2 * laplacian.values)
    previous, term = x, laplacian.times(x)
    yield term
    for _ in range(2, order):
        previous, term = term, doubled.times(term).sub_(previous)
        yield term


class TableRow(torch.autograd.Function):
    """One row of Table I: Eq. 3, y = sum over k of T_k(L) x W_k, max pooling over clusters, bias, ReLU.

    Max pooling commutes with adding a bias per channel and with ReLU, so pooling comes first, which leaves less work
    for the others. L is symmetric, hence T_k(L) is too, and the backward pass of Eq. 3 is its forward pass on the
    gradient g of y: dx = sum over k of T_k(L) g W_k^T and dW_k = x^T T_k(L) g. So only x is saved, neither the K terms
    nor y.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, *fixed: Tensor) -> Tensor:
        """Map ``x [nodes, images, inputs]`` to ``[coarse nodes, images, outputs]``.

        Args:
            ctx: context for the backward pass.
            x: inputs.
            weight: ``[K, inputs, outputs]``.
            bias: ``[outputs]``.
            fixed: the rescaled Laplacian (:class:`SparseMatrix`); ``pool`` (:attr:`Graph.pools`); ``first``, int64
                ``[nodes]``, index of the first entry of each node in the flattened ``pool``.
        """
        *laplacian, pool, _ = fixed
        order, _, outputs = weight.shape
        result, winners = x.new_empty(len(pool), x.shape[1], outputs), []
        for images in parts(x, x.shape[1], len(x) * max(weight.shape[1:])):
            part = x[:, images].contiguous()
            terms = chebyshev_terms(SparseMatrix(*laplacian), part, order)
            y = _rows(next(terms)) @ weight[0]
            for term, factor in zip(terms, weight[1:], strict=True):
                y.addmm_(_rows(term), factor)
            children = y.view(len(x), -1).index_select(0, pool.view(-1))
            largest, winner = largest_child(children.view(*pool.shape, -1), any(ctx.needs_input_grad))
            result[:, images] = largest.view(len(pool), -1, outputs).add_(bias).relu_()
            winners.append(winner)
        ctx.save_for_backward(x, weight, result, *fixed, *winners)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, weight and bias."""
        x, weight, result, *laplacian, pool, first = ctx.saved_tensors[:8]
        x_gradient, weight_gradient = torch.empty_like(x), torch.zeros_like(weight)
        bias_gradient = weight.new_zeros(weight.shape[2])
        for images, winner in zip(
            parts(x, x.shape[1], len(x) * max(weight.shape[1:])), ctx.saved_tensors[8:], strict=True
        ):
            active = through_relu(gradient[:, images], result[:, images])
            bias_gradient += active.sum(dim=(0, 1))
            # If a node fills two entries of its cluster, its gradient is in the first one.
            children = to_winners(active.view(len(pool), -1), winner, pool.shape[1])
            g = children.flatten(0, 1).index_select(0, first).view(len(x), -1, weight.shape[2])
            transposed = _rows(x[:, images].contiguous()).T
            part = _rows(g) @ weight[0].T
            for k, term in enumerate(chebyshev_terms(SparseMatrix(*laplacian), g, len(weight))):
                weight_gradient[k].addmm_(transposed, _rows(term))
                if k:
                    part.addmm_(_rows(term), weight[k].T)
            x_gradient[:, images] = part.view(len(x), -1, weight.shape[1])
        return x_gradient, weight_gradient, bias_gradient, *[None] * 5


class FirstRow(torch.autograd.Function):
    """:class:`TableRow` for images, which have few channels and no gradient, from their Chebyshev terms."""

    @staticmethod
    def forward(ctx: Any, terms: Tensor, weight: Tensor, bias: Tensor, children: int) -> Tensor:
        """Map terms ``[images, K * inputs, coarse nodes * children]`` to ``[coarse nodes, images, outputs]``."""
        outputs = weight.shape[2]
        # Images are the first axis in memory: they are computed in this order, and the gradient arrives in it.
        result, winners = terms.new_empty(len(terms), terms.shape[2] // children, outputs), []
        for images in parts(terms, len(terms), terms.shape[2] * outputs):
            y = terms[images].transpose(1, 2) @ weight.flatten(0, 1)
            largest, winner = largest_child(y.view(-1, children, outputs), any(ctx.needs_input_grad))
            torch.add(largest, bias, out=_rows(result[images])).relu_()
            winners.append(winner)
        ctx.save_for_backward(terms, weight, result, *winners)
        ctx.children = children
        return result.transpose(0, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of weight and bias."""
        terms, weight, result, *winners = ctx.saved_tensors
        outputs, gradient = weight.shape[2], gradient.transpose(0, 1)
        weight_gradient, bias_gradient = torch.zeros_like(weight.flatten(0, 1)), weight.new_zeros(outputs)
        for images, winner in zip(parts(terms, len(terms), terms.shape[2] * outputs), winners, strict=True):
            active = through_relu(gradient[images], result[images]).view(-1, outputs)
            bias_gradient += active.sum(dim=0)
            g = to_winners(active, winner, ctx.children)
            weight_gradient += (terms[images] @ g.reshape(-1, terms.shape[2], outputs)).sum(dim=0)
        return None, weight_gradient.view(weight.shape), bias_gradient, None


def parts(x: Tensor, images: int, floats: int) -> Iterator[slice]:
    """Return the slices of images that a layer processes at a time: all on a GPU, as many as :data:`CACHED` on a CPU.

    ``floats``: floats per image in the largest array.
    """
    count = 1 if x.is_cuda else ceil(images / max(1, CACHED // floats))
    step = ceil(images / count)
    return (slice(first, first + step) for first in range(0, images, step))


def through_relu(gradient: Tensor, result: Tensor) -> Tensor:
    """Return the backward pass of ReLU, contiguous: the gradient where the result is above 0, and 0 elsewhere."""
    active: Tensor = torch.ops.aten.threshold_backward(gradient.contiguous(), result.contiguous(), 0)
    return active


def _rows(x: Tensor) -> Tensor:
    return x.view(-1, x.shape[-1])


def _as_images(x: Tensor) -> Tensor:
    """View ``[coarse nodes, children, width]`` as images of one column, channels last, which torch pools fastest."""
    return x.unsqueeze(2).permute(0, 3, 1, 2)


def largest_child(x: Tensor, winners: bool) -> tuple[Tensor, Tensor | None]:
    """Return the largest of ``x [coarse nodes, children, width]`` among the children, ``[coarse nodes, width]``.

    If ``winners``, which takes longer, also the number of that child (the first of equal ones), uint8; otherwise None.
    """
    if not winners:
        return x.amax(dim=1), None
    largest, winner = functional.max_pool2d(_as_images(x), (x.shape[1], 1), return_indices=True)
    return largest.flatten(1), winner.flatten(1).to(torch.uint8)


def to_winners(gradient: Tensor, winner: Tensor, children: int) -> Tensor:
    """Return the backward pass of :func:`largest_child`, ``[coarse nodes, children, width]``.

    It is the gradient ``[coarse nodes, width]`` at the child ``winner``, and 0 at the others.
    """
    like = gradient.new_empty(len(gradient), children, gradient.shape[1])
    kernel, winner = (children, 1), _as_images(winner.to(torch.int64).unsqueeze(1))
    spread: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(
        _as_images(gradient.unsqueeze(1)), _as_images(like), kernel, kernel, (0, 0), (1, 1), False, winner
    )
    return spread.squeeze(3).transpose(1, 2)


class ChebyshevLayer(nn.Module):
    """One row of Table I: Chebyshev filters (Eq. 3), max pooling over clusters, bias and ReLU."""

    starts: Tensor
    columns: Tensor
    values: Tensor
    pool: Tensor
    first: Tensor

    def __init__(self, laplacian: csr_array, pool: np.ndarray, order: int, inputs: int, outputs: int) -> None:
        """Make a layer with K = ``order`` for a rescaled Laplacian, and clusters as in :attr:`Graph.pools`."""
        super().__init__()
        self.weight = nn.Parameter(torch.randn(order, inputs, outputs) * sqrt(2 / (order * inputs)))
        self.bias = nn.Parameter(torch.zeros(outputs))
        fixed = SparseMatrix.of(laplacian)._asdict()
        fixed["pool"] = torch.from_numpy(pool)
        fixed["first"] = torch.from_numpy(np.unique(pool, return_index=True)[1])
        for name, tensor in fixed.items():
            self.register_buffer(name, tensor, persistent=False)

    @property
    def laplacian(self) -> SparseMatrix:
        """The rescaled Laplacian of the input nodes."""
        return SparseMatrix(self.starts, self.columns, self.values)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[nodes, images, inputs]`` to ``[coarse nodes, images, outputs]``."""
        result: Tensor
        inputs = x.shape[2]
        if inputs > MOST_CHANNELS or x.requires_grad:
            result = TableRow.apply(x, self.weight, self.bias, *self.laplacian, self.pool, self.first)  # type: ignore[no-untyped-call]
            return result
        terms = x.new_empty(x.shape[1], len(self.weight) * inputs, self.pool.numel())
        for k, term in enumerate(chebyshev_terms(self.laplacian, x, len(self.weight))):
            of_children = term.index_select(0, self.pool.view(-1))
            terms[:, k * inputs : (k + 1) * inputs] = of_children.permute(1, 2, 0)
        result = FirstRow.apply(terms, self.weight, self.bias, self.pool.shape[1])  # type: ignore[no-untyped-call]
        return result


class SGCN(nn.Module):
    """The network of Table I on one graph.

    It has six Chebyshev layers with pooling, a fully connected layer with ReLU and dropout, and a linear classifier.
    Its state dictionary holds no graph, which has its own file.
    """

    order: Tensor

    def __init__(
        self,
        graph: Graph,
        classes: int,
        hidden: int = HIDDEN,
        dropout: float = 0.5,
        *,
        channels: int = 1,
        layers: int = len(ORDERS),
        batch_norm: bool = False,
    ) -> None:
        """Make a network with random weights from torch's generator.

        Args:
            graph: graph of the images.
            classes: number of classes.
            hidden: width of the fully connected layer.
            dropout: probability of dropping an input of the classifier.
            channels: values at a pixel; 1 in the paper.
            layers: number of Chebyshev layers, the first ones of Table I; 6 in the paper.
            batch_norm: whether batch normalisation follows each of them; not in the paper.
        """
        super().__init__()
        self.channels, inputs = channels, (channels, *WIDTHS[:-1])
        rows = zip(graph.laplacians, graph.pools, ORDERS, inputs, WIDTHS, strict=True)
        self.layers = nn.ModuleList(ChebyshevLayer(*row) for row in list(rows)[:layers])
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for width in WIDTHS[: layers if batch_norm else 0])
        self.connected = nn.Linear(graph.sizes[layers] * WIDTHS[layers - 1], hidden)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(hidden, classes)
        self.register_buffer("order", torch.from_numpy(graph.order), persistent=False)

    @classmethod
    def of_state(cls, graph: Graph, state: Mapping[str, Tensor]) -> "SGCN":
        """Return the network of a state dictionary, whose options show in its tensors.

        Raises:
            KeyError: a tensor is missing.
            RuntimeError: a tensor does not fit the graph.
        """
        layers = sum(name.startswith("layers.") and name.endswith(".weight") for name in state)
        channels, batch_norm = state["layers.0.weight"].shape[1], "norms.0.weight" in state
        classes = len(state["classifier.bias"])
        network = cls(graph, classes, channels=channels, layers=layers, batch_norm=batch_norm)
        network.load_state_dict(state)
        return network

    def features(self, x: Tensor) -> Tensor:
        """Return the outputs of the fully connected layer after ReLU, X^fc of Eq. 4, ``[images, hidden]``.

        ``x``: ``[images, channels * pixels]``, pixel = row * side + column.
        """
        by_channel = x.reshape(len(x), self.channels, -1)
        signal = by_channel.index_select(2, self.order).permute(2, 0, 1).contiguous()
        for index, layer in enumerate(self.layers):
            signal = layer(signal)
            if self.norms:
                signal = self.norms[index](signal.flatten(0, 1)).view(signal.shape)
        return functional.relu(self.connected(signal.transpose(0, 1).reshape(len(x), -1)))

    def forward(self, x: Tensor) -> Tensor:
        """Return class scores before softmax, ``[images, classes]``; ``x`` is as in :meth:`features`."""
        scores: Tensor = self.classifier(self.dropout(self.features(x)))
        return scores
