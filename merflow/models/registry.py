"""Networks that read one flow image per clip, by the name of their system; imported when they are asked for.

A new system is one file in this package and one entry here: an ``nn.Module`` that is made from the number of classes
and a share of dropout, and maps flow images ``[clips, 3 (u, v, strain), 28, 28]`` to class scores ``[clips, classes]``.
The rest of the package does not import this module, so that an entry reruns no training of another system's kind.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

from merflow.errors import ConfigError


class System(NamedTuple):
    """An entry of :data:`NETWORKS`.

    Attributes:
        network: module and class.
        settings: what stands for ``null`` in the block ``network`` of the configuration.
    """

    network: str
    settings: Mapping[str, Any]


NETWORKS = {
    "ststnet": System(
        "merflow.models.ststnet:STSTNet",
        {"epochs": 200, "patience": 40, "learning_rate": 5e-4, "dropout": 0.5},
    ),
    "off-apexnet": System(
        "merflow.models.off_apexnet:OFFApexNet",
        {"epochs": 3000, "patience": 40, "learning_rate": 1e-4, "dropout": 0.0},
    ),
}


def network(name: str) -> Any:
    """The class of the network called ``name``.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in NETWORKS:
        raise ConfigError(f"no network {name!r}; there are: {', '.join(NETWORKS)}")
    module, attribute = NETWORKS[name].network.split(":")
    return getattr(import_module(module), attribute)


def own_settings(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The block ``network`` of a configuration, with the system's own values where it says null."""
    return dict(settings) | {key: own for key, own in NETWORKS[name].settings.items() if settings.get(key) is None}
