"""CASME, 4DME and DFME: what the workbooks call their columns, and the trees in which the frames lie."""

import further_trees
import pytest
from dataset_trees import by_name, reported, usable
from further_trees import frames

# --- CASME ------------------------------------------------------------------------------------------------------------

CASME = [
    [1, "EP01_12", None, 73, 81, "\\", 96, None, 150, 400, "AU4", "tense"],
    [1, "EP01_5", None, 73, 81, None, 96, None, 150, 700, "12", "happiness"],
    [14, "EP01_12", None, 8, 12, 14, 22, None, 83, 250, "14", "contempt"],
    [14, "EP03_1", None, 8, 12, None, 22, None, None, None, "14", "puzzled"],
]


def casme(root, top="CASME_raw_selected", prefix="", rows=CASME):
    for subject, clip, _, onset, *_ in rows:
        pattern = f"{prefix}{clip}-{'{:03d}' if subject > 10 else '{}'}.jpg"
        frames(root / top / f"sub{subject:02d}" / clip, range(onset - 3, onset + 30), pattern)
    return further_trees.tree("casme", root, rows)


@pytest.mark.parametrize(
    ("top", "prefix", "align"), [("CASME_raw_selected", "", "detect"), ("Cropped", "reg_", "auto")]
)
def test_casme_has_frames_in_columns_beside_times(tmp_path, top, prefix, align):
    index = casme(tmp_path, top, prefix).index()
    assert usable(index) == {"sub01/EP01_12", "sub01/EP01_5", "sub14/EP01_12", "sub14/EP03_1"}
    clip = by_name(index)["sub01/EP01_12"]
    assert (clip.onset, clip.apex, clip.offset, clip.fps, clip.align) == (73, 81, 96, 60.0, align)
    assert (
        clip.label == "tense" and index.source[0]["action_units"] == "4" and index.source[0]["source_apex_f2"] == "\\"
    )


def test_times_of_casme_are_compared_with_its_frames(tmp_path):
    index = casme(tmp_path).index()
    (note,) = reported(index, row=3)
    assert (note.field, note.effect) == ("offset", "noted")
    assert "700 ms is 42.0 frames" in note.problem and "73..96 has 24" in note.problem


def test_unverified_label_is_noted_and_clip_stays(tmp_path):
    index = casme(tmp_path).index(classes="casme-4")
    (note,) = reported(index, field="label")
    assert (note.row, note.effect) == (5, "noted") and "puzzled" in note.problem
    assert [clip.label for clip in index.clips] == ["tense", "", "", ""]


# --- 4DME -------------------------------------------------------------------------------------------------------------

FOURDME = [
    ["S13", "1st_001_01_1", 20, 25, 40, "AU4+AU12(k)", "Surprise+Positive", 1, 0, 1, 1],
    ["S13", "1st_001_02_1", 220, 225, 240, "12", "Negative", 1, 0, 0, 0],
    ["S14", "1st_001_01_1", 5, 8, 15, None, "Others", 1, 0, 0, 0],
]


@pytest.mark.parametrize("form", ["gray_micro/{}/{}", "gray_micro/{}_{}", "4DME/data/gray_micro/{}/{}"])
def test_4dme_has_units_and_its_own_words_for_emotions(tmp_path, form):
    for person, clip, onset, *_ in FOURDME:
        first = 1 if onset == 220 else onset
        frames(tmp_path / form.format(person, clip), range(first, first + 40), "{:04d}.jpg")
    index = further_trees.tree("4dme", tmp_path, FOURDME).index()
    assert usable(index) == {"S13/1st_001_01_1", "S13/1st_001_02_1", "S14/1st_001_01_1"}
    clip = by_name(index)["S14/1st_001_01_1"]
    assert clip.frames == str(tmp_path / form.format("S14", "1st_001_01_1"))
    assert (clip.onset, clip.apex, clip.offset, clip.subject, clip.label) == (5, 8, 15, "my-4dme/S14", "")
    assert [row["action_units"] for row in index.source] == ["4", "12", ""]
    assert [row["source_emotion"] for row in index.source] == ["Surprise+Positive", "Negative", "Others"]
    (note,) = reported(index, effect="renumbered")
    assert note.row == 3


def test_4dme_takes_a_class_map(tmp_path):
    for person, clip, onset, *_ in FOURDME:
        frames(tmp_path / "gray_micro" / person / clip, range(onset, onset + 40))
    index = further_trees.tree("4dme", tmp_path, FOURDME).index(
        classes={"column": "Emotion", "map": {"Negative": "negative", "surprise+positive": "surprise"}}
    )
    assert [clip.label for clip in index.clips] == ["surprise", "negative", ""] and len(usable(index)) == 3


# --- DFME -------------------------------------------------------------------------------------------------------------

DFME = [
    ["sub0003", "sub0003_01", 0, 30, 60, " Happiness ", "6+12"],
    ["sub0003", "sub0003_02", 5, 30, 61, "Others", "4"],
    ["sub0301", "sub0301_01", 2, 30, 62, "contempt", "14"],
]


def test_dfme_of_the_challenge(tmp_path):
    for _, clip, onset, *_ in DFME:
        frames(tmp_path / "train_data" / clip, range(onset, 70), "{:05d}.png")
    index = further_trees.tree("dfme", tmp_path, DFME).index(classes="dfme-7")
    (note,) = [p for p in index.problems if p.field != "label"]
    assert note.field == "layout" and "not checked on a real copy: the column of the offset" in note.problem
    assert "3 clips of 2 people; emotion: Happiness 1, Others 1, contempt 1; columns: subject," in note.problem
    assert usable(index) == {row[1] for row in DFME}
    clip = by_name(index)["sub0003_01"]
    assert (clip.onset, clip.apex, clip.offset, clip.fps, clip.subject) == (0, 30, 60, None, "my-dfme/sub0003")
    assert [clip.label for clip in index.clips] == ["happiness", "", "contempt"]
    assert [row["action_units"] for row in index.source] == ["6+12", "4", "14"]


@pytest.mark.parametrize("fps", [True, False])
def test_dfme_in_parts(tmp_path, fps):
    parts = ["USTC_MEv4_partA_sub0001_sub0015"] * 2 + ["USTC_MEv4_partD_sub0301_sub0671_200fps"]
    for part, (_, clip, onset, _, _, emotion, _) in zip(parts, DFME, strict=True):
        frames(tmp_path / part / "micro" / emotion.strip() / clip, range(onset, 70), "{:05d}.png")
        frames(tmp_path / part / "micro_static_aligned_croped" / emotion.strip() / clip, range(3))
    header = [*further_trees.HEADERS["dfme"], *(["fps"] if fps else [])]
    rows = [[*row, *([500] if fps else [])] for row in DFME]
    index = further_trees.tree("dfme", tmp_path, rows, header=header).index()
    assert usable(index) == {row[1] for row in DFME} and "/micro/" in by_name(index)["sub0301_01"].frames
    assert [clip.fps for clip in index.clips] == ([500.0] * 3 if fps else [None, None, 200.0])


def test_dfme_without_a_column_of_offsets(tmp_path):
    for _, clip, onset, *_ in DFME:
        frames(tmp_path / "train_data" / clip, range(onset, 70), "{:05d}.png")
    header = [name for name in further_trees.HEADERS["dfme"] if name != "OffsetFrame"]
    index = further_trees.tree("dfme", tmp_path, [[*row[:4], *row[5:]] for row in DFME], header=header).index()
    assert {(clip.offset, clip.problem) for clip in index.clips} == {(None, "")}
