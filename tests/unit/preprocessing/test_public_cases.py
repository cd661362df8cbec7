"""Clips of public reports whose names or annotation other programs misread, from index to key-frames."""

import h5py
import pandas as pd
import pytest
from dataset_trees import dataset_settings, of_few_people
from stage_settings import align_settings, keyframe_settings

from merflow.datasets.index import index_dataset
from merflow.footage.frames import grey_frames
from merflow.preprocessing.faces import align_subject
from merflow.preprocessing.keyframes import select_subject


def test_frames_named_by_twenty_digits_are_aligned(cases_folder, tmp_path):
    folder = cases_folder / "name-of-20-digits"
    (tmp_path / "manifest.csv").write_text(f"clip,subject,label,frames\nc,s1,x,{folder / 'clip'}\n")
    index = of_few_people(index_dataset("p", dataset_settings(layout="manifest", root=str(tmp_path))))
    align_subject(index.clips, tmp_path / "faces.h5", align_settings())
    with h5py.File(tmp_path / "faces.h5") as file:
        (group,) = file.values()
        assert group.attrs["status"] == "ok" and index.problems == []
        assert (group["frame_numbers"][()] % 10**9).tolist() == list(range(0, 40000, 5000))


def test_apex_at_onset_is_spotted_at_greatest_motion(cases_folder, tmp_path):
    root = cases_folder / "apex-is-onset"
    index = of_few_people(index_dataset("p", dataset_settings(layout="manifest", root=str(root), table="manifest.csv")))
    assert [(problem.field, problem.effect) for problem in index.problems] == [("apex", "apex spotted")]
    align_subject(index.clips, tmp_path / "faces.h5", align_settings())
    select_subject(tmp_path / "faces.h5", tmp_path / "keyframes.csv", keyframe_settings())
    rows = pd.read_csv(tmp_path / "keyframes.csv")
    assert set(rows["apex_source"]) == {"spotted"} and set(rows["apex_spotted"]) <= {8, 9}
    assert rows["magnitude_px"].max() > 1


def test_copied_frame_is_never_out_of_order(cases_folder):
    with pytest.raises(Exception, match=r"7 - Copy\.jpg, 7\.jpg"):
        list(grey_frames(str(cases_folder / "frame-order-copy" / "clip")))


def test_people_and_labels_of_subject_spelling_are_noted(cases_folder, tmp_path):
    (tmp_path / "manifest.csv").write_text((cases_folder / "subject-spelling" / "manifest.csv").read_text())
    for name in "abcdef":
        (tmp_path / name).mkdir()
        for number in "12":
            (tmp_path / name / f"{number}.png").write_bytes(b"not looked into")
    index = index_dataset("p", dataset_settings(layout="manifest", root=str(tmp_path), table="manifest.csv"))
    notes = [problem.problem.partition(" differ ")[0] for problem in index.problems if "count as 2" in problem.problem]
    assert notes == ["'p/001' and 'p/1'", "'p/S02' and 'p/s02'", "'happiness' and 'Happiness'"]
