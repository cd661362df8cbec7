"""Layout ``demo``: the synthetic clips that the workflow renders; their table follows from the settings."""

from merflow.datasets.action_units import NONE
from merflow.datasets.index import Index
from merflow.datasets.settings import SyntheticSettings
from merflow.datasets.synthetic.plan import plan_clips, plan_subject


def index(name: str, settings: SyntheticSettings) -> Index:
    """Index a dataset of synthetic people."""
    performances = [each for subject in settings.subject_names for each in plan_subject(subject, settings)]
    source = [{"action_units": "+".join(map(str, each.strengths)) or NONE} for each in performances]
    return Index(plan_clips(name, settings), list(settings.emotions), source=source)
