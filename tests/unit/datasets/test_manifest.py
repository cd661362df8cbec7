import cv2
import numpy as np
import pandas as pd
import pytest
from dataset_trees import dataset_settings, of_few_people
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from merflow.datasets.index import index_dataset, write_index
from merflow.errors import InputError
from merflow.footage.frames import FrameList
from merflow.storage.tables import CLIPS, read_table

HEADER = "clip,subject,label,frames,onset,apex,offset,fps\n"


def people(root, text, **changes):
    (root / "manifest.csv").write_text(text)
    return of_few_people(index_dataset("people", dataset_settings(layout="manifest", root=str(root), **changes)))


@pytest.fixture
def root(tmp_path):
    """Two folders of frames 1..5 and a video."""
    for name in ("a", "b with spaces"):
        (tmp_path / name).mkdir()
        for n in range(1, 6):
            cv2.imwrite(str(tmp_path / name / f"img{n}.png"), np.full((8, 8), n, np.uint8))
    (tmp_path / "v.mp4").write_bytes(b"not looked into by the index")
    return tmp_path


def test_good_manifest_gives_every_clip_as_written(root):
    index = people(
        root, HEADER + "c1,s1,happiness,a,1,3,5,200\nc2,s2,surprise,b with spaces,,,,\nc3,s2,,v.mp4,0,,9,30\n"
    )
    (note,) = index.problems
    assert "1 of 3 clips without a label: c3; not used in training or tests" in note.problem and note.effect == "noted"
    assert index.classes == ["happiness", "surprise"]
    first, second, third = index.clips
    assert (first.subject, first.onset, first.apex, first.offset, first.fps) == ("people/s1", 1, 3, 5, 200.0)
    assert (second.onset, second.apex, second.offset, second.fps) == (None, None, None, None)
    assert third.label == "" and third.problem == "", "a clip without a label is processed"


@pytest.mark.parametrize(
    ("row", "field", "message"),
    [
        ("c1,s1,happiness,a,4,3,5,", "onset", "onset 4 comes after apex 3"),
        ("c1,s1,happiness,a,1,5,3,", "apex", "apex 5 comes after offset 3"),
        ("c1,s1,happiness,a,5,,3,", "onset", "onset 5 comes after offset 3"),
        ("c1,s1,happiness,a,1,3,9,", "offset", "frame 9 does not exist"),
        ("c1,s1,happiness,a,1,/,5,", "apex", "'/' is not a frame number"),
        ("c1,s1,happiness,gone,,,,", "frames", "gone does not exist"),
        ("c1,s1,happiness,a\\b,,,,", "frames", "does not exist; separate folders by /"),
        ("c1,s1,happiness,gone.mp4,,,,", "frames", "gone.mp4 does not exist"),
        ("c1,s1,happiness,x*/*.png,,,,", "frames", "matches no image"),
        ("c1,s1,happiness,empty,,,,", "frames", "empty holds no image"),
        ("c1,s1,happiness,,,,,", "frames", "empty; give a folder"),
        ("c1,,happiness,a,,,,", "subject", "empty; give every clip its subject"),
        (",s1,happiness,a,,,,", "clip", "empty; give every clip a name"),
        ("good,s1,happiness,a,,,,", "clip", "'good' is used in row 2 too"),
        ("c1,s1,happiness,b with spaces,,,,", "frames", "is used for several subjects: s1, s9"),
        ("c1,s1,happiness,a,12345678901234567890123,,,", "onset", "does not exist"),
        ("c1,s1,happiness,same,1,,,", "frames", "names do not differ in one whole number alone: a1.png, b1.png"),
    ],
)
def test_bad_row_is_named_and_good_one_stays(root, row, field, message):
    (root / "empty").mkdir()
    (root / "same").mkdir()
    for name in ("a1.png", "b1.png"):
        (root / "same" / name).write_bytes(b"x")
    text = HEADER + "good,s9,surprise,b with spaces,1,3,5,200\n" + row + "\nfine,s8,surprise,v.mp4,,,,\n"
    index = people(root, text, classes=["happiness", "surprise"])
    bad = "several subjects" in message
    assert [clip.problem == "" for clip in index.clips] == [not bad, False, True], "two owners are equally suspect"
    problem = index.problems[-1]
    assert len(index.problems) == 1 + bad
    assert (problem.row, problem.field) == (3, field) and message in problem.problem
    assert problem.file.endswith("manifest.csv")
    with pytest.raises(InputError, match="row 3"):
        people(root, text, classes=["happiness", "surprise"], on_problem="stop")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clip,subject,frames\na,b,c\n", "column label missing; row 1, its header, has: clip, subject, frames"),
        (HEADER, "has a header and no rows"),
        ("", "is empty"),
        (HEADER + "c1,s1,happiness,gone,,,,\n", "has no clip that can be used"),
    ],
)
def test_table_that_cannot_be_used_is_one_message(root, text, message):
    with pytest.raises(InputError, match=message):
        people(root, text)


