"""The page of a prediction: films, heat pictures, and coverage at the threshold."""

import json
import os
import re
from array import array
from dataclasses import asdict

import h5py
import numpy as np
import pandas as pd
from prediction_sources import source_clip
from stage_settings import spotting_settings

from merflow.footage.video import FrameRate
from merflow.inference import page as prediction_page
from merflow.inference import search
from merflow.inference.candidates import shown_candidates
from merflow.inference.motion_track import MICRO, FacePosition, MotionCurve, MotionTrack
from merflow.inference.page import _films, coverage_at_threshold, heat_picture, points, write_prediction
from merflow.inference.results import PredictionResults, PreparedClip, SourceResult
from merflow.inference.settings import AnsweringExperiment, PageSettings
from merflow.inference.spotting import SpottingResult
from merflow.preprocessing.faces import Face
from merflow.storage.tables import COVERAGE, INTERVALS, write_table

CLASSES = ["happiness", "surprise", "disgust"]


def test_heat_picture_is_blue_for_drops_orange_for_gains():
    grid = np.zeros((8, 8))
    grid[1, 1], grid[6, 6] = 0.4, -0.4
    heated = heat_picture(np.full((64, 64), 128, np.uint8), grid).astype(int)
    at = heated[12, 12], heated[52, 52], heated[12, 52]
    assert at[0][2] > at[0][0] + 40 and at[1][0] > at[1][2] + 40 and (at[2] == 128).all()


def test_points_of_a_drop():
    assert [points(fall) for fall in (0.83, -0.17, 0.001, -0.001)] == ["-83", "+17", "0", "0"]


def page_settings(**changes):
    empty = {"preparations": [], "experiments": {}, "synthetic": [], "sources": {}}
    return PageSettings(
        **{"name": "clips", "input": "clips", "study": "s", "uncertain_below": 0.5}
        | {"max_unsearched_seconds": 1.0, "spotter": "", "region_networks": 1}
        | empty
        | changes
    )


def write_page(folder, rows, input_path="clips", notes=None, spotter=""):
    """Write the page of sources without candidates, or that could not be searched; return its folder."""
    folder.mkdir()
    files = {name: [] for name in ("faces", "keyframes", "flow", "quality", "tables", "regions")}
    write_table([], folder / "coverage.csv", COVERAGE)
    files |= {"search_results": [], "intervals": [], "coverage": folder / "coverage.csv"}
    for number, row in enumerate(rows):
        results, intervals = write_motionless_source(folder / str(number), row, notes[number] if notes else "")
        files["search_results"].append(results)
        files["intervals"].append(intervals)
    settings = page_settings(input=input_path, sources={row.clip: asdict(row) for row in rows}, spotter=spotter)
    write_prediction(settings, files, folder / "out")
    return folder / "out"


def write_motionless_source(folder, row, notes=""):
    """``search.h5`` and ``intervals.csv`` of two seconds in which nothing happens."""
    folder.mkdir()
    chance = np.random.default_rng(0)
    face = Face((20, 20, 40, 40), 1.0, np.array([[55, 30], [47, 30], [25, 30], [33, 30], [40, 45.0]]))
    curve = MotionCurve(0.2, 1, list(range(50)), list(chance.random(50)), [0.0] * 50)
    track = MotionTrack(25, 50, 0, 49, 80, 80, {MICRO: curve})
    timeline = search.Timeline(array("q", range(50)), array("d", [number / 25 for number in range(50)]))
    track.positions = [FacePosition(0, np.eye(2, 3), face)]
    track.thumbnails = [(number, chance.integers(0, 255, (80, 80), np.uint8)) for number in range(0, 48, 4)]
    with h5py.File(folder / "search.h5", "w") as file:
        file.attrs.update(clip=row.clip, status=row.problem or "ok", fps=25.0, fps_from="from the video", notes=notes)
        search.write_track(file, SpottingResult(track, [], []), FrameRate(25, 25), spotting_settings(), timeline)
    write_table([], folder / "intervals.csv", INTERVALS)
    return folder / "search.h5", folder / "intervals.csv"


