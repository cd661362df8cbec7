"""Algorithm 1, Eq. 1 and 2, coarsening: against plain re-implementations, and checks that trivial graphs fail."""

from math import exp, hypot, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array, eye_array
from scipy.sparse.csgraph import connected_components

from merflow.errors import ConfigError, InputError
from merflow.systems.tsdgcn.graph import (
    COARSENINGS,
    Graph,
    build_graph,
    candidate_offsets,
    chosen_neighbours,
    coarsen,
    pq_adjacency,
    scaled_laplacian,
)

WIDE = 2 * sqrt(5)


def algorithm_1(side, p, threshold, sigma):
    """Algorithm 1 without drawn neighbours, node by node, from the definition."""
    nodes = [(row, column) for row in range(side) for column in range(side)]
    kept, farthest, far_in_image = [], [], []
    for row, column in nodes:
        distances = []
        for other, (r, c) in enumerate(nodes):
            squared = (r - row) ** 2 + (c - column) ** 2
            if 0 < sqrt(squared) <= threshold + 1e-9:
                distances.append((squared, r - row, c - column, other))
        near = sorted(distances)[:p]
        kept.append(near)
        farthest.append(max(sqrt(squared) for squared, *_ in near))
        far_in_image.append(max(hypot(r - row, c - column) for r, c in nodes))
    width = {"neighbours": np.mean(farthest), "image": np.mean(far_in_image)}.get(sigma, sigma)
    dense = np.zeros((side**2, side**2))
    for node, near in enumerate(kept):
        for squared, _, _, other in near:
            dense[node, other] = dense[other, node] = exp(-squared / width**2)
    return dense


def is_pq_graph(adjacency, side, p, q, threshold):
    """Return whether a matrix has all properties of a p+q graph."""
    dense = adjacency.toarray()
    row, column = np.divmod(np.arange(side * side), side)
    distance = np.hypot(row[:, None] - row, column[:, None] - column)
    candidates = ((distance > 0) & (distance <= threshold + 1e-9)).sum(axis=1)
    degree = (dense > 0).sum(axis=1)
    return all(
        [
            (dense == dense.T).all(),
            (np.diag(dense) == 0).all(),
            ((dense >= 0) & (dense <= 1)).all(),
            (distance[dense > 0] <= threshold + 1e-9).all(),
            (degree >= np.minimum(p + q, candidates)).all(),
            (degree <= candidates).all(),
            (degree > 0).all(),
        ]
    )


@pytest.mark.parametrize("sigma", ["neighbours", "image", 1.7])
@pytest.mark.parametrize(("p", "threshold"), [(4, 2 * sqrt(2)), (12, 2 * sqrt(2)), (3, 1.0), (6, 2.0), (30, WIDE)])
def test_adjacency_without_draws_is_algorithm_1(p, threshold, sigma):
    adjacency = pq_adjacency(9, p, 0, threshold=threshold, sigma=sigma)
    np.testing.assert_allclose(adjacency.toarray(), algorithm_1(9, p, threshold, sigma), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("threshold", "count"), [(2 * sqrt(2), 24), (WIDE, 68), (1, 4), (sqrt(2), 8), (2, 12)])
def test_candidate_offsets_count(threshold, count):
    assert len(candidate_offsets(threshold)) == count
    middle = 12 * 25 + 12
    everyone = pq_adjacency(25, count, 0, threshold=threshold)
    assert everyone[[middle]].nnz == count
    assert pq_adjacency(25, count + 50, 3, threshold=threshold).nnz == everyone.nnz


def mean_neighbours(p, q, side=28, seed=0, **settings):
    return np.diff(pq_adjacency(side, p, q, seed=seed, **settings).indptr).mean()


@pytest.mark.parametrize(("p", "q", "mean"), [(4, 0, 4.14), (8, 2, 11.83), (4, 6, 14.05), (12, 0, 12.49)])
def test_mean_number_of_neighbours(p, q, mean):
    """By the maximum, graphs of the same p + q differ (docs/fidelity.md); by the mean degree they do not."""
    assert round(mean_neighbours(p, q), 2) == mean
    _, _, nearest, drawn = chosen_neighbours(28, p, q, 2 * sqrt(2), 0)
    chosen = (nearest | drawn).sum(axis=1).mean()
    assert mean_neighbours(p, q, symmetrise="mean-degree") == pytest.approx(chosen, abs=0.003)
    assert p + q - 0.05 < chosen <= p + q, "a few fewer at the border"


