"""The Chebyshev layer against dense float64 formulas and autograd; the network of Table I."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional

from merflow.errors import ConfigError
from merflow.graph import build_graph
from merflow.models import NETWORKS, network
from merflow.models.sgcn import (
    ORDERS,
    SGCN,
    WIDTHS,
    ChebyshevFilter,
    ChebyshevLayer,
    SparseMatrix,
    cluster_max,
)


@pytest.fixture(scope="module")
def graph():
    return build_graph(16, 8, 2)


def dense_terms(laplacian, order):
    """T_k of the dense matrix by the cosine of its eigenvalues' angles, not by the recurrence."""
    values, vectors = np.linalg.eigh(laplacian.toarray())
    angles = np.arccos(np.clip(values, -1, 1))
    return [torch.from_numpy(vectors @ np.diag(np.cos(k * angles)) @ vectors.T) for k in range(order)]


def dense_filter(x, weight, terms):
    return sum(torch.einsum("nm,mbi,io->nbo", term, x, part) for term, part in zip(terms, weight, strict=True))


def parts_of(laplacian, dtype=torch.float64):
    matrix = SparseMatrix.of(laplacian)
    return matrix.starts, matrix.columns, torch.from_numpy(laplacian.data).to(dtype)


@pytest.mark.parametrize("inputs", [1, 3, 8, 12])
@pytest.mark.parametrize("order", [1, 2, 4, 9])
def test_filter_is_eq_3(graph, inputs, order):
    laplacian = graph.laplacians[1]
    terms = dense_terms(laplacian, order)
    generator = torch.Generator().manual_seed(order)
    x = torch.randn(laplacian.shape[0], 3, inputs, generator=generator, dtype=torch.float64)
    weight = torch.randn(order, inputs, 5, generator=generator, dtype=torch.float64)
    goal = torch.randn(laplacian.shape[0], 3, 5, generator=generator, dtype=torch.float64)
    results = []
    for dense in (False, True):
        a, w = x.clone().requires_grad_(), weight.clone().requires_grad_()
        y = dense_filter(a, w, terms) if dense else ChebyshevFilter.apply(a, w, *parts_of(laplacian))
        (y * goal).sum().backward()
        results.append((y.detach(), a.grad, w.grad))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    # Without a gradient for x, as in the first layer.
    w = weight.clone().requires_grad_()
    (ChebyshevFilter.apply(x, w, *parts_of(laplacian)) * goal).sum().backward()
    torch.testing.assert_close(w.grad, results[1][2], rtol=1e-9, atol=1e-9)


def test_identity_graph_gives_other_filters(graph):
    """The reference above tells a graph from none: with T_k = I the outputs differ."""
    laplacian = graph.laplacians[1]
    x = torch.randn(laplacian.shape[0], 2, 3, dtype=torch.float64)
    weight = torch.randn(4, 3, 5, dtype=torch.float64)
    found = ChebyshevFilter.apply(x, weight, *parts_of(laplacian))
    identity = dense_filter(x, weight, [torch.eye(len(x), dtype=torch.float64)] * 4)
    assert not torch.allclose(found, identity, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("inputs", [2, 9])
def test_gradcheck(inputs):
    laplacian = build_graph(3, 4, 0).laplacians[0]
    x = torch.randn(9, 2, inputs, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, inputs, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ChebyshevFilter.apply, (x, weight, *parts_of(laplacian)))


def test_float32_is_close_to_float64(graph):
    laplacian = graph.laplacians[0]
    x, weight = torch.rand(256, 4, 8), torch.randn(9, 8, 32) / 8
    single = ChebyshevFilter.apply(x, weight, *parts_of(laplacian, torch.float32))
    double = ChebyshevFilter.apply(x.double(), weight.double(), *parts_of(laplacian))
    assert (single - double).abs().max() < 2e-5


@pytest.mark.parametrize("layer", [0, 1, 3])
def test_pooling_is_the_maximum_over_clusters(graph, layer):
    pool = graph.pools[layer]
    nodes = graph.sizes[layer]
    x = torch.randn(nodes, 3, 4, dtype=torch.float64, requires_grad=True)
    place = torch.from_numpy(np.unique(pool, return_index=True)[1])
    found = cluster_max(x, torch.from_numpy(pool), place)
    expected = torch.stack([x[sorted(set(row))].amax(dim=0) for row in pool.tolist()])
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    goal = torch.randn_like(found)
    (one,) = torch.autograd.grad((found * goal).sum(), x)
    (other,) = torch.autograd.grad((expected * goal).sum(), x)
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_equal_children_share_no_gradient_twice(graph):
    pool = graph.pools[0]
    x = torch.zeros(graph.sizes[0], 1, 1, requires_grad=True)
    place = torch.from_numpy(np.unique(pool, return_index=True)[1])
    cluster_max(x, torch.from_numpy(pool), place).sum().backward()
    assert float(x.grad.sum()) == len(pool)
    assert (x.grad[pool[:, 0]] == 1).all()


def test_pooling_before_bias_and_relu_changes_nothing(graph):
    torch.manual_seed(0)
    layer = ChebyshevLayer(graph.laplacians[1], graph.pools[1], 4, 3, 6)
    with torch.no_grad():
        layer.bias.copy_(torch.randn(6))
    x = torch.randn(graph.sizes[1], 2, 3)
    y = functional.relu(ChebyshevFilter.apply(x, layer.weight, layer.starts, layer.columns, layer.values) + layer.bias)
    expected = torch.stack([y[row].amax(dim=0) for row in graph.pools[1].tolist()])
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=0)


