"""The p+q stochastic pixel graph, its coarsening and its rescaled Laplacians.

:func:`build_graph` returns all that a graph network needs as one :class:`Graph`: Algorithm 1 and Eq. 1
(:func:`pq_adjacency`), Graclus coarsening (:func:`coarsen`), Eq. 2 and the rescaling below Eq. 3
(:func:`scaled_laplacian`). Equations are those of Tang, Chai, Lu: Transferring Dual Stochastic Graph Convolutional
Network for Facial Micro-expression Recognition (arXiv 2203.05208).
"""

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import pairwise
from math import floor, sqrt
from pathlib import Path

import h5py
import numpy as np
from scipy.sparse import csr_array, diags_array, eye_array
from scipy.sparse.linalg import eigsh

from merflow.errors import ConfigError, InputError
from merflow.storage.files import atomic_write
from merflow.storage.hdf5 import open_h5

SCALARS = ("side", "p", "q", "threshold", "sigma", "seed", "symmetrise")
COARSENINGS = (2, 2, 1, 1, 1, 1)
"""Number of coarsenings after each convolution layer (s_l of Table I); each one at best halves the nodes."""
VISITING_SEED = 0
"""Seed of the order in which the first matching visits the nodes. It is the same for every graph, so that a graph
without drawn neighbours does not depend on a seed."""
TOLERANCE = 1e-9
"""Tolerance of comparisons between distances, which are square roots."""
EIGENVALUE_TOLERANCE = 1e-5
"""Relative accuracy of the largest eigenvalue. It is rounded up by as much, so that no scaled eigenvalue exceeds 1."""
DENSE_NODES = 128
"""Largest number of nodes for which all eigenvalues are computed."""