@pytest.mark.parametrize(("p", "q"), [(8, 2), (0, 1), (0, 2)])
def test_mean_degree_keeps_weights_and_mutual_links_and_isolates_no_node(p, q):
    whole, part = (pq_adjacency(20, p, q, seed=3, symmetrise=name).toarray() for name in ("maximum", "mean-degree"))
    offsets, _, nearest, drawn = chosen_neighbours(20, p, q, 2 * sqrt(2), 3)
    source, step = np.nonzero(nearest | drawn)
    directed = np.zeros((400, 400), bool)
    directed[source, source + offsets[step] @ [20, 1]] = True
    np.testing.assert_array_equal(part, np.where(part > 0, whole, 0))
    np.testing.assert_array_equal(part, part.T)
    assert (part[directed & directed.T] > 0).all() and (part > 0).any(axis=1).all()
    assert (part > 0).sum() < (whole > 0).sum()
    again = pq_adjacency(20, p, q, seed=3, symmetrise="mean-degree").toarray()
    np.testing.assert_array_equal(part, again)


@settings(max_examples=40, deadline=None)
@given(
    side=st.integers(3, 14),
    p=st.integers(0, 12),
    q=st.integers(0, 8),
    threshold=st.sampled_from([1.0, 1.5, 2.0, 2 * sqrt(2), WIDE]),
    seed=st.integers(0, 2**32 - 1),
)
def test_pq_adjacency_is_symmetric_with_p_to_pq_links(side, p, q, threshold, seed):
    if p + q == 0:
        p = 1
    adjacency = pq_adjacency(side, p, q, threshold=threshold, seed=seed)
    assert adjacency.shape == (side**2, side**2)
    assert adjacency.dtype == np.float64
    assert is_pq_graph(adjacency, side, p, q, threshold)
    again = pq_adjacency(side, p, q, threshold=threshold, seed=seed)
    assert (adjacency != again).nnz == 0
    for matrix in (adjacency, *coarsen(adjacency, 3)[0]):
        spectrum = np.linalg.eigvalsh(scaled_laplacian(matrix)[0].toarray())
        assert spectrum[0] >= -1 - 1e-12
        assert spectrum[-1] <= 1 + 1e-12


def test_trivial_graphs_fail_the_checks():
    good = pq_adjacency(8, 8, 2)
    assert is_pq_graph(good, 8, 8, 2, 2 * sqrt(2))
    assert not is_pq_graph(csr_array(eye_array(64)), 8, 8, 2, 2 * sqrt(2))
    assert not is_pq_graph(csr_array((64, 64)), 8, 8, 2, 2 * sqrt(2))
    assert not is_pq_graph(csr_array(np.ones((64, 64)) - np.eye(64)), 8, 8, 2, 2 * sqrt(2))
    assert not is_pq_graph(pq_adjacency(8, 4, 0), 8, 8, 2, 2 * sqrt(2))
    lopsided = good.copy()
    lopsided[0, 1] = 0.5
    assert not is_pq_graph(lopsided, 8, 8, 2, 2 * sqrt(2))


def test_seed_changes_only_drawn_neighbours():
    assert (pq_adjacency(16, 12, 0, seed=0) != pq_adjacency(16, 12, 0, seed=9)).nnz == 0
    first, second = pq_adjacency(16, 8, 2, seed=0), pq_adjacency(16, 8, 2, seed=9)
    assert ((first > 0) != (second > 0)).nnz > 100
    nearest = pq_adjacency(16, 8, 0) > 0
    for adjacency in (first, second):
        assert ((adjacency > 0).multiply(nearest) != nearest).nnz == 0


