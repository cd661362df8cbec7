"""SGCN: the stochastic graph convolutional network of Table I.

Source: Tang, Chai, Lu: Transferring Dual Stochastic Graph Convolutional Network for Facial Micro-expression Recognition
(arXiv 2203.05208); the filters are those of Defferrard, Bresson, Vandergheynst: Convolutional Neural Networks on Graphs
with Fast Localized Spectral Filtering (2016).

Activations are kept as ``[nodes, images, channels]``: one product with the sparse Laplacian then serves the whole batch
(a row per node), and the same memory read as ``[nodes * images, channels]`` is what the dense products need.
"""

from collections.abc import Iterator
from math import sqrt
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional

from merflow.graph import Graph

ORDERS = (9, 9, 6, 6, 4, 4)
"""K of each layer (Table I): terms of the Chebyshev sum in Eq. 3."""
WIDTHS = (32, 32, 64, 64, 128, 128)
"""d of each layer (Table I): output channels."""
HIDDEN = 512
"""Width of the fully connected layer (Table I)."""
NARROW = 8
"""Inputs with fewer channels: all terms of Eq. 3 in one dense product."""


class SparseMatrix(NamedTuple):
    """A sparse matrix as ``embedding_bag`` reads it.

    Attributes:
        starts: int32 ``[rows]``, where each row begins in the other two.
        columns: int32 ``[entries]``.
        values: float ``[entries]``.
    """

    starts: Tensor
    columns: Tensor
    values: Tensor

    @classmethod
    def of(cls, matrix: csr_array) -> "SparseMatrix":
        """The float32 copy of a SciPy matrix."""
        return cls(
            torch.from_numpy(matrix.indptr[:-1].astype(np.int32)),
            torch.from_numpy(matrix.indices.astype(np.int32)),
            torch.from_numpy(matrix.data.astype(np.float32)),
        )

    def times(self, x: Tensor) -> Tensor:
        """The product with ``x [rows, images, channels]``; a sum over weighted rows, as in an embedding bag."""
        flat = x.reshape(len(x), -1)
        product = functional.embedding_bag(self.columns, flat, self.starts, mode="sum", per_sample_weights=self.values)
        return product.view(x.shape)


def chebyshev_terms(laplacian: SparseMatrix, x: Tensor, order: int) -> Iterator[Tensor]:
    """T_0(L) x, T_1(L) x, ..., ``order`` terms, by T_k = 2 L T_(k-1) - T_(k-2).

    Args:
        laplacian: the rescaled Laplacian, ``[nodes, nodes]``.
        x: ``[nodes, images, channels]``.
        order: K of Eq. 3.
    """
    yield x
    if order == 1:
        return
    doubled = laplacian._replace(values=2 * laplacian.values)
    before, last = x, laplacian.times(x)
    yield last
    for _ in range(2, order):
        before, last = last, doubled.times(last).sub_(before)
        yield last


class ChebyshevFilter(torch.autograd.Function):
    """Eq. 3: y = sum over k of T_k(L) x W_k.

    L is symmetric, hence so is T_k(L), and the backward pass is the forward pass on the gradient g of y:
    dx = sum over k of T_k(L) g W_k^T and dW_k = x^T T_k(L) g. So only x is kept, not the K terms.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor, starts: Tensor, columns: Tensor, values: Tensor) -> Tensor:
        """Filter ``x [nodes, images, inputs]`` with ``weight [K, inputs, outputs]``: ``[nodes, images, outputs]``."""
        ctx.save_for_backward(x, weight, starts, columns, values)
        order, inputs, outputs = weight.shape
        terms = chebyshev_terms(SparseMatrix(starts, columns, values), x, order)
        if inputs < NARROW:
            y = _side_by_side(terms) @ weight.reshape(-1, outputs)
        else:
            y = _rows(next(terms)) @ weight[0]
            for term, part in zip(terms, weight[1:], strict=True):
                y.addmm_(_rows(term), part)
        return y.view(*x.shape[:2], outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x and of the weights."""
        x, weight, *parts = ctx.saved_tensors
        laplacian = SparseMatrix(*parts)
        gradient = gradient.contiguous()
        if not ctx.needs_input_grad[0] and x.shape[2] < NARROW:
            # The first layer: the terms of x are narrower than those of the gradient.
            terms = _side_by_side(chebyshev_terms(laplacian, x, len(weight)))
            return None, (terms.T @ _rows(gradient)).view(weight.shape), None, None, None
        x_gradient, weight_gradient = torch.zeros_like(x), torch.empty_like(weight)
        transposed = _rows(x).T
        for k, term in enumerate(chebyshev_terms(laplacian, gradient, len(weight))):
            torch.mm(transposed, _rows(term), out=weight_gradient[k])
            _rows(x_gradient).addmm_(_rows(term), weight[k].T)
        return x_gradient, weight_gradient, None, None, None


def _rows(x: Tensor) -> Tensor:
    return x.view(-1, x.shape[-1])


