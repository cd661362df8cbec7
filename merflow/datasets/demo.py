"""Layout ``demo``: the synthetic clips that the workflow renders; their table follows from the settings."""

from merflow.datasets.index import Index
from merflow.datasets.settings import SyntheticSettings
from merflow.datasets.synthetic.plan import plan_clips


def index(name: str, settings: SyntheticSettings) -> Index:
    """Index a dataset of synthetic people."""
    return Index(plan_clips(name, settings), list(settings.emotions))