def test_manifest_may_be_a_workbook(root):
    table = pd.DataFrame([["c1", "s1", "happiness", "a", 1.0]], columns=["clip", "subject", "label", "frames", "onset"])
    table.to_excel(root / "clips.xlsx", index=False)
    (clip,) = people(root, "", table="clips.xlsx").clips
    assert (clip.clip, clip.onset, clip.problem) == ("c1", 1, "")


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-8-sig"])
def test_text_as_excel_saves_it_is_read(root, encoding):
    (root / "clips.csv").write_bytes((HEADER + "c1,Zoë,„Freude“,a,,,,\n").encode(encoding))
    (clip,) = people(root, "", table="clips.csv").clips
    assert (clip.subject, clip.label) == ("people/Zoë", "„Freude“")


def test_label_outside_classes_is_noted_and_clip_processed(root):
    text = HEADER + "c1,s1,happiness,a,1,3,5,\nc2,s2,joy,b with spaces,1,3,5,\n"
    index = people(root, text, classes=["happiness", "surprise"], on_problem="stop")
    assert [(clip.label, clip.problem) for clip in index.clips] == [("happiness", ""), ("", "")]
    note, empty = index.problems
    assert note.row == 3 and "'joy' is not among the classes happiness, surprise" in note.problem
    assert empty.field == "classes" and "no clip is labelled surprise" in empty.problem


def test_empty_frames_count_inside_the_clip_only(root):
    for n in (1, 2, 5):
        (root / "a" / f"img{n}.png").write_bytes(b"")
    index = people(root, HEADER + "c1,s1,x,a,1,3,4,\nc2,s2,y,b with spaces,,,,\n")
    (problem,) = index.problems
    assert "img1.png is empty (0 bytes), and 1 more" in problem.problem and problem.effect == "noted"


def test_two_people_are_not_in_one_video_at_a_time(root):
    rows = "c1,s1,x,v.mp4,0,,9,\nc2,s2,y,v.mp4,10,,19,\nc3,s3,y,v.mp4,0,4,9,\nc4,s2,x,v.mp4,,,,\n"
    clips = people(root, HEADER + rows).clips
    assert [clip.problem.partition("v.mp4 ")[2] for clip in clips] == [
        "is used for several subjects: s1, s3", "", "is used for several subjects: s1, s3", ""
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fps", "says"),
    [
        ("fast", "'fast' is not a number from 0.001 to 100000 per second;"),
        ('"29,97"', "per second; write a decimal point, no comma;"),
        ("1.000", "'1.000' has a separator: is it 1000 or 1? write 1000 or 1;"),
        ('"1,000"', "'1,000' has a separator: is it 1000 or 1? write 1000 or 1;"),
        *((fps, f"{fps!r} is not a number from") for fps in ("1e999", "inf", "nan", "1e300", "1e-300")),
    ],
)
def test_clip_is_used_without_unreadable_fps(root, fps, says):
    index = people(root, HEADER + f"c1,s1,x,a,1,3,5,{fps}\nc2,s2,x,b with spaces,1,3,5,23.976\n", on_problem="stop")
    (note,) = index.problems
    assert (note.row, note.field, note.effect) == (2, "fps", "noted") and says in note.problem
    assert [(clip.fps, clip.problem) for clip in index.clips] == [(None, ""), (23.976, "")]


def labelled(root, *labels, **changes):
    """The notes on the labels of clips of people s0, s1, ..."""
    for n in range(len(labels)):
        (root / f"{n}.mp4").write_bytes(b"not looked into")
    rows = "".join(f"c{n},s{n},{label},{n}.mp4,,,,\n" for n, label in enumerate(labels))
    (root / "manifest.csv").write_text(HEADER + rows)
    settings = dataset_settings(layout="manifest", root=str(root), on_problem="stop", **changes)
    return [
        (note.row, note.clip, note.field, note.effect, note.problem)
        for note in index_dataset("people", settings).problems
    ]


def test_misspelled_label_is_noted_with_the_class_meant(root):
    (note,) = labelled(root, "surprise", "happiness", "suprise", "surprise", "happiness")
    assert note[:4] == (4, "c2", "label", "noted")
    assert note[4] == (
        "class 'suprise': only people/s2 has usable clips of it, so leave-one-subject-out cannot learn it; "
        "did you mean 'surprise'?"
    )
    notes = labelled(root, "surprise", "happiness", "suprise", classes=["surprise", "happiness"])
    assert "'suprise' is not among the classes surprise, happiness (did you mean 'surprise'?)" in notes[0][4]
    (note,) = labelled(root, "surprise", "happiness", "suprise", "surprise", "happiness", kind="macro")
    assert note[4] == "class 'suprise': only people/s2 has usable clips of it; did you mean 'surprise'?"


@pytest.mark.parametrize("kind", ["micro", "macro"])
def test_class_of_one_person_is_noted_always(root, kind):
    (note,) = labelled(root, "fear", "happiness", "fear", "happiness", "sadness", kind=kind)
    assert note[1] == "c4" and "only people/s4 has usable clips of it" in note[4]
    assert note[4].endswith("so leave-one-subject-out cannot learn it") == (kind == "micro")
    assert [note[1] for note in labelled(root, "fear", "sadness", kind=kind)] == ["c0", "c1"], "two people in all"
    assert labelled(root, "fear", "happiness", "fear", "happiness", kind=kind) == []


