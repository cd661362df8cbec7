"""Alias: the metrics of :mod:`merflow.evaluation.metrics` (docs/from-python.md)."""

from merflow.evaluation.metrics import bootstrap_subjects, holm, paired_differences, score

__all__ = ["bootstrap_subjects", "holm", "paired_differences", "score"]
