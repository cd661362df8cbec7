"""The files that `merflow init` writes are a study as it is, or after the table is filled in."""

import csv

import pytest
import yaml
from click.testing import CliRunner
from repository import REPO
from videos import waves, write_video

from merflow.command.app import main
from merflow.datasets.registry import LAYOUTS
from merflow.study.load import load_config


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def init(*arguments):
    done = CliRunner().invoke(main, ["init", *map(str, arguments)])
    return done.exit_code, done.output


def rows(folder):
    with (folder / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_configuration_is_accepted_and_names_the_table(folder):
    assert init("mine")[0] == 0
    config = load_config(REPO / "config.yaml", yaml.safe_load((folder / "mine.yaml").read_text()))
    assert config.study == "mine" and list(config.experiments) == ["ststnet"]
    assert (folder / config.datasets["people"].root / config.datasets["people"].table) == folder / "manifest.csv"
    assert list(rows(folder)[0]) == ["clip", "subject", "label", "frames", "onset", "apex", "offset", "fps"]


MICRO = [name for name, layout in LAYOUTS.items() if layout.kind == "micro" and not layout.synthetic]


@pytest.mark.parametrize("layout", MICRO)
def test_configuration_of_each_layout_is_accepted(folder, layout):
    data = folder / "data"
    data.mkdir()
    (data / (LAYOUTS[layout].table or "codes.xlsx")).touch()
    assert init("study", "--layout", layout, "--root", "data")[0] == 0
    text = (folder / "study.yaml").read_text().replace("    # classes:", "    classes:")
    config = load_config(REPO / "config.yaml", yaml.safe_load(text))
    assert config.datasets[layout].root == "data"


def test_table_lists_videos_and_folders_of_images(folder):
    clips = folder / "clips"
    (clips / "s1" / "smile").mkdir(parents=True)
    (clips / "s1" / "smile" / "001.png").touch()
    (clips / "s2").mkdir()
    write_video(clips / "s2" / "frown.avi", waves(3))
    write_video(clips / "alone.avi", waves(3))
    (clips / ".hidden.avi").touch()
    (folder / "results").mkdir()
    (folder / "results" / "page.mp4").touch()
    assert init("mine", "--root", ".")[0] == 0
    found = {(row["clip"], row["subject"], row["frames"]) for row in rows(folder)}
    assert found == {
        ("clips_s1_smile", "clips", "clips/s1/smile"),
        ("clips_s2_frown", "clips", "clips/s2/frown.avi"),
        ("clips_alone", "clips", "clips/alone.avi"),
    }
    (folder / "manifest.csv").unlink()
    assert init("other", "--root", "clips")[0] == 0
    assert {(row["clip"], row["subject"]) for row in rows(folder)} == {
        ("s1_smile", "s1"),
        ("s2_frown", "s2"),
        ("alone", ""),
    }
    assert all((folder / row["frames"]).exists() and row["label"] == "" for row in rows(folder))


@pytest.mark.parametrize("name", ["mine.yaml", "manifest.csv"])
def test_overwrites_nothing(folder, name):
    (folder / name).write_text("mine")
    code, output = init("mine")
    assert code == 1 and f"{name} exists" in output
    assert [file.name for file in folder.iterdir()] == [name] and (folder / name).read_text() == "mine"


@pytest.mark.parametrize("arguments", [["a/b"], ["mine", "--layout", "ck-plus"], ["mine", "--layout", "sam"]])
def test_refuses_names_and_layouts(folder, arguments):
    code, output = init(*arguments)
    assert code == 2 and not list(folder.iterdir()) and "Traceback" not in output


def test_names_a_folder_that_does_not_exist(folder):
    code, output = init("mine", "--root", "gone")
    assert code == 1 and "gone" in output and not list(folder.iterdir())