def dense_network(net, graph, x):
    """The whole network in float64 by dense matrices, pixel order in, scores out."""
    signal = x[:, graph.order].T[:, :, None]
    for layer, laplacian, pool, order in zip(net.layers, graph.laplacians, graph.pools, ORDERS, strict=True):
        signal = dense_filter(signal, layer.weight.double(), dense_terms(laplacian, order)) + layer.bias.double()
        signal = torch.stack([functional.relu(signal)[row].amax(dim=0) for row in pool.tolist()])
    flat = signal.transpose(0, 1).reshape(len(x), -1)
    hidden = functional.relu(flat @ net.connected.weight.double().T + net.connected.bias.double())
    return hidden, hidden @ net.classifier.weight.double().T + net.classifier.bias.double()


def test_network_is_table_1(graph):
    torch.manual_seed(0)
    net = SGCN(graph, 5).eval()
    assert [tuple(layer.weight.shape) for layer in net.layers] == list(
        zip((9, 9, 6, 6, 4, 4), (1, 32, 32, 64, 64, 128), (32, 32, 64, 64, 128, 128), strict=True)
    )
    assert WIDTHS == (32, 32, 64, 64, 128, 128)
    assert net.connected.weight.shape == (512, graph.sizes[-1] * 128)
    x = torch.rand(3, 256)
    hidden, scores = dense_network(net, graph, x.double())
    torch.testing.assert_close(net.features(x).double(), hidden, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(net(x).double(), scores, rtol=1e-4, atol=1e-5)
    assert (net.features(x) >= 0).all()


def test_gradients_of_the_network(graph):
    torch.manual_seed(1)
    net = SGCN(graph, 4, hidden=32, dropout=0.0)
    x, y = torch.rand(5, 256), torch.arange(5) % 4
    functional.cross_entropy(net(x), y).backward()
    found = [parameter.grad.double().clone() for parameter in net.parameters()]
    net.zero_grad()
    net.double()
    functional.cross_entropy(dense_network(net, graph, x.double())[1], y).backward()
    for one, parameter in zip(found, net.parameters(), strict=True):
        scale = parameter.grad.abs().max()
        assert scale > 0
        assert (one - parameter.grad).abs().max() < 1e-4 * scale


def test_an_answer_does_not_depend_on_the_batch(graph):
    torch.manual_seed(0)
    net = SGCN(graph, 5).eval()
    x = torch.rand(7, 256)
    alone = torch.cat([net(row[None]) for row in x])
    torch.testing.assert_close(net(x), alone, rtol=1e-4, atol=1e-5)


def test_dropout_only_in_training(graph):
    torch.manual_seed(0)
    net, x = SGCN(graph, 5), torch.rand(2, 256)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


def test_state_holds_trained_tensors_only(graph):
    net = SGCN(graph, 5)
    assert set(net.state_dict()) == {name for name, _ in net.named_parameters()}


def test_registry():
    assert network("sgcn") is SGCN
    with pytest.raises(ConfigError, match="resnet"):
        network("resnet")
    for name in NETWORKS:
        assert isinstance(network(name), type)
    loaded = "import sys, merflow.models; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True).stdout.strip() == "False"
