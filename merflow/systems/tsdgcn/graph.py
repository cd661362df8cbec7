"""The p+q stochastic pixel graph, its coarsening and its rescaled Laplacians.

From a side length to everything that a graph network needs: Algorithm 1 and Eq. 1 (:func:`pq_adjacency`), Graclus
coarsening (:func:`coarsen`), Eq. 2 and the rescaling below Eq. 3 (:func:`scaled_laplacian`), all of it in one
:class:`Graph`. Equations are those of Tang, Chai, Lu: Transferring Dual Stochastic Graph Convolutional Network for
Facial Micro-expression Recognition (arXiv 2203.05208).
"""

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from math import floor, sqrt
from pathlib import Path

import h5py
import numpy as np
from scipy.sparse import csr_array, diags_array, eye_array
from scipy.sparse.linalg import eigsh

from merflow.errors import ConfigError, InputError
from merflow.storage.files import atomic_write
from merflow.storage.hdf5 import open_h5

COARSENINGS = (2, 2, 1, 1, 1, 1)
"""How often each convolution layer's output is coarsened (s_l of Table I); each time halves the nodes at best."""
VISITING_SEED = 0
"""Seed of the order in which the first matching visits the nodes; the same for every graph, so that a graph without
drawn neighbours does not depend on any seed."""
TOLERANCE = 1e-9
"""Slack of comparisons between distances, which come from square roots."""
EIGENVALUE_TOLERANCE = 1e-5
"""Relative accuracy of the largest eigenvalue; it is rounded up by as much, so that no eigenvalue passes 1."""
DENSE_NODES = 128
"""Up to so many nodes all eigenvalues are computed."""


@dataclass(frozen=True)
class Graph:
    """One pixel graph, ready for a network with the layers of Table I.

    Nodes are kept in an order in which the children of a coarse node are neighbours; there are no fake nodes.

    Attributes:
        side: image side in pixels; the graph has ``side**2`` nodes.
        p: nearest neighbours per node.
        q: drawn neighbours per node.
        threshold: T, pixels.
        sigma: ``neighbours``, ``image`` or a number.
        seed: seed of the draw.
        adjacency: A of Eq. 1, float64 ``[side**2, side**2]``, node = row * side + column.
        order: int64 ``[side**2]``; node i of the first layer is pixel ``order[i]``.
        laplacians: the rescaled Laplacian of each layer, float64, symmetric, spectrum inside [-1, 1].
        lambda_max: the largest eigenvalue by which each was rescaled.
        pools: per layer int64 ``[next nodes, children]``: the nodes that each node of the next layer unites; rows
            with fewer children repeat the first.
    """

    side: int
    p: int
    q: int
    threshold: float
    sigma: str | float
    seed: int
    adjacency: csr_array
    order: np.ndarray
    laplacians: tuple[csr_array, ...]
    lambda_max: tuple[float, ...]
    pools: tuple[np.ndarray, ...]

    @property
    def name(self) -> str:
        """Name in configurations and tables, such as ``8+2``."""
        return f"{self.p}+{self.q}"

    @property
    def sizes(self) -> tuple[int, ...]:
        """Nodes of each layer's input, and of the last layer's output."""
        return (*(matrix.shape[0] for matrix in self.laplacians), len(self.pools[-1]))

    @cached_property
    def digest(self) -> str:
        """Twelve hexadecimal digits of all that a network sees: equal digests give equal networks."""
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
            file.attrs.update(
                side=self.side, p=self.p, q=self.q, threshold=self.threshold, sigma=self.sigma, seed=self.seed
            )
            file.attrs["digest"] = self.digest
            file["order"] = self.order
            _write_matrix(file.create_group("adjacency"), self.adjacency)
            for number, (matrix, largest, pool) in enumerate(
                zip(self.laplacians, self.lambda_max, self.pools, strict=True), start=1
            ):
                layer = file.create_group(f"layer{number}")
                layer.attrs["lambda_max"] = largest
                layer["pool"] = pool
                _write_matrix(layer.create_group("laplacian"), matrix)

    @classmethod
    def load(cls, path: str | Path) -> "Graph":
        """Read a graph written by :meth:`save`.

        Raises:
            InputError: the file is missing or is no graph.
        """
        try:
            with open_h5(path) as file:
                layers = [file[f"layer{number}"] for number in range(1, len(COARSENINGS) + 1)]
                sigma = file.attrs["sigma"]
                return cls(
                    side=int(file.attrs["side"]),
                    p=int(file.attrs["p"]),
                    q=int(file.attrs["q"]),
                    threshold=float(file.attrs["threshold"]),
                    sigma=sigma if isinstance(sigma, str) else float(sigma),
                    seed=int(file.attrs["seed"]),
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
) -> Graph:
    """Build the p+q graph of a square image with its coarser graphs and Laplacians; arguments as in :class:`Graph`."""
    adjacency = pq_adjacency(side, p, q, threshold=threshold, sigma=sigma, seed=seed)
    levels, parents = coarsen(adjacency, sum(COARSENINGS))
    orders = _tree_orders(parents)
    steps = np.cumsum((0, *COARSENINGS))
    laplacians, largest, pools = [], [], []
    for level, following in zip(steps[:-1], steps[1:], strict=True):
        order = orders[level]
        matrix, eigenvalue = scaled_laplacian(levels[level][order][:, order])
        laplacians.append(matrix)
        largest.append(eigenvalue)
        pools.append(_children(parents[level:following], order, orders[following]))
    return Graph(
        side=side,
        p=p,
        q=q,
        threshold=float(threshold),
        sigma=sigma,
        seed=seed,
        adjacency=adjacency,
        order=orders[0],
        laplacians=tuple(laplacians),
        lambda_max=tuple(largest),
        pools=tuple(pools),
    )