@dataclass(frozen=True)
class Graph:
    """A pixel graph for a network with the layers of Table I.

    Nodes are ordered so that the children of a coarse node are adjacent. No fake nodes are added.

    Attributes:
        side, p, q, threshold, sigma, seed, symmetrise: arguments of :func:`pq_adjacency`.
        adjacency: A of Eq. 1, float64 ``[side**2, side**2]``, node = row * side + column.
        order: int64 ``[side**2]``; node i of the first layer is pixel ``order[i]``.
        laplacians: the rescaled Laplacian of each layer, float64, symmetric, spectrum inside [-1, 1].
        lambda_max: the largest eigenvalue of each layer's Laplacian before rescaling.
        pools: per layer int64 ``[next nodes, children]``: the nodes that each node of the next layer unites; rows
            with fewer children repeat the first one.
    """

    side: int
    p: int
    q: int
    threshold: float
    sigma: str | float
    seed: int
    symmetrise: str
    adjacency: csr_array
    order: np.ndarray
    laplacians: tuple[csr_array, ...]
    lambda_max: tuple[float, ...]
    pools: tuple[np.ndarray, ...]

    @property
    def name(self) -> str:
        """Name of the graph in configurations and tables, such as ``8+2``."""
        return f"{self.p}+{self.q}"

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of nodes of each layer's input, and of the last layer's output."""
        return (*(matrix.shape[0] for matrix in self.laplacians), len(self.pools[-1]))

    @cached_property
    def digest(self) -> str:
        """Twelve hexadecimal digits that identify everything a network uses of the graph."""
        total = sha256(str(self.sizes).encode())
        for matrix in self.laplacians:
            for part in (matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64), matrix.data):
                total.update(part.tobytes())
        for part in (self.order, *self.pools):
            total.update(part.tobytes())
        return total.hexdigest()[:12]

    def save(self, path: str | Path) -> None:
        """Write the graph as HDF5; equal graphs give equal bytes."""
        with atomic_write(path) as temporary, h5py.File(temporary, "w") as file:
            file.attrs.update({name: getattr(self, name) for name in (*SCALARS, "digest")})
            file["order"] = self.order
            _write_matrix(file.create_group("adjacency"), self.adjacency)
            for number in range(len(COARSENINGS)):
                layer = file.create_group(f"layer{number + 1}")
                layer.attrs["lambda_max"] = self.lambda_max[number]
                layer["pool"] = self.pools[number]
                _write_matrix(layer.create_group("laplacian"), self.laplacians[number])

    @classmethod
    def load(cls, path: str | Path) -> "Graph":
        """Read a graph written by :meth:`save`.

        Raises:
            InputError: the file is missing or is not a graph.
        """
        try:
            with open_h5(path) as file:
                layers = [file[f"layer{number}"] for number in range(1, len(COARSENINGS) + 1)]
                return cls(
                    **{name: np.asarray(file.attrs[name]).item() for name in SCALARS},
                    adjacency=_read_matrix(file["adjacency"]),
                    order=file["order"][:],
                    laplacians=tuple(_read_matrix(layer["laplacian"]) for layer in layers),
                    lambda_max=tuple(float(layer.attrs["lambda_max"]) for layer in layers),
                    pools=tuple(layer["pool"][:] for layer in layers),
                )
        except (OSError, KeyError) as error:
            raise InputError(f"{path} is not a graph of merflow: {error}; delete it and run again") from error


def build_graph(
    side: int,
    p: int,
    q: int,
    threshold: float = 2 * sqrt(2),
    sigma: str | float = "neighbours",
    seed: int = 0,
    symmetrise: str = "maximum",
) -> Graph:
    """Return the p+q graph of a square image, its coarser graphs and their Laplacians.

    Arguments and errors are those of :func:`pq_adjacency`.
    """
    adjacency = pq_adjacency(side, p, q, threshold=threshold, sigma=sigma, seed=seed, symmetrise=symmetrise)
    levels, parents = coarsen(adjacency, sum(COARSENINGS))
    orders = _tree_orders(parents)
    layers = []
    for level, following in pairwise(np.cumsum((0, *COARSENINGS))):
        order = orders[level]
        laplacian = scaled_laplacian(levels[level][order][:, order])
        layers.append((*laplacian, _children(parents[level:following], order, orders[following])))
    scalars = (side, p, q, float(threshold), sigma, seed, symmetrise)
    return Graph(*scalars, adjacency, orders[0], *zip(*layers, strict=True))


def candidate_offsets(threshold: float) -> np.ndarray:
    """Return the offsets from a node to its candidate neighbours (Step 1 of Algorithm 1).

    Returns:
        int64 ``[candidates, 2]``, (rows, columns), sorted by distance, then by row, then by column. A threshold of
        ``2 sqrt(2)`` gives 24 candidates, ``2 sqrt(5)`` gives 68.
    """
    reach = np.arange(-floor(threshold + TOLERANCE), floor(threshold + TOLERANCE) + 1)
    rows, columns = (axis.ravel() for axis in np.meshgrid(reach, reach, indexing="ij"))
    squared = rows**2 + columns**2
    order = np.lexsort((columns, rows, squared))
    order = order[(squared[order] > 0) & (np.sqrt(squared[order]) <= threshold + TOLERANCE)]
    return np.stack([rows[order], columns[order]], axis=1)


def pq_adjacency(
    side: int,
    p: int,
    q: int,
    *,
    threshold: float = 2 * sqrt(2),
    sigma: str | float = "neighbours",
    seed: int = 0,
    symmetrise: str = "maximum",
) -> csr_array:
    """Return the adjacency matrix of the p+q stochastic graph of a square image (Algorithm 1, Eq. 1).

    Each node is linked to its p nearest candidates and to q of its other candidates, drawn without replacement. The
    candidates are the nodes at a distance of at most ``threshold``. The algorithm gives a directed graph, but the paper
    uses an undirected one (``symmetrise``). Near the border a node has fewer candidates; if there are fewer than p+q,
    all of them are linked.

    Args:
        side: side of the image in pixels.
        p: number of nearest neighbours; ties are broken in the order of :func:`candidate_offsets`.
        q: number of drawn neighbours.
        threshold: T in pixels, at least 1, so that every node has a neighbour.
        sigma: width of the Gaussian in Eq. 1. ``neighbours``: the mean over nodes of the distance to the farthest of
            the p+q neighbours that the node chose. ``image``: the mean distance to the farthest pixel of the image. A
            number: pixels.
        seed: seed of the draw; unused if q is 0.
        symmetrise: ``maximum``: A <- max(A, A^T), which leaves more than p+q neighbours on average. ``mean-degree``: of
            the links that only one of their nodes chose, a drawn half is left out, so that the mean number of
            neighbours is that of chosen ones; the last link of a node stays.

    Returns:
        float64 ``[side**2, side**2]``, symmetric, zero diagonal, node = row * side + column.

    Raises:
        ConfigError: an argument is out of range.
    """
    _check_arguments(side, p, q, threshold, sigma)
    offsets, _, nearest, drawn = chosen_neighbours(side, p, q, threshold, seed)
    row, column = np.divmod(np.arange(side * side), side)
    rows = row[:, None] + offsets[:, 0]
    columns = column[:, None] + offsets[:, 1]
    chosen = nearest | drawn
    source, step = np.nonzero(chosen)
    squared = (offsets**2).sum(axis=1)
    if sigma == "neighbours":
        width = np.sqrt(np.where(chosen, squared, 0).max(axis=1)).mean()
    elif sigma == "image":
        width = np.hypot(np.maximum(row, side - 1 - row), np.maximum(column, side - 1 - column)).mean()
    else:
        width = float(sigma)
    weights = np.exp(-squared[step] / width**2)
    target = rows[source, step] * side + columns[source, step]
    directed = csr_array((weights, (source, target)), shape=(side * side, side * side))
    if symmetrise == "mean-degree":
        directed = _without_half(directed, seed if q else 0)
    adjacency = directed.maximum(directed.T).tocsr()
    adjacency.sort_indices()
    return adjacency


def _without_half(directed: csr_array, seed: int) -> csr_array:
    """Return a directed graph without a drawn half of the links that have none in the other direction."""
    links, size = directed.tocoo(), directed.shape[0]
    backwards = links.col.astype(int) * size + links.row
    one_sided = np.flatnonzero(~np.isin(links.row.astype(int) * size + links.col, backwards))
    neighbours = np.diff(directed.maximum(directed.T).tocsr().indptr)
    kept, surplus = np.ones(links.nnz, bool), len(one_sided) // 2
    for index in np.random.default_rng((seed, 1)).permutation(one_sided):
        ends = [links.row[index], links.col[index]]
        if surplus and (neighbours[ends] > 1).all():
            kept[index], surplus = False, surplus - 1
            neighbours[ends] -= 1
    return csr_array((links.data[kept], (links.row[kept], links.col[kept])), shape=directed.shape)


def chosen_neighbours(
    side: int, p: int, q: int, threshold: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the neighbours that each node chooses (Algorithm 1), before the graph is made undirected.

    Returns:
        ``offsets`` of :func:`candidate_offsets`, and three masks, bool ``[side**2, candidates]``: candidates inside the
        image, the p nearest ones, and the q drawn ones.
    """
    offsets = candidate_offsets(threshold)
    row, column = np.divmod(np.arange(side * side), side)
    rows = row[:, None] + offsets[:, 0]
    columns = column[:, None] + offsets[:, 1]
    candidate = (rows >= 0) & (rows < side) & (columns >= 0) & (columns < side)
    # Offsets are sorted by distance, so the p nearest are the first p that lie inside the image.
    nearest = candidate & (np.cumsum(candidate, axis=1) <= p)
    drawn = np.zeros_like(nearest)
    if q:
        others = candidate & ~nearest
        lots = np.where(others, np.random.default_rng(seed).random(others.shape), np.inf)
        np.put_along_axis(drawn, np.argsort(lots, axis=1, kind="stable")[:, :q], True, axis=1)
        drawn &= others
    return offsets, candidate, nearest, drawn


