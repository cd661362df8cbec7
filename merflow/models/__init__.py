"""Networks by name, imported when they are asked for."""

from importlib import import_module
from typing import Any

from merflow.errors import ConfigError

NETWORKS = {"sgcn": "merflow.models.sgcn:SGCN"}
"""Module and class of each network."""


def network(name: str) -> Any:
    """The class of the network called ``name``.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in NETWORKS:
        raise ConfigError(f"no network {name!r}; there are: {', '.join(NETWORKS)}")
    module, attribute = NETWORKS[name].split(":")
    return getattr(import_module(module), attribute)
