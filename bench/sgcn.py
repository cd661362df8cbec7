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
step, which is mostly libraries. `ours` reads the Chebyshev terms of the first layer, computed once per image as in
pre-training; `ours_images` computes them in every step. Inference always starts from images.
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
from pathlib import Path

THREADS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MKL_CBWR": "AVX2"}
KEEP = str(2**32)
ALLOCATORS = {
    "default": {},
    # glibc: never return memory, hence no page faults after the first steps.
    "tuned": {"MALLOC_MMAP_THRESHOLD_": KEEP, "MALLOC_TRIM_THRESHOLD_": KEEP, "MALLOC_TOP_PAD_": str(2**28)},
}
NETWORKS = ("ours", "pyg", "reference")
AGREEMENT = 5e-6
JUMP = 5e-6
"""Images are not compared if a maximum exceeds the second largest value by less, in deviations of a layer's output."""
CLASSES = 5
GEMM = 1024
TARGETS = {
    "train_vs_pyg_default": 10,
    "train_vs_pyg_tuned": 5,
    "train_vs_reference": 4,
    "infer_vs_pyg_tuned": 8,
    "memory_pyg_vs_ours": 4,
    "share_of_gemm_bound": 0.5,
    "graph_64_s": 0.2,
    "graph_128_s": 1.0,
}
"""Lower limits of the ratios, and upper limits of the seconds of the graphs."""


def level_adjacencies(graph):
    """Return the adjacency matrix of each layer's input, in the node order of the network."""
    import numpy as np

    from merflow.systems.tsdgcn.graph import COARSENINGS, _tree_orders, coarsen

    levels, parents = coarsen(graph.adjacency, sum(COARSENINGS))
    orders = _tree_orders(parents)
    steps = np.cumsum((0, *COARSENINGS))[:-1]
    return [levels[step][orders[step]][:, orders[step]].tocoo() for step in steps]


def padded_nodes(graph):
    """Return for each layer the node at each place of the padded graph, -1 for a fake node, as the reference does."""
    import numpy as np

    from merflow.systems.tsdgcn.graph import COARSENINGS

    nodes = [np.arange(graph.sizes[-1])]
    for pool, times in zip(reversed(graph.pools), reversed(COARSENINGS), strict=True):
        places = np.full((len(nodes[0]), 2**times), -1)
        for place, node in enumerate(nodes[0]):
            if node >= 0:
                children = np.unique(pool[node])
                places[place, : len(children)] = children
        nodes.insert(0, places.ravel())
    return nodes