def candidate_offsets(threshold: float) -> np.ndarray:
    """Lattice steps to a node's potential neighbours (Step 1 of Algorithm 1).

    Returns:
        int64 ``[candidates, 2]``, (rows, columns), the nearest first; of equally near ones the upper first, then the
        left one. ``2 sqrt(2)`` gives 24, ``2 sqrt(5)`` gives 68.
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
) -> csr_array:
    """Adjacency matrix of the p+q stochastic graph of a square image (Algorithm 1, Eq. 1).

    Each node is linked to its p nearest candidates and to q drawn without replacement from its other candidates; the
    candidates are the nodes at most ``threshold`` away. The links of the algorithm have a direction, the paper's graph
    has none: A <- max(A, A^T). Near the border there are fewer candidates, and all are taken if p+q is more.

    Args:
        side: image side in pixels.
        p: nearest neighbours; ties are broken as in :func:`candidate_offsets`, the same way on every run.
        q: drawn neighbours.
        threshold: T in pixels, at least 1, so that no node is left alone.
        sigma: width of the Gaussian in Eq. 1. ``neighbours``: the mean over nodes of the distance to the farthest of
            the p+q neighbours that the node chose. ``image``: the mean distance to the farthest pixel of the image. A
            number: that many pixels.
        seed: seed of the draw; without effect if q is 0.

    Returns:
        float64 ``[side**2, side**2]``, symmetric, zero diagonal, node = row * side + column.

    Raises:
        ConfigError: no graph can be built from these numbers.
    """
    _check(side, p, q, threshold, sigma)
    offsets, _, near, drawn = chosen_neighbours(side, p, q, threshold, seed)
    row, column = np.divmod(np.arange(side * side), side)
    rows = row[:, None] + offsets[:, 0]
    columns = column[:, None] + offsets[:, 1]
    chosen = near | drawn
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
    adjacency = directed.maximum(directed.T).tocsr()
    adjacency.sort_indices()
    return adjacency


def chosen_neighbours(
    side: int, p: int, q: int, threshold: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What each node of :func:`pq_adjacency` chooses (Algorithm 1), before the links lose their direction.

    Returns:
        ``offsets`` of :func:`candidate_offsets`, and three masks, bool ``[side**2, candidates]``: the ``candidates``
        inside the image, the p ``near`` ones, and the q ``drawn`` ones.
    """
    offsets = candidate_offsets(threshold)
    row, column = np.divmod(np.arange(side * side), side)
    rows = row[:, None] + offsets[:, 0]
    columns = column[:, None] + offsets[:, 1]
    candidate = (rows >= 0) & (rows < side) & (columns >= 0) & (columns < side)
    # Offsets are sorted by distance, so the p nearest are the first p that lie inside the image.
    near = candidate & (np.cumsum(candidate, axis=1) <= p)
    drawn = np.zeros_like(near)
    if q:
        left = candidate & ~near
        lots = np.where(left, np.random.default_rng(seed).random(left.shape), np.inf)
        first = np.argsort(lots, axis=1, kind="stable")[:, :q]
        drawn = left & _mask(first, left.shape)
    return offsets, candidate, near, drawn