def test_drawn_neighbours_are_uniform():
    side, middle, repeats = 9, 4 * 9 + 4, 400
    counts = np.zeros((side, side))
    for seed in range(repeats):
        counts.flat[pq_adjacency(side, 8, 2, seed=seed)[[middle]].indices] += 1
    window = counts[2:7, 2:7] / repeats
    assert counts.sum() == counts[2:7, 2:7].sum()
    ring = np.ones((5, 5), bool)
    ring[1:4, 1:4] = False
    assert window[2, 2] == 0
    assert (np.delete(window[~ring], 4) == 1).all()
    # A link is there if either of its ends drew it, each with probability 2/16: 0.234, standard deviation 0.021.
    np.testing.assert_allclose(window[ring], 1 - (14 / 16) ** 2, atol=0.085)


@pytest.mark.parametrize(
    ("side", "p", "q", "extra"),
    [
        (1, 4, 0, {}),
        (8, 0, 0, {}),
        (8, -1, 3, {}),
        (8, 4, 0, {"threshold": 0.9}),
        (8, 4, 0, {"threshold": float("nan")}),
        (8, 4, 0, {"sigma": 0}),
        (8, 4, 0, {"sigma": "pixels"}),
    ],
)
def test_graph_arguments_out_of_range_are_rejected(side, p, q, extra):
    with pytest.raises(ConfigError, match="expected"):
        pq_adjacency(side, p, q, **extra)


def laplacian_by_definition(dense):
    degree = dense.sum(axis=1)
    laplacian = np.eye(len(dense))
    for i, j in zip(*np.nonzero(dense), strict=True):
        laplacian[i, j] -= dense[i, j] / sqrt(degree[i] * degree[j])
    largest = np.linalg.eigvalsh(laplacian)[-1]
    return 2 * laplacian / largest - np.eye(len(dense)), largest


@pytest.mark.parametrize(("p", "q"), [(4, 0), (8, 2)])
def test_scaled_laplacian_is_eq_2(p, q):
    adjacency = pq_adjacency(13, p, q)
    laplacian, largest = scaled_laplacian(adjacency)
    expected, exact = laplacian_by_definition(adjacency.toarray())
    assert exact <= largest <= exact * (1 + 3e-5)
    np.testing.assert_allclose(laplacian.toarray(), expected, atol=1e-4)
    assert (laplacian != laplacian.T).nnz == 0


def test_identity_graph_has_no_spread_spectrum():
    spectrum = np.linalg.eigvalsh(scaled_laplacian(pq_adjacency(10, 8, 2))[0].toarray())
    assert spectrum[0] < -0.999
    assert spectrum[-1] > 0.999
    lonely, _ = scaled_laplacian(csr_array((100, 100)))
    assert np.ptp(np.linalg.eigvalsh(lonely.toarray())) < 1e-9


def test_coarsening_unites_linked_pairs():
    matrices, parents = coarsen(pq_adjacency(12, 8, 2), 4)
    for fine, coarse, parent in zip(matrices, matrices[1:], parents, strict=False):
        sizes = np.bincount(parent)
        assert set(sizes) <= {1, 2}
        assert len(sizes) == coarse.shape[0]
        alone = np.flatnonzero(sizes[parent] == 1)
        # Heavy-edge matching is maximal: two nodes that stayed alone are not linked.
        assert fine[alone][:, alone].nnz == 0
        for pair in np.flatnonzero(sizes == 2):
            first, second = np.flatnonzero(parent == pair)
            assert fine[first, second] > 0
        united = np.zeros((fine.shape[0], coarse.shape[0]))
        united[np.arange(len(parent)), parent] = 1
        expected = united.T @ fine.toarray() @ united
        np.fill_diagonal(expected, 0)
        np.testing.assert_allclose(coarse.toarray(), expected, rtol=1e-12, atol=1e-12)


def matched_by_definition(dense, visits):
    """One level of heavy-edge matching on a dense matrix, as the ChebNet reference code describes it."""
    degree = dense.sum(axis=1)
    partner = {}
    for node in visits:
        if node in partner:
            continue
        free = [other for other in np.flatnonzero(dense[node]) if other != node and other not in partner]
        gains = [dense[node, other] * (1 / degree[node] + 1 / degree[other]) for other in free]
        best = free[int(np.argmax(gains))] if free else node
        partner[node], partner[best] = best, node
    return partner