def make(name: str, graph, batch: int):
    """Return the network of a name; ``exact`` is in float64."""
    import numpy as np
    import torch
    from torch import nn
    from torch.nn import functional

    from merflow.systems.tsdgcn.sgcn import ORDERS, SGCN, WIDTHS

    torch.manual_seed(0)
    ours = SGCN(graph, CLASSES, dropout=0)
    with torch.no_grad():
        for layer in ours.layers:
            layer.bias.normal_(std=0.05)
    if name == "ours":
        return ours
    widths = (1, *WIDTHS)

    class Peer(nn.Module):
        """Table I around layers that map [images, nodes, inputs] to [images, nodes, outputs]."""

        def __init__(self):
            super().__init__()
            self.connected, self.classifier = ours.connected, ours.classifier
            self.register_buffer("order", torch.from_numpy(graph.order))
            self.build()

        def forward(self, x):
            x = self.start(x.index_select(1, self.order).unsqueeze(2))
            for layer in range(len(ORDERS)):
                y = self.filter(x, layer)
                self.observe(y, layer)
                x = self.pool(functional.relu(y), layer)
            return self.classifier(functional.relu(self.connected(x.reshape(len(x), -1))))

        def observe(self, y, layer):
            """Hook for :class:`Exact`."""

    class Geometric(Peer):
        """PyTorch Geometric."""

        def build(self):
            from torch_geometric.nn import ChebConv

            self.convolutions, self.edges = nn.ModuleList(), []
            for number, matrix in enumerate(level_adjacencies(graph)):
                convolution = ChebConv(widths[number], widths[number + 1], ORDERS[number])
                with torch.no_grad():
                    convolution.bias.copy_(ours.layers[number].bias)
                    for line, weight in zip(convolution.lins, ours.layers[number].weight, strict=True):
                        line.weight.copy_(weight.T)
                self.convolutions.append(convolution)
                edges = torch.from_numpy(np.stack([matrix.row, matrix.col]).astype(np.int64))
                shifts = graph.sizes[number] * torch.arange(batch).repeat_interleave(matrix.nnz)
                self.edges.append(
                    (edges.repeat(1, batch) + shifts, torch.from_numpy(matrix.data).float().repeat(batch))
                )
            self.pools = [torch.from_numpy(pool) for pool in graph.pools]

        def start(self, x):
            return x

        def filter(self, x, layer):
            flat = x.reshape(-1, x.shape[2])
            return self.convolutions[layer](flat, *self.edges[layer], lambda_max=graph.lambda_max[layer]).view(
                *x.shape[:2], -1
            )

        def pool(self, x, layer):
            return x[:, self.pools[layer]].amax(dim=2)

        def gradients(self):
            weights = [torch.stack([line.weight.grad.T for line in c.lins]) for c in self.convolutions]
            return weights, [c.bias.grad for c in self.convolutions]

    class Reference(Peer):
        """The ChebNet reference code."""

        def build(self):
            self.weights = nn.ParameterList(layer.weight.detach().clone() for layer in ours.layers)
            self.biases = nn.ParameterList(layer.bias.detach().clone() for layer in ours.layers)
            self.nodes = padded_nodes(graph)
            if name == "exact":
                self.nodes = [np.arange(size) for size in graph.sizes]
            self.laplacians = []
            for matrix, nodes, largest in zip(graph.laplacians, self.nodes, graph.lambda_max, strict=False):
                coo = matrix.tocoo()
                place = np.argsort(nodes, kind="stable")[(nodes < 0).sum() :]
                fake = np.flatnonzero(nodes < 0)
                # A fake node has no links: its row of the rescaled Laplacian is that of 2 I / lambda_max - I.
                rows, columns = np.append(place[coo.row], fake), np.append(place[coo.col], fake)
                values = np.append(coo.data, np.full(len(fake), 2 / largest - 1))
                indices = torch.from_numpy(np.stack([rows, columns]).astype(np.int64))
                sparse = torch.sparse_coo_tensor(
                    indices, torch.from_numpy(values).to(precision), (len(nodes),) * 2, check_invariants=False
                )
                self.laplacians.append(sparse.coalesce())
            self.masks = [torch.from_numpy(nodes >= 0).view(1, -1, 1) for nodes in self.nodes]

        def start(self, x):
            nodes = torch.from_numpy(self.nodes[0])
            return x.index_select(1, nodes.clamp(min=0)) * self.masks[0]

        def filter(self, x, layer):
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

        def pool(self, x, layer):
            places = len(self.nodes[layer]) // len(self.nodes[layer + 1])
            return (x * self.masks[layer]).view(len(x), -1, places, x.shape[2]).amax(dim=2)

        def gradients(self):
            return [weight.grad for weight in self.weights], [bias.grad for bias in self.biases]

    class Exact(Reference):
        """The reference without fake nodes; it measures how near each image is to a jump of its gradient."""

        def pool(self, x, layer):
            return x[:, torch.from_numpy(graph.pools[layer])].amax(dim=2)

        @torch.no_grad()
        def observe(self, y, layer):
            pool = torch.from_numpy(graph.pools[layer])
            children = y[:, pool]
            repeated = pool == pool[:, :1]
            repeated[:, 0] = False
            children[:, repeated] = -torch.inf
            first, second = children.topk(2, dim=2).values.unbind(dim=2)
            margin = torch.where(first > 0, first - second.clamp(min=0), -first) / y.std()
            self.margin = torch.minimum(margin.flatten(1).amin(dim=1), self.margin if layer else torch.tensor(1.0))

    precision = torch.float64 if name == "exact" else torch.float32
    return {"pyg": Geometric, "reference": Reference, "exact": Exact}[name]().to(precision)


def gradients_of(net) -> list:
    weights, biases = (
        net.gradients()
        if hasattr(net, "gradients")
        else ([layer.weight.grad for layer in net.layers], [layer.bias.grad for layer in net.layers])
    )
    return [*weights, *biases, net.connected.weight.grad, net.classifier.weight.grad]


def setting(side: int, batch: int):
    """Return graph, images and classes."""
    import torch

    from merflow.systems.tsdgcn.graph import build_graph

    torch.set_num_threads(1)
    torch.manual_seed(1)
    return build_graph(side, 8, 2), torch.rand(batch, side * side), torch.arange(batch) % CLASSES


