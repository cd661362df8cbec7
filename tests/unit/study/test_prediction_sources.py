"""What is predicted: sources from videos, folders and tables, their names and their tokens."""

import os

import cv2
import numpy as np
import pytest
from configurations import plan
from prediction_sources import write_picture
from snakemake.cli import parse_config

from merflow.errors import ConfigError, InputError
from merflow.footage.fingerprints import EMPTY, check_unchanged, record_source
from merflow.study.prediction import Prediction, spotting_settings
from merflow.study.sources import as_typed, list_sources


def test_list_sources_of_video_image_folder_and_mixed_folder(tmp_path):
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "a.mp4").write_bytes(b"x")
    (tmp_path / "all" / "notes.txt").write_text("nothing")
    (tmp_path / "all" / "empty").mkdir()
    for number in range(3):
        write_picture(tmp_path / "all" / "b c" / f"{number}.png")
    assert list(list_sources(str(tmp_path / "all" / "a.mp4"))) == ["a.mp4"]
    (row,) = list_sources(str(tmp_path / "all" / "b c")).values()
    assert row["clip"] == "b c" and row["problem"] == "" and row["onset"] is None
    assert list(list_sources(str(tmp_path / "all"))) == ["a.mp4", "b%20c"]
    write_picture(tmp_path / "all" / "cover.png")
    with pytest.raises(InputError, match=r"holds videos \(such as a\.mp4\) and images \(such as cover\.png\)"):
        list_sources(str(tmp_path / "all"))


def write_stack(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwritemulti(str(path), [np.full((20, 30), 9, np.uint8)] * 4)
    return path


def test_list_sources_takes_each_tiff_file_of_several_pages_as_a_clip(tmp_path):
    (row,) = list_sources(str(write_stack(tmp_path / "one" / "take.tif"))).values()
    assert (row["clip"], row["frames"], row["problem"]) == ("take.tif", str(tmp_path / "one" / "take.tif"), "")
    write_stack(tmp_path / "all" / "a.tif")
    write_stack(tmp_path / "all" / "b.tif")
    (tmp_path / "all" / "c.mp4").write_bytes(b"x")
    for name in ("d.tif", "e.tif"):
        write_stack(tmp_path / "all" / "inside" / name)
    clips = [row["clip"] for row in list_sources(str(tmp_path / "all")).values()]
    assert clips == ["a.tif", "b.tif", "c.mp4", "inside/d.tif", "inside/e.tif"]
    write_picture(tmp_path / "all" / "7.png")
    with pytest.raises(InputError, match=r"TIFF files of several pages \(such as a\.tif\).* images \(such as 7\.png\)"):
        list_sources(str(tmp_path / "all"))


@pytest.mark.parametrize(
    "path",
    [
        "take #2",
        "/data/take #2/a.mp4",
        "006_1_2",
        "001",
        "1e3",
        "0x10",
        "nan",
        "True",
        "a: b",
        "[x]",
        "it's",
        " a",
        "a=b",
    ],
)
def test_clips_of_command_line_are_taken_as_typed(path):
    given = parse_config([f"clips={path}"])["clips"]
    assert given != path or path in ("0x10", "it's", "a=b"), "Snakemake changes it"
    arguments = ["snakemake", "predict", "--config", "folds_per_job=1", f"clips={path}"]
    assert as_typed(given, arguments) == path
    assert as_typed(given, ["snakemake", f"--config=clips={path}"]) == as_typed(given, [f"-Cclips={path}"]) == path
    assert as_typed(given, [f"clips='{path}'"]) == as_typed(given, [f'clips="{path}"']) == path


def test_clips_of_configuration_stay_as_they_are():
    assert as_typed("a.mp4", ["snakemake", "predict", "--configfile", "clips.yaml"]) == "a.mp4"
    assert as_typed(None, ["snakemake", "--config", "clips="]) is None


def test_list_sources_notes_gaps_and_apex(tmp_path):
    rows = ["clip,frames,onset,apex,offset", "a,frames,1,1,7", "b,gaps,,,", "c,frames,1,3,7", ""]
    for number in (1, 2, 5):
        write_picture(tmp_path / "gaps" / f"{number}.png")
    a, b, c = list_sources(table(tmp_path, "\n".join(rows))).values()
    assert "apex 1 is the onset" in a["notes"] and a["apex"] is None and a["problem"] == ""
    assert "frame 3, 4 missing between 1 and 5" in b["notes"] and c["notes"] == ""


def test_list_sources_refuses_uncertain_order(tmp_path):
    for name in ("1", "2", "2 - Copy"):
        write_picture(tmp_path / "clip" / f"{name}.png")
    with pytest.raises(InputError, match=r"order of the images is not certain.*2 - Copy\.png, 2\.png"):
        list_sources(str(tmp_path / "clip"))


def table(folder, text):
    for number in range(10):
        write_picture(folder / "frames" / f"{number}.png")
    (folder / "clips.csv").write_text(text)
    return str(folder / "clips.csv")


def test_list_sources_of_table_without_labels(tmp_path):
    rows = ["clip,frames,onset,apex,offset,fps,label", "a,frames,1,3,7,100,joy", "b,frames,,,,,", "c,none,,,,,", ""]
    a, b, c = list_sources(table(tmp_path, "\n".join(rows))).values()
    assert (a["onset"], a["apex"], a["offset"], a["fps"], a["label"]) == (1, 3, 7, 100.0, "joy")
    assert (b["onset"], b["fps"], b["label"], b["problem"]) == (None, None, "", "")
    assert "does not exist" in c["problem"]


def test_list_sources_needs_readable_fps(tmp_path):
    rows = ["frames,fps", "frames,100", "frames,25.000", "frames,fast", ""]
    problems = [row["problem"] for row in list_sources(table(tmp_path, "\n".join(rows))).values()]
    assert (
        problems[0] == "" and "is it 25000 or 25? write 25000 or 25" in problems[1] and "'fast' is not" in problems[2]
    )


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("missing.mp4", "does not exist"),
        ("missing.heic", "is not a video by its name"),
        ("*.mp4", r"is a pattern, and patterns are not expanded; give the folder of the videos, or a table \(\.csv\)"),
        ("take[1-3].mp4", "patterns are not expanded"),
        ("empty", "holds no video"),
        ("one.png", "is one picture"),
        ("notes.txt", "is not a video by its name"),
        ("zero.mp4", "is empty"),
        ("nothing.csv", "expected the columns frames"),
        ("typo.csv", "did you mean 'onset'"),
        ("gone.csv", "nothing in"),
    ],
)
def test_list_sources_names_unusable_input(tmp_path, name, says):
    (tmp_path / "empty").mkdir()
    write_picture(tmp_path / "one.png")
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "zero.mp4").write_bytes(b"")
    (tmp_path / "nothing.csv").write_text("clip,video\na,b\n")
    (tmp_path / "typo.csv").write_text("frames,onst\na,1\n")
    (tmp_path / "gone.csv").write_text("frames\nnowhere\n")
    with pytest.raises(InputError, match=says) as error:
        list_sources(str(tmp_path / name))
    assert name in str(error.value)