def test_coarsening_visits_by_increasing_degree():
    matrices, parents = coarsen(pq_adjacency(12, 8, 2), 4)
    dense = matrices[0].toarray()
    for level, parent in enumerate(parents):
        if level:  # the first level visits in a fixed random order
            partner = matched_by_definition(dense, np.argsort(dense.sum(axis=1), kind="stable"))
            assert all(parent[node] == parent[other] for node, other in partner.items())
            assert len(set(parent)) == len({frozenset(pair) for pair in partner.items()})
        united = np.zeros((len(dense), parent.max() + 1))
        united[np.arange(len(parent)), parent] = 1
        dense = united.T @ dense @ united  # links inside a united node count in its degree


@pytest.mark.parametrize("side", [16, 28, 37, 48])
@pytest.mark.parametrize(("p", "q"), [(4, 0), (8, 2)])
def test_layers_of_a_graph_fit_together(side, p, q):
    graph = build_graph(side, p, q)
    assert sorted(graph.order) == list(range(side**2))
    assert graph.sizes[0] == side**2
    assert side**2 / 2 ** sum(COARSENINGS) <= graph.sizes[-1] <= 3 + side**2 / 2 ** sum(COARSENINGS) * 3
    for times, nodes, following, matrix, pool in zip(
        COARSENINGS, graph.sizes[:-1], graph.sizes[1:], graph.laplacians, graph.pools, strict=True
    ):
        assert matrix.shape == (nodes, nodes)
        assert (matrix != matrix.T).nnz == 0
        assert len(pool) == following
        assert pool.shape[1] <= 2**times
        owners = [set(row) for row in pool]
        assert set().union(*owners) == set(range(nodes))
        assert sum(map(len, owners)) == nodes
        if nodes < 1000:
            spectrum = np.linalg.eigvalsh(matrix.toarray())
            assert spectrum[0] >= -1 - 1e-12
            assert spectrum[-1] <= 1 + 1e-12
    expected, _ = scaled_laplacian(graph.adjacency[graph.order][:, graph.order])
    np.testing.assert_allclose(graph.laplacians[0].data, expected.data, rtol=1e-12)
    assert connected_components(graph.adjacency)[0] == 1


def test_clusters_are_connected_patches():
    graph = build_graph(32, 8, 0)
    for row in graph.pools[0]:
        pixels = np.unique(graph.order[row])
        assert connected_components(graph.adjacency[pixels][:, pixels])[0] == 1


def test_saved_graph_loads_unchanged(tmp_path):
    graph = build_graph(20, 8, 2, sigma=1.5, seed=3)
    graph.save(tmp_path / "graph.h5")
    loaded = Graph.load(tmp_path / "graph.h5")
    assert loaded.digest == graph.digest
    assert (loaded.name, loaded.side, loaded.sigma, loaded.seed) == ("8+2", 20, 1.5, 3)
    assert (loaded.adjacency != graph.adjacency).nnz == 0
    for loaded_pool, pool in zip(loaded.pools, graph.pools, strict=True):
        np.testing.assert_array_equal(loaded_pool, pool)
    build_graph(20, 8, 2, sigma=1.5, seed=3).save(tmp_path / "again.h5")
    assert (tmp_path / "again.h5").read_bytes() == (tmp_path / "graph.h5").read_bytes()


def test_graph_digest_differs_between_graphs():
    assert build_graph(20, 8, 2, seed=0).digest != build_graph(20, 8, 2, seed=1).digest
    assert build_graph(20, 4, 0, seed=0).digest == build_graph(20, 4, 0, seed=1).digest
    assert build_graph(20, 4, 0).digest != build_graph(20, 4, 0, sigma="image").digest


def test_load_rejects_other_files(tmp_path):
    (tmp_path / "graph.h5").write_text("no graph")
    for name in ("graph.h5", "missing.h5"):
        with pytest.raises(InputError, match=name):
            Graph.load(tmp_path / name)