def disagreement(side: int, batch: int) -> dict[str, float]:
    """Return for each network the largest relative difference of scores and gradients from those in float64."""
    import torch
    from torch.nn import functional

    graph, x, y = setting(side, 4 * batch)
    exact, margins = make("exact", graph, len(x)), []
    with torch.no_grad():
        for part in x.split(batch):
            exact(part.double())
            margins.append(exact.margin)
    # If two children are equal within rounding, or a maximum is zero, the gradient jumps and cannot be compared.
    x = x[torch.cat(margins) > JUMP][:batch]
    if not len(x):
        sys.exit("no image without a near tie: nothing can be compared; choose a smaller --side or a larger --batch")
    y = y[: len(x)]
    results = {}
    for name in ("exact", *NETWORKS):
        net = make(name, graph, len(x))
        scores = net(x.double() if name == "exact" else x)
        functional.cross_entropy(scores, y).backward()
        results[name] = [scores.detach().double(), *(gradient.double() for gradient in gradients_of(net))]
    exact = results.pop("exact")
    return {
        name: max(float((one - other).abs().max() / other.abs().max()) for one, other in zip(found, exact, strict=True))
        for name, found in results.items()
    }


def steps(name: str, graph, x, y) -> dict[str, Callable[[], None]]:
    """Return the training steps and the inference of a network as functions."""
    import torch
    from torch.nn import functional

    net = make(name, graph, len(x))
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-5, fused=True)

    def train(signal):
        optimiser.zero_grad()
        functional.cross_entropy(net(signal), y).backward()
        optimiser.step()

    @torch.no_grad()
    def infer():
        net(x)

    if name == "ours":
        terms = net.terms(x)
        return {"ours": lambda: train(terms), "ours_images": lambda: train(x), "infer_ours": infer}
    return {name: lambda: train(x), f"infer_{name}": infer}


def times(side: int, batch: int, repeats: int) -> dict[str, list[float]]:
    """Return the CPU seconds of every step, which alternate, and of a large dense product."""
    import torch

    graph, x, y = setting(side, batch)
    square = torch.rand(GEMM, GEMM)
    work = {"gemm": lambda: square @ square}
    for name in NETWORKS:
        work |= steps(name, graph, x, y)
    found = {name: [] for name in work}
    for repeat in range(-1, repeats):
        for name, run in work.items():
            start = time.process_time()
            run()
            if repeat >= 0:
                found[name].append(time.process_time() - start)
    return found


def memory(name: str, side: int, batch: int) -> dict[str, float]:
    """Return the memory of a training process in MB: its peak, and the peak minus the memory before the first step."""
    graph, x, y = setting(side, batch)
    train = steps(name, graph, x, y)[name]
    with open("/proc/self/statm") as file:
        before = int(file.read().split()[1]) * resource.getpagesize() / 2**20
    for _ in range(3):
        train()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"peak": peak, "step": peak - before}


def graphs() -> dict[str, float]:
    """Return the CPU seconds of building a graph with all its levels, the median over five seeds."""
    from merflow.systems.tsdgcn.graph import build_graph

    found = {}
    for side in (64, 128):
        seconds = []
        for seed in range(5):
            start = time.process_time()
            build_graph(side, 8, 2, seed=seed)
            seconds.append(time.process_time() - start)
        found[f"graph_{side}_s"] = statistics.median(seconds)
    return found


def dense_flops(side: int) -> tuple[int, int]:
    """Return the operations of the dense products per image, of a forward pass and of a training step.

    The backward pass has two products for each one of the forward pass, except in the first layer, whose inputs have no
    gradient.
    """
    from merflow.systems.tsdgcn.graph import build_graph
    from merflow.systems.tsdgcn.sgcn import HIDDEN, ORDERS, WIDTHS

    sizes = build_graph(side, 8, 2).sizes
    layers = [
        2 * nodes * order * inputs * outputs
        for nodes, order, inputs, outputs in zip(sizes, ORDERS, (1, *WIDTHS), WIDTHS, strict=False)
    ]
    forward = sum(layers) + 2 * sizes[-1] * WIDTHS[-1] * HIDDEN + 2 * HIDDEN * CLASSES
    return forward, 3 * forward - layers[0]


def child(task: list[str], arguments: argparse.Namespace, allocator: str = "default"):
    """Run a task in a new process."""
    command = [sys.executable, __file__, "--task", *task]
    for name in ("side", "batch", "repeats"):
        command += [f"--{name}", str(getattr(arguments, name))]
    return json.loads(subprocess.check_output(command, env=os.environ | THREADS | ALLOCATORS[allocator], text=True))


