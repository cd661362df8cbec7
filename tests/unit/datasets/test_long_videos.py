"""Long videos with their expressions of both kinds, and those without any, from trees in the exact layouts."""

import further_trees
import pytest
from dataset_trees import dataset_settings
from further_trees import NAMING, frames

from merflow.datasets.index import index_layout
from merflow.datasets.long_videos import LongVideo, TrueInterval, list_long_videos
from merflow.errors import InputError


def listed(tree, **changes):
    kinds = changes.pop("kinds", ("micro", "macro"))
    videos, problems = list_long_videos("my", dataset_settings(**tree.settings | changes), kinds)
    return {video.video: video for video in videos}, problems


def samm_long(root):
    for video in ("006_1", "006_2", "037_4"):
        frames(root / f"SAMM_longvideos/{video}", range(1, 200), video + "_{:04d}.jpg")
    rows = [
        ["006", "006_1_2", 1, 100, 120, 140, 41, "Micro - 1/2", "12C", None],
        ["006", "006_1_4", 1, 0, 80, 160, 111, "Macro", "12", None],
        [37, "037_4_1", 1, 30, -1, 90, 61, "Micro - 1/2", "4", None],
    ]
    return further_trees.tree("samm-long", root, rows, preamble=9)


def test_samm_long_videos(tmp_path):
    videos, problems = listed(samm_long(tmp_path))
    assert set(videos) == {"006_1", "006_2", "037_4"}
    assert videos["006_1"] == LongVideo(
        "my", "006_1", "my/006", str(tmp_path / "SAMM_longvideos/006_1"), 200.0, 1, 199,
        (TrueInterval(1, 80, 160, "", "macro"), TrueInterval(100, 120, 140, "", "micro")),
    )  # fmt: skip
    assert videos["006_2"].intervals == () and videos["006_2"].subject == "my/006", "without any expression"
    assert videos["037_4"].intervals == (TrueInterval(30, None, 90, "", "micro"),)
    assert any(problem.row == 13 and problem.field == "apex" for problem in problems)


def test_only_some_kinds(tmp_path):
    videos, _ = listed(samm_long(tmp_path), kinds=["micro"])
    assert {each.kind for video in videos.values() for each in video.intervals} == {"micro"} and len(videos) == 3


def test_casme_squared(tmp_path):
    for video in ("s15/15_0401girlcrashing", "s15/15_0502funnyerrors", "s16/16_0101disgustingteeth"):
        frames(tmp_path / "rawpic" / video, range(1, 120), "img{}.jpg")
        frames(tmp_path / "rawvideo" / video, range(1, 2))
    rows = [
        [1, "anger1_1", 10, 15, 20, "4", "negative", "micro-expression", "angry"],
        [1, "anger1_2", 40, 70, 0, "4", "others", "macro-expression", "angry"],
    ]
    tree = further_trees.tree("casme-squared", tmp_path, rows, others=NAMING)
    videos, problems = listed(tree, classes="casme-squared-3")
    assert {name: (video.subject, len(video.intervals)) for name, video in videos.items()} == {
        "s15/15_0401girlcrashing": ("my/s15", 2), "s15/15_0502funnyerrors": ("my/s15", 0),
        "s16/16_0101disgustingteeth": ("my/s16", 0),
    }  # fmt: skip
    assert videos["s15/15_0401girlcrashing"].intervals == (
        TrueInterval(10, 15, 20, "negative", "micro"), TrueInterval(40, 70, 70, "", "macro"),
    )  # fmt: skip
    assert not [problem for problem in problems if problem.field == "classes"]


def casme3(root):
    micro = [["spNO.1", "a", 20, 24, 70, "4", "I", "happy"], ["spNO.14", "J", 30, 33, 45, None, "VII", "anger"]]
    macro = [["spNO.1", "a", 10, 30, 60, "4", "I", "Macro-expression"]]
    further_trees.tree("casme3-a macro", root, macro)
    return further_trees.tree("casme3-a", root, micro)


