"""Layout ``demo``: the synthetic clips that the workflow draws itself; their table follows from the settings alone."""

from collections.abc import Mapping
from typing import Any

from merflow.datasets.index import Index
from merflow.datasets.synthetic.plan import plan_clips


def index(name: str, settings: Mapping[str, Any]) -> Index:
    """Index a demo dataset; ``settings`` are those of :func:`merflow.datasets.synthetic.plan.plan_clips`."""
    return Index(plan_clips(name, dict(settings)), list(settings["emotions"]))