def _check_arguments(side: int, p: int, q: int, threshold: float, sigma: str | float) -> None:
    for valid, expected in (
        (side >= 2, f"side {side}: expected at least 2 pixels"),
        (min(p, q) >= 0 and p + q > 0, f"{p}+{q}: expected p and q of at least 0, and p + q of at least 1"),
        (threshold >= 1 - TOLERANCE, f"threshold {threshold}: expected at least 1 pixel, to give nodes neighbours"),
        (
            sigma in ("neighbours", "image") if isinstance(sigma, str) else sigma > 0,
            f"sigma {sigma!r}: expected neighbours, image or a number above 0",
        ),
    ):
        if not valid:
            raise ConfigError(f"graph {expected}")


def coarsen(adjacency: csr_array, levels: int) -> tuple[list[csr_array], list[np.ndarray]]:
    """Coarsen a graph by heavy-edge matching (Graclus), as the ChebNet reference code does.

    At each level every node is united with the unmatched neighbour j that maximises a_ij (1/d_i + 1/d_j); a node
    without an unmatched neighbour becomes a coarse node by itself. The first level visits the nodes in a fixed random
    order, the other levels by increasing degree. Links inside a united node count in later degrees, but are not part of
    the returned matrices.

    Returns:
        ``levels + 1`` adjacency matrices with zero diagonals, the finest first, and for each level except the last one
        the parents: int64, the coarse node of each node.
    """
    matrix = csr_array(adjacency)
    degree = matrix.sum(axis=1) - matrix.diagonal()
    visits = np.random.default_rng(VISITING_SEED).permutation(matrix.shape[0])
    matrices, parents = [_without_diagonal(matrix)], []
    for _ in range(levels):
        parent = _match(matrix, degree, visits)
        parents.append(parent)
        count = int(parent.max()) + 1
        links = matrix.tocoo()
        matrix = csr_array((links.data, (parent[links.row], parent[links.col])), shape=(count, count))
        matrix.sum_duplicates()
        matrices.append(_without_diagonal(matrix))
        degree = matrix.sum(axis=1)
        visits = np.argsort(degree, kind="stable")
    return matrices, parents