def run_task(arguments: argparse.Namespace):
    sys.path.insert(0, str(Path(__file__).parents[1]))
    side, batch = arguments.side, arguments.batch
    match arguments.task:
        case ["check"]:
            return disagreement(side, batch)
        case ["times"]:
            return times(side, batch, arguments.repeats)
        case ["memory", name]:
            return memory(name, side, batch)
        case ["graphs"]:
            return graphs()
        case ["flops"]:
            return dense_flops(side)


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """Return all figures and ratios."""
    figures = {}
    samples = {allocator: {} for allocator in ALLOCATORS}
    for _ in range(arguments.rounds):
        for allocator, found in samples.items():
            for name, seconds in child(["times"], arguments, allocator).items():
                found.setdefault(name, []).extend(seconds)
    for allocator, found in samples.items():
        for name, seconds in found.items():
            middle = statistics.median(seconds)
            if name == "gemm":
                figures[f"gemm_gflops_{allocator}"] = 2 * GEMM**3 / middle / 1e9
            elif name.startswith("infer_"):
                figures[f"{name}_{allocator}_ms_per_image"] = 1e3 * middle / arguments.batch
            else:
                figures[f"train_{name}_{allocator}_ms"] = 1e3 * middle
    for allocator in ALLOCATORS:
        for name in NETWORKS:
            for what, value in child(["memory", name], arguments, allocator).items():
                figures[f"memory_{name}_{allocator}_{what}_MB"] = value
    forward, step = child(["flops"], arguments)
    figures["dense_gflop_per_step"] = step * arguments.batch / 1e9
    figures |= child(["graphs"], arguments)
    train = {name: figures[f"train_{name}_ms"] for name in ("ours_default", "ours_tuned", "ours_images_default")}
    own = train["ours_default"]
    figures |= {
        # Ours has the default allocator in all of these, because it needs no setting.
        "train_vs_pyg_default": figures["train_pyg_default_ms"] / own,
        "train_vs_pyg_tuned": figures["train_pyg_tuned_ms"] / own,
        "train_vs_reference": figures["train_reference_default_ms"] / own,
        "train_vs_reference_tuned": figures["train_reference_tuned_ms"] / own,
        "train_images_vs_pyg_default": figures["train_pyg_default_ms"] / train["ours_images_default"],
        "train_images_vs_pyg_tuned": figures["train_pyg_tuned_ms"] / train["ours_images_default"],
        "infer_vs_pyg_default": figures["infer_pyg_default_ms_per_image"] / figures["infer_ours_default_ms_per_image"],
        "infer_vs_pyg_tuned": figures["infer_pyg_tuned_ms_per_image"] / figures["infer_ours_default_ms_per_image"],
        "memory_process_pyg_vs_ours": figures["memory_pyg_default_peak_MB"] / figures["memory_ours_default_peak_MB"],
        "memory_pyg_vs_ours": figures["memory_pyg_default_step_MB"] / figures["memory_ours_default_step_MB"],
        "train_vs_pyg_both_tuned": figures["train_pyg_tuned_ms"] / train["ours_tuned"],
        "train_vs_reference_both_tuned": figures["train_reference_tuned_ms"] / train["ours_tuned"],
        "infer_vs_pyg_both_tuned": figures["infer_pyg_tuned_ms_per_image"] / figures["infer_ours_tuned_ms_per_image"],
    }
    for key, allocator in (("share_of_gemm_bound", "default"), ("share_of_gemm_bound_tuned", "tuned")):
        bound = 1e3 * figures["dense_gflop_per_step"] / figures[f"gemm_gflops_{allocator}"]
        figures[key] = bound / train[f"ours_{allocator}"]
    return figures


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3, help="processes of each allocator")
    parser.add_argument("--repeats", type=int, default=7, help="turns in each process")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    parser.add_argument("--task", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.task:
        print(json.dumps(run_task(arguments)))
        return
    if find_spec("torch_geometric") is None:
        sys.exit("the peer is not installed: pip install -r bench/requirements-sgcn.txt")
    errors = child(["check"], arguments)
    for name, error in errors.items():
        print(f"{name}: differs from float64 by {error:.1e}")
        if not error <= AGREEMENT:
            sys.exit(f"{name} does not compute the same ({error:.1e} > {AGREEMENT:.0e}): no figures")
    figures = {f"error_{name}": error for name, error in errors.items()} | measure(arguments)
    for name, value in figures.items():
        target = TARGETS.get(name)
        reached = "" if target is None else ("ok" if (value <= target) == name.startswith("graph") else "MISSED")
        print(f"{name:40s} {value:10.3g}" + ("" if target is None else f"   target {target:g} {reached}"))
    if arguments.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