def test_long_reason_is_cut_on_the_screen_only(root):
    long = "x/" * 150 + "gone"
    text = HEADER + f"c1,s1,x,{long},,,,\nc2,s2,y,b with spaces,,,,\n"
    (problem,) = people(root, text).problems
    assert problem.problem.endswith(f"{long} does not exist"), "the file has all of it"
    with pytest.raises(InputError) as error:
        people(root, text, on_problem="stop")
    reason = str(error.value).split("left out  ")[1].splitlines()[0]
    assert len(reason) == 200 and reason.endswith("x/gone does not exist") and reason.startswith(str(root)[:40])


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separator_may_be_comma_semicolon_or_tab(root, separator):
    text = (HEADER + "c1,s1,happiness,a,1,3,5,200\n").replace(",", separator)
    assert people(root, text).clips[0].offset == 5


def test_table_elsewhere_names_frames_relative_to_itself(root, tmp_path_factory):
    other = tmp_path_factory.mktemp("elsewhere")
    (root / "manifest.csv").write_text(HEADER + "c1,s1,happiness,a,,,,\n")
    settings = dataset_settings(layout="manifest", root=str(other), table=str(root / "manifest.csv"))
    assert index_dataset("people", settings).clips[0].frames == (root / "a").as_posix()


def test_commas_at_end_of_rows_shift_no_column(root):
    index = people(root, HEADER + "c1,s1,x,a,1,3,5,200,\nc2,s2,y,b with spaces,,,,,,\n")
    assert [clip.clip for clip in index.clips] == ["c1", "c2"] and index.problems == []


def test_text_beyond_named_columns_is_refused(root):
    with pytest.raises(InputError, match="row 3 has '200' beyond the last of 8 named columns"):
        people(root, HEADER + "c1,s1,x,a,1,3,5,200,\nc2,s2,y,b with spaces,1,3,5,,200\n")


def test_odd_entries_are_problems_and_never_crashes(root):
    (root / "a" / "img9.png").symlink_to(root / "nowhere")
    (root / "clip.avi").mkdir()
    for n in (1, 2):
        cv2.imwrite(str(root / "clip.avi" / f"{n}.png"), np.zeros((4, 4), np.uint8))
    rows = ["c1,s1,x,a/*.png,1,,5,", "c2,s2,y,clip.avi,,,,", f"c3,s3,x,{'long' * 300},,,,", "c4,s4,y,gone,1,3,5,200"]
    index = people(root, HEADER + "\n".join(rows) + "\n")
    assert [clip.problem == "" for clip in index.clips] == [True, True, False, False]
    write_index(index, root / "clips.csv", root / "problems.csv")


def test_spreadsheet_habits_are_accepted(root):
    index = people(
        root,
        "\ufeffClip , SUBJECT,label,Frames,onset\n c1 ,s1,happiness, a ,1.0\n\n,,,,\n"
        "c2,s1,surprise,b with spaces,2\nc3,s1,surprise,gone,\n",
    )
    assert [clip.clip for clip in index.clips] == ["c1", "c2", "c3"]
    assert [problem.row for problem in index.problems] == [6], "rows are counted as a spreadsheet counts them"
    assert index.clips[0].onset == 1


def test_single_macro_image_is_still(root):
    index = people(root, HEADER + "c1,s1,happiness,a/img1.png,,,,\nc2,s1,surprise,a,,,,\n", kind="macro")
    assert [clip.kind for clip in index.clips] == ["still", "macro"]


def test_tables_say_what_index_found(root):
    index = people(
        root, HEADER.replace("\n", ",camera\n") + "c1,s1,happiness,a,1,3,5,200,left\nc2,s2,surprise,gone,,,,,right\n"
    )
    write_index(index, root / "clips.csv", root / "problems.csv")
    clips = read_table(root / "clips.csv", CLIPS)
    assert clips["clip"].tolist() == ["c1", "c2"] and clips["source_camera"].tolist() == ["left", "right"]
    assert "1,3,5,200" in (root / "clips.csv").read_text(), "frame numbers stay whole numbers"
    problems = pd.read_csv(root / "problems.csv")
    assert problems[["row", "clip", "field"]].values.tolist() == [[3, "c2", "frames"]]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    numbers=st.lists(st.integers(0, 99999), unique=True, min_size=1, max_size=12),
    padding=st.integers(0, 6),
    junk=st.lists(st.sampled_from([".DS_Store", "Thumbs.db", "._img1.png", "notes.txt", ".hidden.jpg"]), unique=True),
)
def test_frames_are_ordered_despite_padding_and_hidden_files(tmp_path_factory, numbers, padding, junk):
    folder = tmp_path_factory.mktemp("frames")
    for n in numbers:
        (folder / f"006_1_2_img{n:0{padding}d}.jpg").touch()
    for name in junk:
        (folder / name).touch()
    assert list(FrameList(folder).files) == sorted(numbers)
