"""Alias: the pixel graph of :mod:`merflow.systems.tsdgcn.graph`."""

from merflow.systems.tsdgcn.graph import pq_adjacency

__all__ = ["pq_adjacency"]
