"""Lookups in the published numbers."""

from merflow.evaluation.published import published

SAMM_CLASSES = ["happiness", "surprise", "anger"]
"""Classes of the published confusion matrix of SAMM."""


def ledger_entries(text: str) -> list[int]:
    """Return the entries of the ledger that a published number names: ``18 11 10``."""
    return [int(number) for number in text.split()]


def published_table(name: str) -> dict[tuple[str, str, str], float]:
    """Return the values of a published table by row, column and metric."""
    return {key[1:]: row["value"] for key, row in published().items() if key[0] == name}