def _match(matrix: csr_array, degree: np.ndarray, visits: np.ndarray) -> np.ndarray:
    """Match one level: return the coarse node of each node, numbered in the order of the visits."""
    # Each choice depends on all earlier ones, hence a Python loop, in which lists are much faster than arrays.
    inverse = 1 / np.maximum(degree, np.finfo(float).tiny)
    source = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    gain = (matrix.data * (inverse[source] + inverse[matrix.indices])).tolist()
    starts, neighbours = matrix.indptr.tolist(), matrix.indices.tolist()
    parent = [-1] * matrix.shape[0]
    count = 0
    for node in visits.tolist():
        if parent[node] >= 0:
            continue
        parent[node] = count
        best, largest = -1, 0.0
        for index in range(starts[node], starts[node + 1]):
            if gain[index] > largest and parent[neighbours[index]] < 0:
                best, largest = neighbours[index], gain[index]
        if best >= 0:
            parent[best] = count
        count += 1
    return np.array(parent)


def _without_diagonal(matrix: csr_array) -> csr_array:
    links = matrix.tocoo()
    keep = links.row != links.col
    return csr_array((links.data[keep], (links.row[keep], links.col[keep])), shape=matrix.shape)


def _tree_orders(parents: list[np.ndarray]) -> list[np.ndarray]:
    """Return an order of the nodes of each level in which the children of a parent are adjacent.

    The coarsest nodes are sorted by the first pixel that they cover.
    """
    first = np.arange(len(parents[0]))
    for parent in parents:
        smallest = np.full(parent.max() + 1, len(parents[0]))
        np.minimum.at(smallest, parent, first)
        first = smallest
    orders = [np.argsort(first, kind="stable")]
    for parent in reversed(parents):
        orders.append(np.argsort(np.argsort(orders[-1])[parent], kind="stable"))
    return orders[::-1]


def _children(parents: list[np.ndarray], order: np.ndarray, coarse_order: np.ndarray) -> np.ndarray:
    """Return the children (:attr:`Graph.pools`) of the nodes of a coarser level, which are sorted by ``coarse_order``.

    ``parents`` are those of the levels in between; ``order`` sorts the nodes of the finer level.
    """
    ancestor = np.arange(len(order))
    for parent in parents:
        ancestor = parent[ancestor]
    # The children of a node are adjacent, so they are described by the index of the first one and their number.
    counts = np.bincount(np.argsort(coarse_order)[ancestor[order]], minlength=len(coarse_order))
    starts = np.cumsum(counts) - counts
    slots = np.arange(counts.max())
    return starts[:, None] + np.where(slots < counts[:, None], slots, 0)


def scaled_laplacian(adjacency: csr_array) -> tuple[csr_array, float]:
    """Return the rescaled Laplacian 2 L / lambda_max - I of L = I - D^(-1/2) A D^(-1/2) (Eq. 2 and below Eq. 3).

    The row of a node without links is that of the identity in L.

    Returns:
        The matrix, float64, with a spectrum inside [-1, 1], and lambda_max.
    """
    degree = np.asarray(adjacency.sum(axis=1))
    root = np.divide(1, np.sqrt(degree), out=np.zeros(len(degree)), where=degree > 0)
    identity = eye_array(len(degree), format="csr")
    laplacian = csr_array(identity - diags_array(root) @ adjacency @ diags_array(root))
    # Rounding may differ between a_ij and a_ji, but the backward pass of the network needs exact symmetry.
    laplacian = csr_array((laplacian + laplacian.T) / 2)
    largest = largest_eigenvalue(laplacian)
    scaled = csr_array(laplacian * (2 / largest) - identity)
    scaled.eliminate_zeros()
    scaled.sort_indices()
    return scaled, largest


def largest_eigenvalue(laplacian: csr_array) -> float:
    """Return the largest eigenvalue of a normalised Laplacian, rounded up by its accuracy, and at most 2."""
    nodes = laplacian.shape[0]
    if nodes <= DENSE_NODES:
        value = np.linalg.eigvalsh(laplacian.toarray())[-1]
    else:
        start = np.random.default_rng(0).standard_normal(nodes)
        value = eigsh(laplacian, k=1, which="LA", return_eigenvectors=False, tol=EIGENVALUE_TOLERANCE, v0=start)[0]
    return float(min(2.0, value * (1 + EIGENVALUE_TOLERANCE)))


def _write_matrix(group: h5py.Group, matrix: csr_array) -> None:
    group.attrs["shape"] = matrix.shape
    group["starts"] = matrix.indptr.astype(np.int32)
    group["columns"] = matrix.indices.astype(np.int32)
    group["values"] = matrix.data


def _read_matrix(group: h5py.Group) -> csr_array:
    return csr_array((group["values"][:], group["columns"][:], group["starts"][:]), shape=tuple(group.attrs["shape"]))
