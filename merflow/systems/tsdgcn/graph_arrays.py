"""A pixel graph as safetensors, for weights that are passed on; the workflow's own file is HDF5 (``Graph.save``)."""

import json
from pathlib import Path

import torch
from scipy.sparse import csr_array

from merflow.errors import InputError
from merflow.storage.weights import read_weights, write_weights
from merflow.systems.tsdgcn.graph import SCALARS, Graph

PARTS = ("data", "indices", "indptr")


def save_graph(graph: Graph, path: str | Path) -> None:
    """Write a graph as safetensors."""
    matrices = {"adjacency": graph.adjacency}
    matrices |= {f"laplacian{number}": matrix for number, matrix in enumerate(graph.laplacians)}
    arrays = {f"{name}.{part}": getattr(matrix, part) for name, matrix in matrices.items() for part in PARTS}
    arrays |= {"order": graph.order} | {f"pool{number}": pool for number, pool in enumerate(graph.pools)}
    about = {name: getattr(graph, name) for name in (*SCALARS, "lambda_max", "digest")}
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    write_weights(tensors, path, {"graph": json.dumps(about, sort_keys=True)})


def load_graph(path: str | Path) -> Graph:
    """Read a graph from a file of :func:`save_graph` or of ``Graph.save``.

    Raises:
        InputError: the file is missing, damaged, or no graph.
    """
    if Path(path).suffix != ".safetensors":
        return Graph.load(path)
    metadata, tensors = read_weights(path)
    try:
        about = json.loads(metadata["graph"])
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        layers = range(len(about["lambda_max"]))

        def matrix(name: str) -> csr_array:
            parts = tuple(arrays[f"{name}.{part}"] for part in PARTS)
            nodes = len(parts[2]) - 1
            return csr_array(parts, shape=(nodes, nodes))

        graph = Graph(
            **{name: about[name] for name in SCALARS},
            adjacency=matrix("adjacency"),
            order=arrays["order"],
            laplacians=tuple(matrix(f"laplacian{number}") for number in layers),
            lambda_max=tuple(about["lambda_max"]),
            pools=tuple(arrays[f"pool{number}"] for number in layers),
        )
        if graph.digest != about["digest"]:
            raise ValueError(f"its digest is {graph.digest}, expected {about['digest']}")
        return graph
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path} is not a graph of merflow ({error}); get the weights again") from error
