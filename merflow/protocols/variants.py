"""Variants of an experiment: the cells of a table of variants, their names, and settings with other values."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

T = TypeVar("T")

LABELS = {
    "loss.alpha": "alpha {}",
    "loss.gamma": "gamma {}",
    "seeds": "seeds {}",
    "temporal.normalise": "normalise {}",
    "spatial.relative": "relative {}",
    "graph.symmetrise": "symmetrise {}",
    "pretrain.together": "together {}",
    "pretrain.validation": "validation {}",
    "head.batch": "batch {}",
}
"""How a table names a varied setting; all other settings are named by their value alone."""


def variants(declared: Any) -> list[dict[str, Any]]:
    """Return the variants of the rows or columns of a table, as dictionaries of dotted keys.

    Args:
        declared: a list of such dictionaries, or one key with the list of its values.
    """
    if not declared:
        return [{}]
    if isinstance(declared, Mapping):
        ((name, values),) = declared.items()
        return [{name: value} for value in values]
    return [dict(variant) for variant in declared]


def variant_label(variant: Mapping[str, Any]) -> str:
    """Return the name of a variant: ``alpha 0.5``, ``8+2 and 4+0``, ``spatial, cross-entropy``."""
    return ", ".join(LABELS.get(name, "{}").format(_text(value)) for name, value in variant.items())


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " and ".join(map(str, value))
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def with_overrides(settings: T, overrides: Mapping[str, Any]) -> T:
    """Return settings with other values at some dotted keys.

    Args:
        settings: a mapping, or a settings class; a key that a settings class lacks is one of its ``options``.
        overrides: values by dotted key, such as ``loss.gamma``.
    """
    result: Any = settings
    for key, value in overrides.items():
        name, _, rest = key.partition(".")
        if isinstance(result, Mapping):
            block = result.get(name)
            block = block if isinstance(block, Mapping) else {}
            result = {**result, name: with_overrides(block, {rest: value}) if rest else value}
        elif hasattr(result, name):
            result = replace(result, **{name: with_overrides(getattr(result, name), {rest: value}) if rest else value})
        else:
            result = replace(result, options={**result.options, name: value})
    changed: T = result
    return changed