def locked(monkeypatch, *places):
    """Make folders unreadable for the test, which may run as root, who can read everything."""

    def guard(owner, name):
        real = getattr(owner, name)

        def refuse(path=".", *rest, **more):
            if any(str(path) == str(place) or str(path).startswith(f"{place}/") for place in places):
                raise PermissionError(13, "Permission denied", str(path))
            return real(path, *rest, **more)

        monkeypatch.setattr(owner, name, refuse)

    guard(os, "scandir")
    guard(os, "listdir")
    real = os.stat

    def stat(path, *rest, **more):
        if any(str(path).startswith(f"{place}/") for place in places):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *rest, **more)

    monkeypatch.setattr(os, "stat", stat)


@pytest.mark.parametrize("name", ["room", "room/a.mp4", "room/clips.csv", "room/frames"])
def test_list_sources_names_unreadable_input(tmp_path, monkeypatch, name):
    write_picture(tmp_path / "room" / "frames" / "1.png")
    (tmp_path / "room" / "a.mp4").write_bytes(b"x")
    (tmp_path / "room" / "clips.csv").write_text("frames\na.mp4\n")
    locked(monkeypatch, tmp_path / "room")
    with pytest.raises(InputError, match=f"clips: \\S*{name} cannot be read \\(Permission denied\\)"):
        list_sources(str(tmp_path / name))


@pytest.mark.parametrize("name", ["a" * 300 + ".mp4", "a" * 5000, "no\0body.mp4", "~nobody-of-this-name/a.mp4"])
def test_list_sources_names_impossible_path(name):
    with pytest.raises(InputError, match="clips: "):
        Prediction(study(clips=name))


def test_list_sources_skips_unreadable_folder(tmp_path, monkeypatch):
    for name in ("good", "room"):
        write_picture(tmp_path / "all" / name / "1.png")
        write_picture(tmp_path / "all" / name / "2.png")
    locked(monkeypatch, tmp_path / "all" / "room")
    prediction = Prediction(study(clips=str(tmp_path / "all"), results=str(tmp_path / "results")))
    assert prediction.sources["good"]["problem"] == ""
    assert "room cannot be read: Permission denied" in prediction.sources["room"]["problem"]
    assert prediction.source_token("good") != prediction.source_token("room") == EMPTY and prediction.searches is False
    with check_unchanged(prediction.sources.values(), "clips"):
        pass


