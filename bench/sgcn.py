"""Speed and memory of the SGCN against PyTorch Geometric and the ChebNet reference. Never run by the tests.

    pip install -r bench/requirements-sgcn.txt
    python bench/sgcn.py [--side 64] [--batch 32] [--rounds 3] [--repeats 7] [--json]

The peers have the layers of Table I on the same graph, with the same parameters:

- `pyg`: `ChebConv` of PyTorch Geometric on a block-diagonal batch that is built once, then the same pooling.
- `reference`: layers as in the ChebNet reference code: sparse products on [N, F * B], the basis concatenated, one dense
  product; nodes are padded with the fake nodes of Graclus, which are masked, because otherwise ReLU(bias) would leak
  into the pooling.

A training step is forward, cross entropy, backward and Adam. All outputs and gradients are first compared with float64;
if they disagree, no figures are printed. Times are CPU times on one thread, medians over steps; the networks alternate
within a process, and processes with the default allocator alternate with processes whose allocator keeps its memory.
Memory is measured in one process per network: the peak, and what a training step adds to the memory before the first
step, which is mostly libraries.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from common import parser, show
from torch import Tensor, nn
from torch.nn import functional

from merflow.systems.tsdgcn.graph import COARSENINGS, Graph, _tree_orders, build_graph, coarsen
from merflow.systems.tsdgcn.sgcn import ORDERS, SGCN, WIDTHS

THREADS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MKL_CBWR": "AVX2"}
KEEP = str(2**32)
ALLOCATORS = {
    "default": {},
    # glibc: never return memory, hence no page faults after the first steps.
    "tuned": {"MALLOC_MMAP_THRESHOLD_": KEEP, "MALLOC_TRIM_THRESHOLD_": KEEP, "MALLOC_TOP_PAD_": str(2**28)},
}
NETWORKS = ("ours", "pyg", "reference")
AGREEMENT = 5e-3
"""Largest relative difference from float64. Where two children of a node are equal within rounding, the gradient may
reach the other one, which changes sums over all nodes by less."""
CLASSES = 5
TARGETS = {
    "train_vs_pyg_default": 10,
    "train_vs_pyg_tuned": 5,
    "train_vs_reference": 4,
    "infer_vs_pyg_tuned": 8,
    "memory_pyg_vs_ours": 4,
}
"""Lower limits of the ratios."""


class _Peer(nn.Module):
    """Table I with the parameters of ``ours``, around layers from [images, nodes, inputs] to [..., outputs]."""

    def __init__(self, ours: SGCN, graph: Graph, batch: int, precision: torch.dtype) -> None:
        super().__init__()
        self.ours, self.graph, self.batch, self.precision = [ours], graph, batch, precision
        self.connected, self.classifier = ours.connected, ours.classifier
        self.build()
        self.to(precision)

    def forward(self, x: Tensor) -> Tensor:
        x = self.start(x[:, torch.from_numpy(self.graph.order)].unsqueeze(2))
        for layer in range(len(ORDERS)):
            x = self.pool(functional.relu(self.filter(x, layer)), layer)
        return self.classifier(functional.relu(self.connected(x.reshape(len(x), -1))))


class _Geometric(_Peer):
    """PyTorch Geometric."""

    def build(self) -> None:
        from torch_geometric.nn import ChebConv

        widths, self.convolutions, self.edges = (1, *WIDTHS), nn.ModuleList(), []
        levels, parents = coarsen(self.graph.adjacency, sum(COARSENINGS))
        orders = _tree_orders(parents)
        for number, step in enumerate(np.cumsum((0, *COARSENINGS))[:-1]):
            matrix = levels[step][orders[step]][:, orders[step]].tocoo()
            convolution = ChebConv(widths[number], widths[number + 1], ORDERS[number])
            with torch.no_grad():
                convolution.bias.copy_(self.ours[0].layers[number].bias)
                for line, weight in zip(convolution.lins, self.ours[0].layers[number].weight, strict=True):
                    line.weight.copy_(weight.T)
            self.convolutions.append(convolution)
            edges = torch.from_numpy(np.stack([matrix.row, matrix.col]).astype(np.int64))
            shifts = self.graph.sizes[number] * torch.arange(self.batch).repeat_interleave(matrix.nnz)
            weights = torch.from_numpy(matrix.data).float().repeat(self.batch)
            self.edges.append((edges.repeat(1, self.batch) + shifts, weights))
        self.pools = [torch.from_numpy(pool) for pool in self.graph.pools]

    def start(self, x: Tensor) -> Tensor:
        return x

    def filter(self, x: Tensor, layer: int) -> Tensor:
        flat, largest = x.reshape(-1, x.shape[2]), self.graph.lambda_max[layer]
        return self.convolutions[layer](flat, *self.edges[layer], lambda_max=largest).view(*x.shape[:2], -1)

    def pool(self, x: Tensor, layer: int) -> Tensor:
        return x[:, self.pools[layer]].amax(dim=2)

    def gradients(self) -> list[Tensor]:
        weights = [torch.stack([line.weight.grad.T for line in c.lins]) for c in self.convolutions]
        return [*weights, *(c.bias.grad for c in self.convolutions)]


class _Reference(_Peer):
    """The ChebNet reference code."""

    def build(self) -> None:
        layers = self.ours[0].layers
        self.weights = nn.ParameterList(layer.weight.detach().clone() for layer in layers)
        self.biases = nn.ParameterList(layer.bias.detach().clone() for layer in layers)
        self.nodes, self.laplacians = self.padded_nodes(), []
        for matrix, nodes, largest in zip(self.graph.laplacians, self.nodes, self.graph.lambda_max, strict=False):
            coo = matrix.tocoo()
            place = np.argsort(nodes, kind="stable")[(nodes < 0).sum() :]
            fake = np.flatnonzero(nodes < 0)
            # A fake node has no links: its row of the rescaled Laplacian is that of 2 I / lambda_max - I.
            rows, columns = np.append(place[coo.row], fake), np.append(place[coo.col], fake)
            values = torch.from_numpy(np.append(coo.data, np.full(len(fake), 2 / largest - 1))).to(self.precision)
            indices, shape = torch.from_numpy(np.stack([rows, columns]).astype(np.int64)), (len(nodes),) * 2
            self.laplacians.append(torch.sparse_coo_tensor(indices, values, shape, check_invariants=False).coalesce())
        self.masks = [torch.from_numpy(nodes >= 0).view(1, -1, 1) for nodes in self.nodes]

    def padded_nodes(self) -> list[np.ndarray]:
        """Return for each layer the node at each place of the padded graph, -1 for a fake node."""
        nodes = [np.arange(self.graph.sizes[-1])]
        for pool, times in zip(reversed(self.graph.pools), reversed(COARSENINGS), strict=True):
            places = np.full((len(nodes[0]), 2**times), -1)
            for place, node in enumerate(nodes[0]):
                if node >= 0:
                    children = np.unique(pool[node])
                    places[place, : len(children)] = children
            nodes.insert(0, places.ravel())
        return nodes

    def start(self, x: Tensor) -> Tensor:
        return x.index_select(1, torch.from_numpy(self.nodes[0]).clamp(min=0)) * self.masks[0]

    def filter(self, x: Tensor, layer: int) -> Tensor:
        images, nodes, inputs = x.shape
        order, laplacian = ORDERS[layer], self.laplacians[layer]
        before = x.permute(1, 2, 0).reshape(nodes, inputs * images)
        last = torch.sparse.mm(laplacian, before)
        basis = torch.cat([before.unsqueeze(0), last.unsqueeze(0)])
        for _ in range(2, order):
            before, last = last, 2 * torch.sparse.mm(laplacian, last) - before
            basis = torch.cat([basis, last.unsqueeze(0)])
        basis = basis.view(order, nodes, inputs, images).permute(3, 1, 2, 0).reshape(-1, inputs * order)
        weight = self.weights[layer].permute(1, 0, 2).reshape(inputs * order, -1)
        return (basis @ weight).view(images, nodes, -1) + self.biases[layer]

    def pool(self, x: Tensor, layer: int) -> Tensor:
        places = len(self.nodes[layer]) // len(self.nodes[layer + 1])
        return (x * self.masks[layer]).view(len(x), -1, places, x.shape[2]).amax(dim=2)

    def gradients(self) -> list[Tensor]:
        return [parameter.grad for parameter in (*self.weights, *self.biases)]


def make(name: str, graph: Graph, batch: int) -> nn.Module:
    """Return the network of a name; ``exact`` is in float64."""
    torch.manual_seed(0)
    ours = SGCN(graph, CLASSES, dropout=0)
    with torch.no_grad():
        for layer in ours.layers:
            layer.bias.normal_(std=0.05)
    if name == "ours":
        return ours
    precision = torch.float64 if name == "exact" else torch.float32
    return (_Geometric if name == "pyg" else _Reference)(ours, graph, batch, precision)


def gradients_of(net: nn.Module) -> list[Tensor]:
    """Return the gradients of the weights and biases of the layers, and of the dense weights."""
    if isinstance(net, SGCN):
        layers = [layer.weight.grad for layer in net.layers] + [layer.bias.grad for layer in net.layers]
    else:
        layers = net.gradients()
    return [*layers, net.connected.weight.grad, net.classifier.weight.grad]


def setting(side: int, batch: int) -> tuple[Graph, Tensor, Tensor]:
    """Return graph, images and classes."""
    torch.set_num_threads(1)
    torch.manual_seed(1)
    return build_graph(side, 8, 2), torch.rand(batch, side * side), torch.arange(batch) % CLASSES


def disagreement(side: int, batch: int) -> dict[str, float]:
    """Return for each network the largest relative difference of scores and gradients from those in float64."""
    graph, x, y = setting(side, batch)
    results = {}
    for name in ("exact", *NETWORKS):
        net = make(name, graph, batch)
        scores = net(x.double() if name == "exact" else x)
        functional.cross_entropy(scores, y).backward()
        results[name] = [scores.detach().double(), *(gradient.double() for gradient in gradients_of(net))]
    exact = results.pop("exact")
    return {
        name: max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(tensors, exact, strict=True))
        for name, tensors in results.items()
    }


def steps(name: str, graph: Graph, x: Tensor, y: Tensor) -> dict[str, Callable[[], None]]:
    """Return the training step and the inference of a network as functions."""
    net = make(name, graph, len(x))
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-5, fused=True)

    def train() -> None:
        optimiser.zero_grad()
        functional.cross_entropy(net(x), y).backward()
        optimiser.step()

    @torch.no_grad()
    def infer() -> None:
        net(x)

    return {f"train_{name}": train, f"infer_{name}": infer}


def times(side: int, batch: int, repeats: int) -> dict[str, list[float]]:
    """Return the CPU seconds of every step, which alternate."""
    setting_ = setting(side, batch)
    work = {step: run for name in NETWORKS for step, run in steps(name, *setting_).items()}
    seconds: dict[str, list[float]] = {step: [] for step in work}
    for _ in range(repeats + 1):
        for step, run in work.items():
            start = time.process_time()
            run()
            seconds[step].append(time.process_time() - start)
    return {step: measured[1:] for step, measured in seconds.items()}  # The first turn warms up.


def memory(name: str, side: int, batch: int) -> dict[str, float]:
    """Return the memory of a training process in MB: its peak, and the peak minus the memory before the first step."""
    train = steps(name, *setting(side, batch))[f"train_{name}"]
    with open("/proc/self/statm") as file:
        before = int(file.read().split()[1]) * resource.getpagesize() / 2**20
    for _ in range(3):
        train()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {f"memory_{name}_peak_MB": peak, f"memory_{name}_step_MB": peak - before}


def child(task: list[str], arguments: argparse.Namespace, allocator: str = "default") -> Any:
    """Run a task in a new process."""
    command = [sys.executable, __file__, "--task", *task]
    for name in ("side", "batch", "repeats"):
        command += [f"--{name}", str(getattr(arguments, name))]
    return json.loads(subprocess.check_output(command, env=os.environ | THREADS | ALLOCATORS[allocator], text=True))


def run_task(arguments: argparse.Namespace) -> Any:
    """Run the task of a child process."""
    side, batch = arguments.side, arguments.batch
    match arguments.task:
        case ["check"]:
            return disagreement(side, batch)
        case ["times"]:
            return times(side, batch, arguments.repeats)
        case ["memory", name]:
            return memory(name, side, batch)


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """Return all figures and ratios."""
    seconds: dict[str, list[float]] = {}
    for _ in range(arguments.rounds):
        for allocator in ALLOCATORS:
            for step, measured in child(["times"], arguments, allocator).items():
                seconds.setdefault(f"{step}_{allocator}_ms", []).extend(measured)
    figures = {step: 1e3 * statistics.median(measured) for step, measured in seconds.items()}
    for name in NETWORKS:
        figures |= child(["memory", name], arguments)
    # Ours has the default allocator in all of these, because it needs no setting.
    train, infer = figures["train_ours_default_ms"], figures["infer_ours_default_ms"]
    return figures | {
        "train_vs_pyg_default": figures["train_pyg_default_ms"] / train,
        "train_vs_pyg_tuned": figures["train_pyg_tuned_ms"] / train,
        "train_vs_reference": figures["train_reference_default_ms"] / train,
        "infer_vs_pyg_tuned": figures["infer_pyg_tuned_ms"] / infer,
        "memory_pyg_vs_ours": figures["memory_pyg_step_MB"] / figures["memory_ours_step_MB"],
    }


def main() -> None:
    """Command line."""
    options = parser(__doc__)
    options.add_argument("--side", type=int, default=64)
    options.add_argument("--batch", type=int, default=32)
    options.add_argument("--rounds", type=int, default=3, help="processes of each allocator")
    options.add_argument("--repeats", type=int, default=7, help="turns in each process")
    options.add_argument("--task", nargs="+", help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.task:
        print(json.dumps(run_task(arguments)))
        return
    if find_spec("torch_geometric") is None:
        sys.exit("the peer is not installed: pip install -r bench/requirements-sgcn.txt")
    figures: dict[str, Any] = {f"error_{name}": error for name, error in child(["check"], arguments).items()}
    for name, error in figures.items():
        if not error <= AGREEMENT:
            sys.exit(f"{name} {error:.1e} > {AGREEMENT:.0e}: the network computes something else; no figures")
    figures |= measure(arguments)
    show(figures, arguments.json, TARGETS)


if __name__ == "__main__":
    main()