def _side_by_side(terms: Iterator[Tensor]) -> Tensor:
    """All terms in one matrix ``[nodes * images, K * channels]``."""
    return _rows(torch.cat(list(terms), dim=2))


class Children(torch.autograd.Function):
    """The children of each coarse node side by side, a missing one replaced by the first.

    For max pooling only: there the first of equal values takes the whole gradient, so a replacement has none, and the
    gradient of a node stands in one place. The backward pass looks it up, with the same bits on every device.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, pool: Tensor, place: Tensor) -> Tensor:
        """Gather ``x [nodes, ...]`` by ``pool [coarse nodes, children]``: ``[coarse nodes, children, ...]``."""
        ctx.save_for_backward(place)
        return x.index_select(0, pool.view(-1)).view(*pool.shape, *x.shape[1:])

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of node i from row ``place[i]`` of the gathered rows."""
        (place,) = ctx.saved_tensors
        return gradient.flatten(0, 1).index_select(0, place), None, None


def cluster_max(x: Tensor, pool: Tensor, place: Tensor) -> Tensor:
    """Largest value among the children of each coarse node.

    Args:
        x: ``[nodes, images, channels]``.
        pool: int64 ``[coarse nodes, children]``; rows with fewer children repeat the first.
        place: int64 ``[nodes]``: the first place of each node in ``pool``, read row by row.

    Returns:
        ``[coarse nodes, images, channels]``.
    """
    children = Children.apply(x, pool, place)
    # As pictures of height `children` and width `images` with the channels last in memory: torch's fastest path.
    pictures = children.permute(0, 3, 1, 2)
    return functional.max_pool2d(pictures, (pool.shape[1], 1)).permute(0, 2, 3, 1).flatten(0, 1)


class ChebyshevLayer(nn.Module):
    """One row of Table I: Chebyshev filters, max pooling over clusters, bias and ReLU.

    Max pooling commutes with adding a bias per channel and with ReLU, so it goes first: less is left to do.
    """

    def __init__(self, laplacian: csr_array, pool: np.ndarray, order: int, inputs: int, outputs: int):
        """Make a layer.

        Args:
            laplacian: rescaled Laplacian of the layer's input nodes, symmetric.
            pool: children of each output node, as in :class:`merflow.graph.Graph`.
            order: K.
            inputs: input channels.
            outputs: output channels.
        """
        super().__init__()
        self.weight = nn.Parameter(torch.randn(order, inputs, outputs) * sqrt(2 / (order * inputs)))
        self.bias = nn.Parameter(torch.zeros(outputs))
        fixed = SparseMatrix.of(laplacian)._asdict()
        fixed["pool"] = torch.from_numpy(pool)
        fixed["place"] = torch.from_numpy(np.unique(pool, return_index=True)[1])
        for name, tensor in fixed.items():
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``[nodes, images, inputs]`` to ``[coarse nodes, images, outputs]``."""
        y = ChebyshevFilter.apply(x, self.weight, self.starts, self.columns, self.values)
        return functional.relu(cluster_max(y, self.pool, self.place) + self.bias)


class SGCN(nn.Module):
    """The network of Table I on one graph.

    Six Chebyshev layers with pooling, a fully connected layer with ReLU and dropout, and a linear classifier. The state
    dictionary holds trained tensors only; the graph comes from its own file.
    """

    def __init__(self, graph: Graph, classes: int, hidden: int = HIDDEN, dropout: float = 0.5):
        """Make a network with random weights from torch's generator.

        Args:
            graph: pixel graph with the coarsenings of Table I.
            classes: number of classes.
            hidden: width of the fully connected layer.
            dropout: probability of dropping an output of the fully connected layer in training.
        """
        super().__init__()
        inputs = (1, *WIDTHS[:-1])
        self.layers = nn.ModuleList(
            ChebyshevLayer(*parts) for parts in zip(graph.laplacians, graph.pools, ORDERS, inputs, WIDTHS, strict=True)
        )
        self.connected = nn.Linear(graph.sizes[-1] * WIDTHS[-1], hidden)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(hidden, classes)
        self.register_buffer("order", torch.from_numpy(graph.order), persistent=False)

    def features(self, x: Tensor) -> Tensor:
        """Outputs of the fully connected layer after ReLU, X^fc of Eq. 4.

        Args:
            x: ``[images, pixels]``, a scalar per pixel, pixel = row * side + column.

        Returns:
            ``[images, hidden]``.
        """
        signal = x.index_select(1, self.order).T.unsqueeze(2).contiguous()
        for layer in self.layers:
            signal = layer(signal)
        return functional.relu(self.connected(signal.transpose(0, 1).reshape(len(x), -1)))

    def forward(self, x: Tensor) -> Tensor:
        """Class scores before softmax, ``[images, classes]``; ``x`` as in :meth:`features`."""
        return self.classifier(self.dropout(self.features(x)))
