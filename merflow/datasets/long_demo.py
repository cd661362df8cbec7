"""Layout ``long-demo``: long videos of synthetic people, which the workflow draws; settings give their table."""

from merflow.datasets.index import Index
from merflow.datasets.settings import LongPeopleSettings
from merflow.datasets.synthetic.long_plan import LABELS, person_rng, plan_expressions
from merflow.footage.clip import Clip


def index(name: str, settings: LongPeopleSettings) -> Index:
    """Index the expressions of ``settings.kind``, each called ``p01#355`` (person and onset)."""
    clips, source = [], []
    for subject in settings.subject_names:
        person = settings.person_number(subject)
        for shown in plan_expressions(person_rng(person, settings), person, settings):
            if shown.kind == settings.kind:
                clip = Clip(
                    f"{subject}#{shown.onset}", f"{name}/{subject}", shown.label, shown.kind, settings.video(subject),
                    shown.onset, shown.apex, shown.offset, settings.fps,
                )  # fmt: skip
                clips.append(clip)
                source.append({"action_units": "+".join(map(str, shown.action.strengths))})
    return Index(clips, list(LABELS), source=source)
