"""The registry of systems: its entries, shared options, and what scripts import of it."""

import subprocess
import sys

import torch
from clip_network_training import NETWORK
from repository import REPO

from merflow.runtime.code_hash import needed
from merflow.systems.clip_networks import make_network
from merflow.systems.registry import NETWORKS, complete_block, network_settings, option_schemas, source


def test_registry_completes_blocks_without_torch():
    for name, system in NETWORKS.items():
        block = complete_block(name, NETWORK | {"epochs": 7, "learning_rate": None, "batch": 3, "modules": None})
        assert (block["epochs"], block["batch"]) == (7, 3)
        assert block["learning_rate"] == system.settings["learning_rate"]
        assert ("modules" in block) == (name == "msjfn"), "options of other systems are left out"
        options = network_settings(name, block).options
        assert isinstance(make_network(system.model, 3, {"dropout": 0.1, **options}), torch.nn.Module)
    loaded = "import sys, merflow.systems.registry; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True).stdout.strip() == "False"


def test_systems_describe_a_shared_option_alike():
    schemas = {}
    for system in NETWORKS.values():
        for option, schema in system.options.items():
            assert schemas.setdefault(option, schema) == schema
    assert set(schemas) == set(option_schemas())


def test_scripts_need_neither_networks_nor_registry():
    """So a change of one network or entry reruns no other network; the rule adds the network's file."""
    networks = {source(name) for name in NETWORKS}
    assert {"ststnet", "off_apexnet", "msjfn", "mersiamc3d"} <= {file.stem for file in networks}
    assert all(file.is_file() for file in networks)
    for script in (REPO / "workflow/scripts").glob("*.py"):
        files = set(needed(script))
        assert not files & networks and REPO / "merflow/systems/registry.py" not in files, script