def test_answers_json_of_input_that_is_not_utf8(tmp_path):
    for name in (b"/m\xe9.mp4", "/mé.mp4".encode()):
        path = os.fsdecode(os.fsencode(tmp_path) + name)
        out = write_page(tmp_path / str(len(name)), [source_clip(path)], path)
        assert json.loads((out / "answers.json").read_text(encoding="utf-8"))["input"] == path
    assert "mé.mp4" in (out / "answers.json").read_text(encoding="utf-8")


def test_page_of_many_clips_limits_films(tmp_path, monkeypatch):
    rows = [source_clip(tmp_path / name, clip=name) for name in "abcd"]
    page = (write_page(tmp_path / "few", rows) / "index.html").read_text()
    assert page.count('aria-label="Video strip"') == page.count("Motion there and back over 2.0 s, ") / 2 == 4
    assert "clips are shown" not in page
    monkeypatch.setattr("merflow.inference.page.MAX_SHOWN", 3)
    page = (write_page(tmp_path / "many", rows) / "index.html").read_text()
    assert page.count('aria-label="Video strip"') == 3 and "Video strip and motion of 3 of 4 clips are shown" in page
    assert 'id="source-3"' in page, "what is known of a clip stays"


def test_page_of_a_fitted_spotter_names_no_rule_of_the_search(tmp_path):
    rows = [source_clip(tmp_path / "a", clip="a")]
    for spotter, shown in (("", True), ("learned", False)):
        page = (write_page(tmp_path / f"page{spotter}", rows, spotter=spotter) / "index.html").read_text()
        for text in ("blinks, which are rejected", "dashed: threshold", "2.0 s, threshold "):
            assert (text in page) == shown, text


def test_notes_of_a_source_are_on_the_page_and_in_the_answers(tmp_path):
    rows = [source_clip(tmp_path / name, clip=name) for name in "ab"]
    out = write_page(tmp_path / "page", rows, notes=["the frame rate varies from 10 to 50 per second", ""])
    page = (out / "index.html").read_text()
    assert page.count("About the file:") == 1 and "the frame rate varies from 10 to 50 per second" in page
    answers = pd.read_csv(out / "answers.csv", keep_default_na=False)
    assert list(answers["notes"]) == ["the frame rate varies from 10 to 50 per second", ""]


def test_notes_of_a_candidate_are_in_the_answers():
    """Those of the file, and those of its face, once each; a candidate that failed has its reason."""
    track = {"status": "ok", "fps": 25, "notes": "interlaced", "frame_numbers": [0, 9], "frame_seconds": [0, 0.4]}
    candidate = {"onset": 0, "offset": 9, "found": "whole", "fps": 25}
    source = SourceResult(0, "s", "", "", track, [candidate | {"clip": name} for name in "ab"])
    quality = {"default": {"a": ("", "2 faces; interlaced"), "b": ("no face found", "")}}
    tables = {"mine": pd.DataFrame([{"experiment": "mine", "answer": "joy"}], index=["a"])}
    results = PredictionResults([source], {}, tables, quality)
    experiments = {"mine": AnsweringExperiment("tsdgcn", "default", CLASSES, ["m"], "loso")}
    answered, failed = results.rows(page_settings(experiments=experiments))
    assert (answered["status"], answered["notes"]) == ("ok", "interlaced; 2 faces")
    assert (failed["status"], failed["reason"], failed["notes"]) == ("failed", "no face found", "interlaced")


def test_films_of_shown_candidates_come_first(tmp_path, monkeypatch):
    sources = []
    for number, candidates in enumerate(([], ["a"], ["b"], [])):
        results, _ = write_motionless_source(tmp_path / str(number), source_clip(tmp_path, clip="s"))
        track = {"begin": 0.0, "seconds": 2.0, "threshold": 0.3, "width": 80}
        track |= {"frame_numbers": np.arange(50), "frame_seconds": np.arange(50) / 25}
        rows = [{"clip": name, "onset": 3, "offset": 9} for name in candidates]
        sources.append(SourceResult(number, "s", "", str(results), track, rows))
    assert list(_films(sources, {"b"})) == [2, 0, 3]
    monkeypatch.setattr("merflow.inference.page.MAX_SHOWN", 1)
    assert list(_films(sources, {"b"})) == [2]


