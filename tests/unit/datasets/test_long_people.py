"""Long videos of synthetic people: their plan, their pictures, and the table that lists their expressions."""

import re
from dataclasses import asdict, replace
from itertools import islice

import numpy as np
import pytest
from long_clips import CHOOSING

from merflow.datasets.index import index_dataset
from merflow.datasets.long_videos import list_long_videos
from merflow.datasets.settings import LongPeopleSettings, dataset_settings
from merflow.datasets.synthetic.long_people import compress, film_person, plan_person, write_person
from merflow.datasets.synthetic.long_plan import LABELS
from merflow.errors import ConfigError
from merflow.footage.frames import grey_frames

SHORT = LongPeopleSettings(fps=15, seconds=10, people=2, first_person=CHOOSING + 100, micro=6, macro=6)


@pytest.mark.parametrize("fps", [30, 200])
def test_plan_has_both_kinds_apart_and_a_stretch_without_any(fps):
    settings = LongPeopleSettings(fps=fps)
    plan = plan_person(settings.first_person, settings)
    shown = plan.expressions
    assert [sum(each.kind == kind for each in shown) for kind in ("micro", "macro")] == [6, 5]
    for each in shown:
        seconds = (each.offset - each.onset) / fps
        assert seconds <= 0.5 + 2 / fps if each.kind == "micro" else 0.5 < seconds <= 4
        assert each.label in LABELS and len(each.course) == each.offset - each.onset + 1
        assert (
            each.onset < each.apex < each.offset and each.course[each.apex - each.onset] == 1 and each.course[-1] == 0
        )
    ends = [0, *(place for each in shown for place in (each.onset, each.offset)), plan.frames]
    gaps = np.diff(ends)[::2] / fps
    assert gaps.min() > 0.4 and gaps.max() > 0.15 * settings.seconds
    assert 0.1 < plan.talks.mean() < 0.8 and all(np.abs(course).max() > 0 for course in plan.courses.values())
    assert plan.courses["jaw"][plan.talks].mean() > 3 * plan.courses["jaw"][~plan.talks].mean()
    micro, macro = (np.mean([each.amplitude for each in shown if each.kind == kind]) for kind in ("micro", "macro"))
    assert macro > 2 * micro


def test_same_settings_give_the_same_video_and_people_differ():
    plan, again, other = (plan_person(SHORT.first_person + person, SHORT) for person in (0, 0, 1))
    assert (plan.rigid == again.rigid).all() and not (plan.rigid == other.rigid).all()
    first, second, third = (list(islice(film_person(each), 2)) for each in (plan, again, other))
    assert (first[1] == second[1]).all() and (first[0] != first[1]).any() and (first[0] != third[0]).any()


def test_expression_moves_the_face_where_nothing_else_does():
    plan = plan_person(SHORT.first_person, replace(SHORT, micro=0))
    (macro,) = plan.expressions
    still = {name: np.zeros_like(course) for name, course in plan.courses.items()}
    plan = replace(plan, courses=still, rigid=np.tile([0.0, 0.0, 0.0, 1.0], (plan.frames, 1)))
    frames = [frame.astype(float) for frame in islice(film_person(plan), macro.offset + 2)]
    changes = [np.abs(frame - frames[macro.onset]).mean() for frame in (frames[macro.apex], frames[macro.offset + 1])]
    assert changes[0] > 1.1 * changes[1]


def test_people_are_those_whom_no_default_was_chosen_on():
    assert LongPeopleSettings().first_person >= CHOOSING + 100_000


@pytest.mark.parametrize("kind", ["micro", "macro"])
def test_dataset_lists_what_its_videos_show(tmp_path, kind):
    settings = replace(SHORT, root=str(tmp_path), kind=kind)
    videos, problems = list_long_videos("talkers", settings)
    assert not problems and [video.subject for video in videos] == ["talkers/p01", "talkers/p02"]
    plan = plan_person(SHORT.first_person + 1, SHORT)
    shown = [(each.onset, each.apex, each.offset, each.label, each.kind) for each in plan.expressions]
    assert [(i.onset, i.apex, i.offset, i.label, i.kind) for i in videos[1].intervals] == shown
    clips = [clip for clip in index_dataset("talkers", settings).clips if clip.subject == "talkers/p02"]
    assert [(clip.onset, clip.apex, clip.offset, clip.label, clip.kind) for clip in clips] == [
        each for each in shown if each[-1] == kind
    ]
    assert {clip.frames for clip in clips} == {videos[1].frames}
    assert dataset_settings(asdict(settings)) == settings


def test_video_is_compressed_and_whole(tmp_path):
    settings = replace(SHORT, root=str(tmp_path))
    write_person("p02", settings, tmp_path / "p02.mp4")
    frames = list(grey_frames(settings.video("p02")))
    assert len(frames) == 150 and frames[0][1].shape == (240, 240)
    assert (tmp_path / "p02.mp4").stat().st_size < 0.2 * 150 * 240 * 240


def test_video_without_expression():
    videos, _ = list_long_videos("calm", replace(SHORT, micro=0, macro=0))
    assert [video.intervals for video in videos] == [(), ()]


def test_too_many_expressions():
    with pytest.raises(ConfigError, match=re.escape("10 s are too short for 40 expressions")):
        plan_person(0, replace(SHORT, micro=120, macro=120))


def test_incomplete_video(tmp_path):
    with pytest.raises(OSError, match="could not be written completely"):
        compress(iter([np.zeros((64, 64, 3), np.uint8)] * 3), 4, 25, 64, tmp_path / "v.mp4")
