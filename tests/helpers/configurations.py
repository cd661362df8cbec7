"""Overlays of the configuration, and the planners of studies."""

from repository import REPO

from merflow.study.load import load_config
from merflow.study.plan import plan_study

BASE = REPO / "config.yaml"


def experiment(**changes):
    return {
        "experiments": {"mine": {"system": "tsdgcn", "macro": "demo-macro", "micro": "demo-micro"} | changes},
        "datasets": {"demo-macro": {"layout": "demo", "kind": "macro"}, "demo-micro": {"layout": "demo"}},
    }


def plan(overlay):
    """The planners of an overlay over config.yaml."""
    return plan_study(load_config(BASE, overlay))