def test_casme3(tmp_path):
    for video in ("spNO.1/a", "spNO.1/b", "spNO.14/j", "spNO.9/c"):
        frames(tmp_path / "part_A" / video / "color", range(8, 100))
        frames(tmp_path / "part_A" / video / "depth", range(8, 100), "{}.png")
    videos, _ = listed(casme3(tmp_path), classes="casme3a-4")
    assert set(videos) == {"spNO.1/a", "spNO.1/b", "spNO.14/j", "spNO.9/c"}
    assert (videos["spNO.1/a"].first, videos["spNO.1/a"].last, videos["spNO.9/c"].subject) == (8, 99, "my/spNO.9")
    assert videos["spNO.1/a"].intervals == (
        TrueInterval(10, 30, 60, "", "macro"), TrueInterval(20, 24, 70, "positive", "micro"),
    ), "the offset is that of the annotation"  # fmt: skip
    assert videos["spNO.14/j"].intervals[0].label == "negative", "folders in any case"


def test_extracts_are_no_long_videos(tmp_path):
    for video, numbers in {"1/a": range(20, 71), "1/a2": range(80, 91), "14/J": range(30, 46)}.items():
        frames(tmp_path / f"ME_A/spNO.{video}/color", numbers)
    rows = [["spNO.1", "a", 20, 24, 70, "4", "I", "happy"], ["spNO.1", "a", 80, 84, 90, "4", "I", "happy"]]
    with pytest.raises(InputError, match="a2/color is no long video but an extract"):
        listed(further_trees.tree("casme3-a", tmp_path, rows), kinds=["micro"])


def manifest(root, text):
    (root / "intervals.csv").write_text(text)
    frames(root / "one", range(5, 100))
    (root / "two.mp4").write_bytes(b"video")
    return dataset_settings(layout="long-manifest", root=str(root))


def test_table_of_own_videos(tmp_path):
    text = "video,subject,onset,apex,offset,label,kind,fps\none,p,20,25,40,happy,micro,50\none,p,30,,80,,macro,50\n"
    settings = manifest(tmp_path, text + "two.mp4,q,,,,,,\ngone.mp4,q,,,,,,\none,p,90,,200,,micro,50\n")
    videos, problems = list_long_videos("my", settings)
    assert videos == [
        LongVideo("my", "one", "my/p", f"{tmp_path}/one", 50.0, 5, 99,
                  (TrueInterval(20, 25, 40, "happy", "micro"), TrueInterval(30, None, 80, "", "macro"))),
        LongVideo("my", "two.mp4", "my/q", f"{tmp_path}/two.mp4", None, None, None, ()),
    ]  # fmt: skip
    left_out = [(problem.row, problem.clip, problem.field) for problem in problems if problem.effect == "left out"]
    assert left_out == [(6, "one#90", "offset"), (None, "gone.mp4", "video")]


def test_frame_rate_is_the_first_that_a_video_has(tmp_path):
    rows = "one,p,20,40,\none,p,50,60,50\none,p,70,80,25\nother,q,,,\n"
    frames(tmp_path / "other", range(5, 100))
    videos, problems = list_long_videos("my", manifest(tmp_path, "video,subject,onset,offset,fps\n" + rows))
    assert {video.video: video.fps for video in videos} == {"one": 50.0, "other": None}
    noted = [(problem.clip, problem.problem) for problem in problems if problem.field == "fps"]
    assert noted == [("other", "unknown; 200 per second are assumed")]
    index = index_layout("my", dataset_settings(layout="long-manifest", root=str(tmp_path)))
    assert [clip.fps for clip in index.clips] == [50.0, 50.0, 25.0]


@pytest.mark.parametrize(
    "rows, message",
    [
        ("one,,1,5\n", "intervals.csv, row 2: column subject is empty"),
        ("one,p,1,5\none,q,6,9\n", "row 3: one has subject 'q' here and 'p' above"),
        ("gone,p,1,5\n", "dataset my has no long video"),
    ],
)
def test_errors_of_own_videos(tmp_path, rows, message):
    with pytest.raises(InputError, match=message):
        list_long_videos("my", manifest(tmp_path, "video,subject,onset,offset\n" + rows))


def test_layouts_of_clips_have_no_long_videos(tmp_path):
    with pytest.raises(InputError, match="layout samm has no long videos; samm-long, casme-squared, casme3-a"):
        list_long_videos("my", dataset_settings(layout="samm", root=str(tmp_path)))