def test_list_sources_of_table_with_invalid_rows(tmp_path):
    rows = ["clip,frames", "a,frames", f"b,{'b' * 300}.mp4", f"c,{'c' * 300}", "d,no\0body", "e,no\0body.mp4", ""]
    sources = list_sources(table(tmp_path, "\n".join(rows)))
    assert [name for name, row in sources.items() if not row["problem"]] == ["a"] and len(sources) == 5


def test_list_sources_without_input():
    with pytest.raises(InputError, match=r"--config clips=/path/to/video\.mp4"):
        list_sources(None)


def study(**changes):
    return plan(changes).training


def test_learned_spotter_of_the_study_searches_long_videos(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"x")
    for number in range(3):
        write_picture(tmp_path / "short" / f"{number}.png")
    spot = {"task": "spotting", "videos": "talkers"}
    experiments = {"a": spot | {"system": "search"}, "b": spot | {"system": "learned"}}
    experiments["net"] = {"system": "ststnet", "micro": "talkers"}
    long = {"datasets": {"talkers": {"layout": "long-demo"}}, "experiments": experiments}

    def spotter(clips="a.mp4", **predict):
        prediction = Prediction(study(clips=str(tmp_path / clips), predict=predict, **long))
        return prediction.spotter_file, prediction.page_settings().spotter

    assert spotter() == (["results/demo/spotting/b/spotter.safetensors"], "b")
    assert spotter(spotter="a") == (["results/demo/spotting/a/spotter.safetensors"], "a")
    assert spotter(spotter="none") == spotter("short") == ([], ""), "nothing is searched by a fitted system"
    del experiments["b"]
    assert spotter() == ([], "")
    with pytest.raises(ConfigError, match="predict.spotter: no experiment 'net' that spots .*; there are: a, none"):
        spotter(spotter="net")


def test_prediction_answers_by_experiments_with_networks(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"x")
    clips = str(tmp_path / "a.mp4")
    prediction = Prediction(study(clips=clips))
    assert prediction.answering == ["tsdgcn", "msjfn", "mersiamc3d"] and prediction.preparations == ["default"]
    assert prediction.name == "a.mp4" and prediction.folder == "results/demo/predict/a.mp4" and prediction.searches
    assert Prediction(study(clips=clips, predict={"experiments": ["msjfn"]})).answering == ["msjfn"]
    for name in ("majority", "nobody"):
        with pytest.raises(ConfigError, match=f"{name} trains no network.*tsdgcn, msjfn, mersiamc3d"):
            Prediction(study(clips=clips, predict={"experiments": [name]}))


@pytest.mark.parametrize(("second", "detector"), [("hog", "hog"), ("cnn", "auto")])
def test_search_uses_detector_of_preparations(second, detector):
    """Two preparations share the search; if their detectors differ, it uses both."""
    blocks = {name: {"align": {"detector": value}} for name, value in (("default", "hog"), ("two", second))}
    assert spotting_settings(plan({"preparations": blocks}).config).detector == detector


def test_prediction_folders_of_equal_names_differ(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.mp4").write_bytes(b"x")
    results = str(tmp_path / "results")
    first = Prediction(study(clips=str(tmp_path / "one" / "a.mp4"), results=results))
    earlier_answers = tmp_path / "results/demo/predict/a.mp4/answers.json"
    earlier_answers.parent.mkdir(parents=True)
    earlier_answers.write_text(f'{{"input": "{first.path}"}}')
    second = Prediction(study(clips=str(tmp_path / "two" / "a.mp4"), results=results))
    assert second.name.startswith("a.mp4-") and second.name != first.name
    assert Prediction(study(clips=str(tmp_path / "one" / "a.mp4"), results=results)).name == "a.mp4"


def test_prediction_folder_of_name_that_is_not_utf8(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/m\xe9.mp4")
    with open(path, "wb") as file:
        file.write(b"x")
    prediction = Prediction(study(clips=path, results=str(tmp_path / "results")))
    assert prediction.name == "m%E9.mp4" and prediction.path == path and prediction.source_token("m%5Cudce9.mp4")
    earlier_answers = tmp_path / "results/demo/predict/m%E9.mp4/answers.json"
    earlier_answers.parent.mkdir(parents=True)
    earlier_answers.write_text('{"input": "another"}')
    assert Prediction(study(clips=path, results=str(tmp_path / "results"))).name.startswith("m%E9.mp4-")


def test_source_token_follows_content_not_time(tmp_path):
    file = tmp_path / "a.mp4"
    file.write_bytes(b"one")
    options = {"clips": str(file), "results": str(tmp_path / "results")}
    prediction = Prediction(study(**options))
    token = prediction.source_token("a.mp4")
    record_source(
        [prediction.sources["a.mp4"]], token, tmp_path / "results/demo/predict/a.mp4/sources/a.mp4/source.json"
    )
    file.touch()
    assert Prediction(study(**options)).source_token("a.mp4") == token
    file.write_bytes(b"two")
    assert Prediction(study(**options)).source_token("a.mp4") != token