def _mask(positions: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Boolean array that is true at the given columns of each row."""
    mask = np.zeros(shape, dtype=bool)
    np.put_along_axis(mask, positions, True, axis=1)
    return mask


def _check(side: int, p: int, q: int, threshold: float, sigma: str | float) -> None:
    if side < 2:
        raise ConfigError(f"graph side {side}: expected at least 2 pixels")
    if p < 0 or q < 0 or p + q < 1:
        raise ConfigError(f"graph {p}+{q}: expected p and q of at least 0, and p + q of at least 1")
    if not threshold >= 1 - TOLERANCE:
        raise ConfigError(f"graph threshold {threshold}: expected at least 1 pixel, or nodes have no neighbour")
    if isinstance(sigma, str) and sigma not in ("neighbours", "image"):
        raise ConfigError(f"graph sigma {sigma!r}: expected neighbours, image or a number")
    if not isinstance(sigma, str) and not sigma > 0:
        raise ConfigError(f"graph sigma {sigma}: expected a number above 0")


def coarsen(adjacency: csr_array, levels: int) -> tuple[list[csr_array], list[np.ndarray]]:
    """Coarsen a graph by heavy-edge matching (Graclus), as the ChebNet reference code does.

    At each level every node is united with the unmatched neighbour j that maximises a_ij (1/d_i + 1/d_j), or stays
    alone. The first level visits the nodes in a fixed random order, the others by rising degree. Links inside a
    united node count in later degrees, but are not part of the returned matrices.

    Args:
        adjacency: symmetric ``[n, n]``.
        levels: how often to coarsen.

    Returns:
        ``levels + 1`` adjacency matrices with zero diagonals, the finest first, and for each level but the last the
        parents: int64, the coarse node of each node.
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
    """One level of the matching: the coarse node of each node, numbered in the order of the visits."""
    # Lists, not arrays: each node's choice depends on all earlier ones, and Python reads lists far faster.
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
        for place in range(starts[node], starts[node + 1]):
            if gain[place] > largest and parent[neighbours[place]] < 0:
                best, largest = neighbours[place], gain[place]
        if best >= 0:
            parent[best] = count
        count += 1
    return np.array(parent)


def _without_diagonal(matrix: csr_array) -> csr_array:
    links = matrix.tocoo()
    keep = links.row != links.col
    return csr_array((links.data[keep], (links.row[keep], links.col[keep])), shape=matrix.shape)


def _tree_orders(parents: list[np.ndarray]) -> list[np.ndarray]:
    """Order of the nodes at each level in which the children of one parent stand together.

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


def _children(parents: list[np.ndarray], order: np.ndarray, following: np.ndarray) -> np.ndarray:
    """Pooling lists from nodes in ``order`` to nodes in the order ``following``, several levels above."""
    ancestor = np.arange(len(order))
    for parent in parents:
        ancestor = parent[ancestor]
    owner = np.argsort(following)[ancestor[order]]
    # Owners ascend, since children stand together in the tree order.
    counts = np.bincount(owner, minlength=len(following))
    starts = np.cumsum(counts) - counts
    slots = np.arange(counts.max())
    return starts[:, None] + np.where(slots < counts[:, None], slots, 0)


def scaled_laplacian(adjacency: csr_array) -> tuple[csr_array, float]:
    """The rescaled Laplacian 2 L / lambda_max - I of L = I - D^(-1/2) A D^(-1/2) (Eq. 2 and below Eq. 3).

    A node without links keeps the row of the identity in L.

    Args:
        adjacency: symmetric ``[n, n]``.

    Returns:
        The matrix, float64 with a spectrum inside [-1, 1], and lambda_max.
    """
    degree = np.asarray(adjacency.sum(axis=1))
    root = np.divide(1, np.sqrt(degree), out=np.zeros(len(degree)), where=degree > 0)
    identity = eye_array(len(degree), format="csr")
    laplacian = csr_array(identity - diags_array(root) @ adjacency @ diags_array(root))
    # Rounding may differ between a_ij and a_ji; the network's backward pass relies on exact symmetry.
    laplacian = csr_array((laplacian + laplacian.T) / 2)
    largest = largest_eigenvalue(laplacian)
    scaled = csr_array(laplacian * (2 / largest) - identity)
    scaled.eliminate_zeros()
    scaled.sort_indices()
    return scaled, largest


def largest_eigenvalue(laplacian: csr_array) -> float:
    """Largest eigenvalue of a normalised Laplacian, rounded up by its accuracy and at most 2."""
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
