"""Alias: the metrics of :mod:`merflow.evaluation.metrics`."""

from merflow.evaluation.metrics import score

__all__ = ["score"]
