"""Overlays of the configuration."""

from repository import REPO

BASE = REPO / "config.yaml"


def experiment(**changes):
    return {
        "experiments": {"mine": {"system": "tsdgcn", "macro": "demo-macro", "micro": "demo-micro"} | changes},
        "datasets": {"demo-macro": {"layout": "demo", "kind": "macro"}, "demo-micro": {"layout": "demo"}},
    }