def test_page_of_searched_video_is_its_timeline_then_a_row_per_candidate(tmp_path, monkeypatch):
    """Experiments are side by side, and the strongest candidate is first."""
    results, _ = write_motionless_source(tmp_path / "0", source_clip(tmp_path, clip="talk"))
    with h5py.File(results) as file:
        track = dict(file.attrs) | {name: file[name][:] for name in ("frame_numbers", "frame_seconds")}
    base = {"found": "searched", "fps": 25, "apex": ""}
    candidates = [
        base | {"clip": f"talk@{onset}", "onset": onset, "offset": onset + 8, "strength": strength}
        for onset, strength in ((2, 0.5), (15, 2.5), (30, 1.5), (40, 0.1))
    ]
    source = SourceResult(0, "talk", "", str(results), track, candidates)
    *clips, without_face = [row["clip"] for row in candidates]
    answer = {"answer": "disgust", "p_top": 0.7, "members_agree": 0.9, "flags": "", "top": "disgust"}
    tables = {name: pd.DataFrame([answer | {"experiment": name}] * 3, index=clips) for name in ("one", "two")}
    tables["two"] = tables["two"].drop(index=clips[2])
    prepared = {("default", clip): PreparedClip("", "", pd.DataFrame(), 20) for clip in clips}
    found = PredictionResults([source], prepared, tables, {"default": {without_face: ("no face found", "")}})
    experiments = {name: AnsweringExperiment("msjfn", "default", CLASSES, ["m"], "loso") for name in tables}
    settings = page_settings(experiments=experiments)
    write_table([], tmp_path / "coverage.csv", COVERAGE)
    shown = {"clip": "", "row": {"status": "failed", "reason": "not drawn here"}}
    monkeypatch.setattr(prediction_page, "_candidate", lambda *_: shown)
    files = {"regions": ["", ""], "coverage": [tmp_path / "coverage.csv"]}
    page = prediction_page._page(settings, files, found, list(found.rows(settings)))
    assert page.index('id="timeline-0"') < page.index('id="answers"') < page.index('id="source-0"')
    assert page.count("Motion there and back over 2.0 s, ") / 2 == 1, "the curve is there once"
    table = page[page.index('id="answers"') : page.index("</table>")]
    numbers = re.findall(r'<th scope="row"><a href="#clip-0-\d">(\d)</a>', table)
    assert numbers == ["2", "3", "1"], "one row for each, by strength"
    assert table.count("<b>disgust</b>") == 5 and table.count(">failed") == 1
    assert page.count("no face found") == 1, "not once for each experiment"


def test_shown_candidates_are_the_strongest_and_those_not_searched():
    rows = [{"clip": str(n), "found": "searched", "strength": n} for n in range(50)]
    rows.append({"clip": "given", "found": "given", "strength": ""})
    assert shown_candidates(rows) == {"given", *map(str, range(11, 50))}


def test_coverage_at_threshold(tmp_path):
    rows = [
        {"experiment": "a", "threshold": t / 100, "answered": 1 - t / 200, "accuracy": 0.5 + t / 400, "n_clips": 60}
        for t in range(101)
    ]
    write_table(rows, tmp_path / "coverage.csv", list(rows[0]))
    experiments = {name: AnsweringExperiment("msjfn", "default", CLASSES, ["d"], "loso") for name in "ab"}
    settings = page_settings(uncertain_below=0.6, experiments=experiments)
    assert coverage_at_threshold(settings, [tmp_path / "coverage.csv"]) == {
        "a": {"answered": 0.7, "accuracy": 0.65, "clips": 60, "of_all": 0.5}
    }
    between = page_settings(uncertain_below=0.603, experiments=experiments)
    assert coverage_at_threshold(between, [tmp_path / "coverage.csv"])["a"]["answered"] == 0.695, "as the report"
