"""All systems by name (:data:`SYSTEMS`), and the networks that read clips (:data:`NETWORKS`).

To add a network on clips, write one file in this package and one entry here (docs/add-a-model.md). The network is an
``nn.Module`` that is made from the number of classes, a share of dropout and its own options, and maps clips to class
scores ``[clips, classes]``. It may have two more methods:

``supervise(x, y, loss) -> (value, scores)``
    what a training step minimises, if that is not the loss of the scores (deep supervision);
``prior(training, schedule, name, checkpoints) -> Training | None``
    what is learned before the classes (siamese pairs), from the clips that train the network.

Training does not import this module, and the code hash of a job has the file of its own network only: neither a new
entry nor a change in one network reruns another one.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from merflow.systems.settings import NetworkSettings


class NetworkSystem(NamedTuple):
    """An entry of :data:`NETWORKS`.

    Attributes:
        model: module of this package and class in it.
        settings: values that replace ``null`` in the block ``network`` of the configuration.
        options: the network's own keys of that block, each a JSON schema with a ``default``.
        input_kind: what the network reads of a clip: ``flow-image`` (``[3 (u, v, strain), side, side]`` at the apex),
            ``flows`` (``[3, M, side, side]``, one per key-frame), ``flows-magnitude`` (u, v and their length) or
            ``key-frames`` (grey, ``[1, M, side, side]``).
        side: side of the images in pixels; options ``side`` and ``input_kind`` override these two.
        loss: default of the block ``loss``.
        reading: what the system was rebuilt from, if the paper itself was not available.
        unit_options: arguments of its constructor if the classes are action units.
    """

    model: str
    settings: Mapping[str, Any]
    options: Mapping[str, Mapping[str, Any]] = {}
    input_kind: str = "flow-image"
    side: int = 28
    loss: Mapping[str, Any] = {"name": "cross-entropy", "weights": "balanced"}
    reading: str = ""
    unit_options: Mapping[str, Any] = {}


_SIDE = {"type": "integer", "minimum": 20, "maximum": 256, "default": 56} | {
    "description": "side of the images in pixels, 20 to 256"
}
_WIDTH = {"type": "integer", "minimum": 4, "default": 16, "description": "filters of the first layer"}
_PRIOR = "whether the network learns from pairs of clips before it learns the classes"
_FUSION = "fusion of the predictions of modules and backbone; none: the backbone alone predicts"
_FROZEN = "number of first layers that target learning does not change"

_TRAINING = {"schedule": "constant", "epoch_choice": "refit", "average_seeds": 1}

NETWORKS = {
    "ststnet": NetworkSystem(
        "ststnet:STSTNet", {"epochs": 200, "patience": 40, "learning_rate": 5e-4, "batch": 256, "dropout": 0.5}
    ),
    "off-apexnet": NetworkSystem(
        "off_apexnet:OFFApexNet", {"epochs": 3000, "patience": 40, "learning_rate": 1e-4, "batch": 256, "dropout": 0.0}
    ),
    "msjfn": NetworkSystem(
        "msjfn:MSJFN",
        {"epochs": 60, "patience": 15, "learning_rate": 1e-3, "batch": 32, "dropout": 0.5},
        options={
            "side": _SIDE,
            "width": _WIDTH,
            "modules": {"enum": [0, 1, 2, 3], "default": 3}
            | {"description": "number of joint feature modules; 0: the backbone alone"},
            "fusion": {"enum": ["uniform", "learned", "none"], "default": "uniform", "description": _FUSION},
        },
        reading="our reading of the abstract",
        unit_options={"units": True},
    ),
    "mersiamc3d": NetworkSystem(
        "mersiamc3d:MERSiamC3D",
        {"epochs": 60, "patience": 15, "learning_rate": 1e-3, "batch": 16, "dropout": 0.5},
        options={
            "side": _SIDE,
            "width": _WIDTH,
            "input_kind": {"enum": ["flows", "flows-magnitude", "key-frames"], "default": "flows"}
            | {
                "description": "the flow to each key-frame (u, v and strain, or u, v and magnitude), or grey key-frames"
            },
            "prior": {"type": "boolean", "default": True, "description": _PRIOR},
            "prior_epochs": {"type": "integer", "minimum": 1, "default": 15}
            | {"description": "epochs of learning from pairs"},
            "frozen": {"type": "integer", "minimum": 0, "maximum": 4, "default": 0, "description": _FROZEN},
        },
        input_kind="flows",
        loss={"name": "focal", "alpha": 1.0, "gamma": 2.0},
        reading="our reading of the abstract and of one secondary source",
    ),
}


class SystemEntry(NamedTuple):
    """An entry of :data:`SYSTEMS`: its kind, and the blocks of an experiment of which ``grid`` may vary keys."""

    kind: str  # ``graph`` (graphs and a pre-training), ``clips`` (a network of NETWORKS), ``linear`` or ``ensemble``
    searched: Sequence[str] = ()


SYSTEMS = {
    "tsdgcn": SystemEntry("graph", ("loss", "head")),
    "majority": SystemEntry("linear"),
    "all-ones": SystemEntry("linear"),
    "linear-svm": SystemEntry("linear"),
    "rbf-svm": SystemEntry("linear"),
    "softmax": SystemEntry("linear"),
    **{name: SystemEntry("clips", ("loss", "network")) for name in NETWORKS},
    "ensemble": SystemEntry("ensemble"),
}
"""Every value of the key ``system``."""


def source(name: str) -> Path:
    """Return the file of a network."""
    return Path(__file__).with_name(NETWORKS[name].model.split(":")[0] + ".py")


def complete_block(name: str, block: Mapping[str, Any]) -> dict[str, Any]:
    """Return the block ``network`` of a configuration for one system.

    The system's own values replace null and missing keys; options of other systems are left out.
    """
    system = NETWORKS[name]
    others = {option for other in NETWORKS.values() for option in other.options} - set(system.options)
    complete = {key: value for key, value in block.items() if key not in others}
    defaults = (
        _TRAINING | dict(system.settings) | {option: schema["default"] for option, schema in system.options.items()}
    )
    return complete | {key: value for key, value in defaults.items() if complete.get(key) is None}


def input_kind(name: str, block: Mapping[str, Any]) -> str:
    """Return what a system reads of a clip, given its block ``network``; empty for a system that is not here."""
    return block.get("input_kind") or (NETWORKS[name].input_kind if name in NETWORKS else "")


def network_settings(name: str, block: Mapping[str, Any], units: bool = False) -> NetworkSettings:
    """Return the settings of a system, given its block ``network`` (:func:`complete_block`).

    ``units``: whether the classes are action units.
    """
    system = NETWORKS[name]
    return NetworkSettings(
        model=system.model,
        input_kind=input_kind(name, block),
        side=block.get("side") or system.side,
        cosine=block["schedule"] == "cosine",
        average=block["epoch_choice"] == "average",
        options={option: block[option] for option in system.options if option != "side"}
        | (dict(system.unit_options) if units else {}),
        **{key: block[key] for key in ("epochs", "patience", "learning_rate", "batch", "weight_decay", "dropout")},
    )


def option_schemas() -> dict[str, Mapping[str, Any]]:
    """Return the JSON schemas of all options; two systems that have an option of the same name describe it alike."""
    return {option: schema for system in NETWORKS.values() for option, schema in system.options.items()}
