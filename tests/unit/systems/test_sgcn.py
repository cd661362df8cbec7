"""The Chebyshev layer against dense float64 formulas and autograd; the network of Table I."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional

from merflow.inference.onnx_layers import ExportedSGCN
from merflow.runtime.script_context import THREADS
from merflow.systems.tsdgcn import sgcn
from merflow.systems.tsdgcn.graph import build_graph
from merflow.systems.tsdgcn.sgcn import (
    ORDERS,
    SGCN,
    WIDTHS,
    ChebyshevLayer,
    SparseMatrix,
    chebyshev_terms,
    largest_child,
    to_winners,
)


@pytest.fixture(scope="module")
def graph():
    return build_graph(16, 8, 2)


def dense_terms(laplacian, order):
    """T_k of the dense matrix from its eigenvalues: T_k(cos a) = cos(k a), without the recurrence."""
    values, vectors = np.linalg.eigh(laplacian.toarray())
    angles = np.arccos(np.clip(values, -1, 1))
    return [torch.from_numpy(vectors @ np.diag(np.cos(k * angles)) @ vectors.T) for k in range(order)]


def dense_filter(x, weight, terms):
    return sum(torch.einsum("nm,mbi,io->nbo", term, x, part) for term, part in zip(terms, weight, strict=True))


def dense_layer(x, layer, terms, pool):
    """A row of Table I in the order of the paper: filter, bias, ReLU, then the maximum of each cluster."""
    y = functional.relu(dense_filter(x, layer.weight, terms) + layer.bias)
    return torch.stack([y[sorted(set(row))].amax(dim=0) for row in pool.tolist()])


def make_layer(graph, number, order, inputs, outputs, pool=None):
    layer = ChebyshevLayer(
        graph.laplacians[number], graph.pools[number] if pool is None else pool, order, inputs, outputs
    )
    layer.double()
    layer.values = torch.from_numpy(graph.laplacians[number].data)
    with torch.no_grad():
        layer.bias.copy_(torch.randn(outputs))
    return layer


def gradients(y, goal, *inputs):
    return [y.detach(), *torch.autograd.grad((y * goal).sum(), inputs)]


@pytest.mark.parametrize("order", [1, 2, 4, 9])
def test_chebyshev_terms_are_those_of_eq_3(graph, order):
    laplacian = graph.laplacians[1]
    matrix = SparseMatrix.of(laplacian)._replace(values=torch.from_numpy(laplacian.data))
    x = torch.randn(laplacian.shape[0], 3, 5, dtype=torch.float64)
    expected = [torch.einsum("nm,mbi->nbi", term, x) for term in dense_terms(laplacian, order)]
    terms = list(chebyshev_terms(matrix, x, order))
    assert len(terms) == order
    for term, reference in zip(terms, expected, strict=True):
        torch.testing.assert_close(term, reference, rtol=1e-9, atol=1e-9)
    # Without the graph, the terms would equal x.
    assert order == 1 or not torch.allclose(terms[1], x, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("cached", [1, 1000, 10**6])
@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("inputs", [1, 3, 12])
@pytest.mark.parametrize("order", [1, 2, 9])
def test_layer_is_eq_3_then_pooling(graph, monkeypatch, order, inputs, number, cached):
    monkeypatch.setattr(sgcn, "CACHED", cached)
    torch.manual_seed(order)
    layer, pool = make_layer(graph, number, order, inputs, 5), graph.pools[number]
    x = torch.randn(graph.sizes[number], 7, inputs, dtype=torch.float64, requires_grad=True)
    goal = torch.randn(len(pool), 7, 5, dtype=torch.float64)
    expected = dense_layer(x, layer, dense_terms(graph.laplacians[number], order), pool)
    wanted = gradients(expected, goal, x, layer.weight, layer.bias)
    for gradient, reference in zip(gradients(layer(x), goal, x, layer.weight, layer.bias), wanted, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-9, atol=1e-9)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), expected, rtol=1e-9, atol=1e-9)
    assert 0.1 < (expected > 0).double().mean() < 1


@pytest.mark.parametrize("cached", [1, 3000, 10**6])
@pytest.mark.parametrize("channels", [1, 3])
def test_first_layer_of_images_is_eq_3(graph, monkeypatch, cached, channels):
    """Images have no gradient, and are filtered from terms in the order of the pooling."""
    monkeypatch.setattr(sgcn, "CACHED", cached)
    torch.manual_seed(0)
    layer = make_layer(graph, 0, 9, channels, 6)
    x = torch.randn(graph.sizes[0], 7, channels, dtype=torch.float64)
    goal = torch.randn(len(graph.pools[0]), 7, 6, dtype=torch.float64)
    expected = dense_layer(x, layer, dense_terms(graph.laplacians[0], 9), graph.pools[0])
    wanted = gradients(expected, goal, layer.weight, layer.bias)
    for gradient, other in zip(gradients(layer(x), goal, layer.weight, layer.bias), wanted, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-9, atol=1e-9)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), expected, rtol=1e-9, atol=1e-9)


def test_layer_passes_gradcheck():
    graph = build_graph(4, 4, 0)
    torch.manual_seed(0)
    layer = make_layer(graph, 0, 3, 2, 2)
    x = torch.randn(16, 2, 2, dtype=torch.float64, requires_grad=True)

    def run(x, weight, bias):
        return sgcn.TableRow.apply(x, weight, bias, *layer.laplacian, layer.pool, layer.first)

    assert torch.autograd.gradcheck(run, (x, layer.weight, layer.bias))


def test_layer_in_float32_is_close_to_float64(graph):
    torch.manual_seed(0)
    layer = make_layer(graph, 0, 9, 8, 32)
    x = torch.rand(256, 4, 8, dtype=torch.float64)
    double = layer(x)
    assert (layer.float()(x.float()) - double).abs().max() < 2e-5


@pytest.mark.parametrize("children", [2, 4])
def test_first_of_equal_children_gets_the_gradient(children):
    torch.manual_seed(0)
    x = torch.randint(0, 3, (50, children, 12)).double()
    largest, winner = largest_child(x, True)
    torch.testing.assert_close(largest, x.amax(dim=1), rtol=0, atol=0)
    first = (x == largest.unsqueeze(1)).double().argmax(dim=1)
    assert torch.equal(winner.long(), first)
    gradient = torch.randn(50, 12, dtype=torch.float64)
    expected = torch.zeros_like(x).scatter_(1, first.unsqueeze(1), gradient.unsqueeze(1))
    assert torch.equal(to_winners(gradient, winner, children), expected)
    assert largest_child(x, False)[1] is None


def test_equal_children_get_the_gradient_once(graph):
    layer = make_layer(graph, 0, 1, 1, 1)
    x = torch.ones(graph.sizes[0], 1, 1, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        layer.weight.fill_(1)
        layer.bias.fill_(1)
    layer(x).sum().backward()
    assert float(x.grad.sum()) == len(graph.pools[0])
    assert (x.grad[graph.pools[0][:, 0]] == 1).all()


def dense_network(net, graph, x):
    """The whole network in float64 by dense matrices, pixel order in, scores out."""
    signal = torch.stack([channel[:, graph.order].T for channel in x.chunk(net.channels, dim=1)], dim=2)
    rows = zip(net.layers, graph.laplacians, graph.pools, ORDERS, strict=False)
    for number, (layer, laplacian, pool, order) in enumerate(rows):
        signal = dense_filter(signal, layer.weight.double(), dense_terms(laplacian, order)) + layer.bias.double()
        signal = torch.stack([functional.relu(signal)[row].amax(dim=0) for row in pool.tolist()])
        if net.norms:
            norm = net.norms[number]
            signal = (signal - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
    flat = signal.transpose(0, 1).reshape(len(x), -1)
    hidden = functional.relu(flat @ net.connected.weight.double().T + net.connected.bias.double())
    return hidden, hidden @ net.classifier.weight.double().T + net.classifier.bias.double()


@pytest.mark.parametrize(
    "options", [{"channels": 3}, {"layers": 4}, {"batch_norm": True}, {"channels": 3, "layers": 2, "batch_norm": True}]
)
def test_networks_that_are_not_in_the_paper(graph, options):
    torch.manual_seed(0)
    net, channels = SGCN(graph, 5, **options), options.get("channels", 1)
    for norm in net.norms:
        for values in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            values.data.uniform_(0.5, 1.5)
    x = torch.randn(4, channels * 256)
    assert [layer.weight.shape[1] for layer in net.layers] == [channels, *WIDTHS][: options.get("layers", 6)]
    again = SGCN.of_state(graph, net.state_dict())
    net.eval(), again.eval()
    with torch.no_grad():
        hidden, scores = dense_network(net, graph, x.double())
        torch.testing.assert_close(net(x).double(), scores, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(ExportedSGCN(net).eval().features(x).double(), hidden, rtol=1e-3, atol=1e-3)
        assert torch.equal(again(x), net(x))


def test_network_has_the_layers_of_table_1(graph):
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


def test_network_gradients_match_the_dense_formula(graph):
    torch.manual_seed(1)
    net = SGCN(graph, 4, hidden=32, dropout=0.0)
    x, y = torch.rand(5, 256), torch.arange(5) % 4
    functional.cross_entropy(net(x), y).backward()
    gradients_of_layers = [parameter.grad.double().clone() for parameter in net.parameters()]
    net.zero_grad()
    net.double()
    functional.cross_entropy(dense_network(net, graph, x.double())[1], y).backward()
    for gradient, parameter in zip(gradients_of_layers, net.parameters(), strict=True):
        scale = parameter.grad.abs().max()
        assert scale > 0
        assert (gradient - parameter.grad).abs().max() < 1e-4 * scale


def test_scores_do_not_depend_on_the_batch(graph):
    torch.manual_seed(0)
    net = SGCN(graph, 5).eval()
    x = torch.rand(7, 256)
    alone = torch.cat([net(row[None]) for row in x])
    torch.testing.assert_close(net(x), alone, rtol=1e-4, atol=1e-5)


STEP = """
import sys, torch
from merflow.systems.tsdgcn.graph import build_graph
from merflow.systems.tsdgcn.sgcn import SGCN
torch.set_num_threads(int(sys.argv[1]))
torch.manual_seed(0)
net = SGCN(build_graph(28, 8, 2), 5, dropout=0)
optimiser = torch.optim.Adam(net.parameters(), fused=True)
for _ in range(3):
    optimiser.zero_grad()
    torch.nn.functional.cross_entropy(net(torch.rand(20, 784)), torch.arange(20) % 5).backward()
    optimiser.step()
print(b"".join(p.detach().numpy().tobytes() for p in net.parameters()).hex()[::97])
"""


@pytest.mark.slow
def test_training_has_the_same_bits_on_two_threads():
    """In the environment of a job, and, for two threads, with the setting that `THREADS` names."""

    def step(threads, **changes):
        environment = os.environ | THREADS | changes
        return subprocess.run(
            [sys.executable, "-c", STEP, threads], env=environment, capture_output=True, check=True
        ).stdout

    first = step("1")
    assert len(first) > 10_000
    assert first == step("1")
    assert step("1", MKL_CBWR="AVX2,STRICT") == step("2", MKL_CBWR="AVX2,STRICT")


def test_dropout_acts_in_training_only(graph):
    torch.manual_seed(0)
    net, x = SGCN(graph, 5), torch.rand(2, 256)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


def test_state_dict_holds_trained_tensors_only(graph):
    net = SGCN(graph, 5)
    assert set(net.state_dict()) == {name for name, _ in net.named_parameters()}
