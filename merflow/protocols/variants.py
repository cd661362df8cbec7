"""Variants of an experiment: how a table names and makes its cells."""

from collections.abc import Mapping
from typing import Any

NAMES = {"loss.alpha": "alpha {}", "loss.gamma": "gamma {}", "seeds": "seeds {}"}
"""How a varied setting is named in a table; others are named by their value alone."""


def variants(given: Any) -> list[dict[str, Any]]:
    """The variants of a table's rows or columns, as dictionaries of dotted keys.

    Args:
        given: a list of such dictionaries, or one key with the list of its values.
    """
    if not given:
        return [{}]
    if isinstance(given, Mapping):
        ((name, values),) = given.items()
        return [{name: value} for value in values]
    return [dict(one) for one in given]


def label(variant: Mapping[str, Any]) -> str:
    """Name of a variant: ``alpha 0.5``, ``8+2 and 4+0``, ``spatial, cross-entropy``."""
    return ", ".join(NAMES.get(name, "{}").format(_shown(value)) for name, value in variant.items())


def _shown(value: Any) -> str:
    return " and ".join(map(str, value)) if isinstance(value, list) else f"{value:g}" if _number(value) else str(value)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def varied(experiment: Mapping[str, Any], variant: Mapping[str, Any]) -> dict[str, Any]:
    """An experiment with the settings of a variant (dotted keys) in place of its own."""
    changed = dict(experiment)
    for name, value in variant.items():
        first, _, rest = name.partition(".")
        block = changed.get(first)
        changed[first] = varied(block if isinstance(block, Mapping) else {}, {rest: value}) if rest else value
    return changed
