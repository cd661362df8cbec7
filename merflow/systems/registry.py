"""Networks that read clips and are trained anew in each fold, by the name of their system.

A new system is one file in this package and one entry here (docs/add-a-model.md). The network is an ``nn.Module`` that
is made from the number of classes, a share of dropout and its own options, and maps clips to class scores
``[clips, classes]``. It may have two methods more:

``supervise(x, y, loss) -> (value, scores)``
    what a training step minimises, where that is not the loss of the scores (deep supervision);
``prior(training, validation, settings, name, checkpoints) -> Training | None``
    what is learnt before the classes (siamese pairs), from the same clips that train the network.

Training does not import this module, and a job's code hash has the file of its own network only: neither an entry nor
a change in one network reruns another one.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from merflow.errors import ConfigError


class System(NamedTuple):
    """An entry of :data:`NETWORKS`.

    Attributes:
        model: module of this package and class in it.
        settings: what stands for ``null`` in the block ``network`` of the configuration.
        options: the network's own keys of that block, each as a JSON schema with a ``default``.
        reads: what a clip is to it: ``flow-image`` (``[3 (u, v, strain), side, side]`` at the apex), ``flows`` (``[3,
            M, side, side]``: one per key-frame) or ``key-frames`` (grey, ``[1, M, side, side]``); an option ``reads``
            goes before it.
        side: of the images; an option ``side`` goes before it.
        loss: what stands for a block ``loss`` that is not given.
        reading: what it was rebuilt from, in words, where the paper itself was not at hand.
    """

    model: str
    settings: Mapping[str, Any]
    options: Mapping[str, Mapping[str, Any]] = {}
    reads: str = "flow-image"
    side: int = 28
    loss: Mapping[str, Any] = {"name": "cross-entropy"}
    reading: str = ""


_SIDE = {"type": "integer", "minimum": 20, "maximum": 256, "description": "side of the images in pixels, 20 to 256"}

NETWORKS = {
    "ststnet": System(
        "ststnet:STSTNet",
        {"epochs": 200, "patience": 40, "learning_rate": 5e-4, "batch": 256, "dropout": 0.5},
    ),
    "off-apexnet": System(
        "off_apexnet:OFFApexNet",
        {"epochs": 3000, "patience": 40, "learning_rate": 1e-4, "batch": 256, "dropout": 0.0},
    ),
    "msjfn": System(
        "msjfn:MSJFN",
        {"epochs": 60, "patience": 15, "learning_rate": 1e-3, "batch": 32, "dropout": 0.5},
        options={
            "side": _SIDE | {"default": 56},
            "width": {"type": "integer", "minimum": 4, "default": 16, "description": "filters of the first layer"},
            "modules": {
                "enum": [0, 1, 2, 3],
                "default": 3,
                "description": "joint feature modules; 0: the backbone alone",
            },
            "fusion": {
                "enum": ["uniform", "learned", "none"],
                "default": "uniform",
                "description": "how the predictions of modules and backbone are fused; none: the backbone's alone",
            },
        },
        reading="our reading of the abstract",
    ),
    "mersiamc3d": System(
        "mersiamc3d:MERSiamC3D",
        {"epochs": 60, "patience": 15, "learning_rate": 1e-3, "batch": 16, "dropout": 0.5},
        options={
            "side": _SIDE | {"default": 56},
            "width": {"type": "integer", "minimum": 4, "default": 16, "description": "filters of the first layer"},
            "reads": {
                "enum": ["flows", "key-frames"],
                "default": "flows",
                "description": "the flow to each key-frame, or the grey key-frames",
            },
            "prior": {
                "type": "boolean",
                "default": True,
                "description": "whether pairs of clips are learnt before classes",
            },
            "prior_epochs": {
                "type": "integer",
                "minimum": 1,
                "default": 15,
                "description": "at most so many epochs over pairs",
            },
            "pairs": {
                "type": "integer",
                "minimum": 1,
                "default": 2,
                "description": "pairs of each kind, same and other class, for each training clip",
            },
            "frozen": {
                "type": "integer",
                "minimum": 0,
                "maximum": 4,
                "default": 0,
                "description": "first layers that target learning leaves as prior learning made them",
            },
        },
        reads="flows",
        loss={"name": "focal", "alpha": 1.0, "gamma": 2.0},
        reading="our reading of the abstract",
    ),
}


def source(name: str) -> Path:
    """File of the network called ``name``."""
    return Path(__file__).with_name(NETWORKS[name].model.split(":")[0] + ".py")


def own_settings(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The block ``network`` of a configuration as the system reads it.

    The system's own values stand where it says null or nothing; options of other systems are left out.
    """
    system = NETWORKS[name]
    others = {option for other in NETWORKS.values() for option in other.options} - set(system.options)
    own = {key: value for key, value in settings.items() if key not in others}
    given = dict(system.settings) | {option: schema["default"] for option, schema in system.options.items()}
    return own | {key: value for key, value in given.items() if own.get(key) is None}


def reads(name: str, settings: Mapping[str, Any]) -> str:
    """What a clip is to a system with these settings of its block ``network``; empty for one that is not here."""
    return settings.get("reads") or (NETWORKS[name].reads if name in NETWORKS else "")


def plan(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """``model, reads, side``: what :func:`merflow.systems.clip_networks.train_fold` is told of a system.

    Args:
        name: of the system.
        settings: its block ``network`` (:func:`own_settings`).
    """
    system = NETWORKS[name]
    return {"model": system.model, "reads": reads(name, settings), "side": settings.get("side") or system.side}


def option_schemas() -> dict[str, dict[str, Any]]:
    """JSON schemas of all options, for the block ``network``; null, the default of each, is the system's own value.

    Raises:
        ConfigError: two systems give one option two meanings.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, system in NETWORKS.items():
        for option, schema in system.options.items():
            own = {key: value for key, value in schema.items() if key != "default"}
            known = found.setdefault(option, own)
            if known != own:
                raise ConfigError(
                    f"merflow/systems/registry.py: option {option} of {name} has another schema elsewhere"
                )
    return {option: _nullable(own) for option, own in found.items()}


def _nullable(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema that allows null as well, which is its default."""
    own = dict(schema) | {"default": None}
    if "enum" in own:
        own["enum"] = [*own["enum"], None]
    else:
        own["type"] = [own["type"], "null"]
    return own
