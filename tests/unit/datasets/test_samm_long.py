"""SAMM's long videos: preamble above the header, fractions and zeros for frames, emotions from SAMM's own workbook."""

import dataset_trees
import further_trees
import pytest
from dataset_files import Take
from dataset_trees import by_name, reported, usable
from further_trees import frames

from merflow.study.config_data import DatasetBlock

ROWS = [
    ["006", "006_1_2", 1, 100, 120, 140, 41, "Micro - 1/2", "7A/B+L10A/B)+ref(11)+12C", None],
    ["006", "006_1_3", 1, 0, -1, 60, 61, "Micro - 1/2", "4", None],
    ["006", "006_1_4", 1, 50.0, 80.6, 160.4, 111, "Macro", "12", None],
    [37, "037_4_1", 1, 30, 40, 90, 61, "Micro - 1/2", "4", None],
    [37, "037_4_1", 1, 120, 150, 180, 61, "Macro", "4", None],
]


def long_videos(root, rows=ROWS, emotions=True, **changes):
    for video in ("006_1", "037_4"):
        frames(root / f"SAMM_longvideos/{video}", range(1, 200), video + "_{:04d}.jpg")
    if emotions:
        takes = [
            Take(6, "006_1_2", "anger", 5562, 5564, 5567),
            Take(6, "006_1_3", "other"),
            Take(37, "037_4_1", "fear"),
        ]
        dataset_trees.samm(root, takes, frames="SAMM")
    return further_trees.tree("samm-long", root, rows, preamble=9, **changes)


@pytest.mark.parametrize("table", [f"SAMM_LongVideos_V{n}_Release.xlsx" for n in (1, 2, 3)])
def test_micro_expressions_have_emotions_of_samm(tmp_path, table):
    index = long_videos(tmp_path, table=table).index()
    assert usable(index) == {"006_1_2", "006_1_3", "037_4_1"}
    clips = by_name(index)
    assert {name: clip.label for name, clip in clips.items()} == {
        "006_1_2": "anger",
        "006_1_3": "other",
        "037_4_1": "fear",
    }
    clip = clips["006_1_2"]
    assert (clip.onset, clip.apex, clip.offset, clip.fps) == (100, 120, 140, 200.0), "not the numbers of SAMM"
    assert clip.frames == str(tmp_path / "SAMM_longvideos/006_1") and clip.subject == "my-samm-long/006"
    assert [row["action_units"] for row in index.source] == ["7A/B+12C", "4", "4"]
    assert (clips["006_1_3"].onset, clips["006_1_3"].apex) == (1, None)
    notes = {(p.row, p.field): p.effect for p in index.problems}
    assert notes == {(11, "action_units"): "noted", (12, "onset"): "noted", (12, "apex"): "apex spotted"}


def test_macro_expressions_have_fractions_rounded_with_a_note(tmp_path):
    index = long_videos(tmp_path).index(kind="macro")
    clip = by_name(index)["006_1_4"]
    assert (clip.onset, clip.apex, clip.offset, clip.kind, clip.label) == (50, 81, 160, "macro", "")
    assert by_name(index)["037_4_1"].onset == 120
    assert [(p.row, p.field) for p in index.problems] == [(13, "apex"), (13, "offset")]
    assert "160.4" in index.problems[1].problem and "160" in index.problems[1].problem


def test_without_samms_workbook_emotions_are_empty_and_one_note_says_so(tmp_path):
    index = long_videos(tmp_path, emotions=False).index()
    assert {clip.label for clip in index.clips} == {""} and len(usable(index)) == 3
    (note,) = reported(index, field="label")
    assert note.effect == "noted" and "SAMM_Micro_FACS_Codes_v2.xlsx" in note.problem


def test_three_classes_of_the_composite(tmp_path):
    index = long_videos(tmp_path).index(classes="samm-long-3")
    assert [clip.label for clip in index.clips] == ["negative", "", "negative"]
    assert {count.label: count.expected for count in index.counts} == {"negative": 92, "positive": 26, "surprise": 15}


def test_folder_of_another_subject_is_a_problem(tmp_path):
    index = long_videos(tmp_path, [*ROWS, [7, "006_1_5", 1, 20, 30, 90, 61, "Micro - 1/2", "4", None]]).index()
    assert [p.field for p in reported(index, row=16, effect="left out")] == ["subject", "frames"] or reported(
        index, row=16, field="subject", effect="left out"
    )
    assert DatasetBlock(layout="samm-long", root="x").layout == "samm-long"
