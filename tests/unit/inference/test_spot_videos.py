"""Spotting experiments on tracks whose expressions are known: folds of people, scores, and the page."""

import cv2
import numpy as np
import pandas as pd
import pytest
from dataset_trees import dataset_settings
from further_trees import frames
from stage_settings import spotting_settings
from videos import waves, write_video

from merflow.datasets.long_videos import LongVideo, TrueInterval, list_long_videos
from merflow.evaluation.settings import SpottedExperiment
from merflow.evaluation.spotting_tables import score_experiments
from merflow.inference import spotting_page
from merflow.inference.long_motion import in_frame_numbers, measure_motion, write_long_videos
from merflow.inference.motion_track import FEATURES, MICRO, Candidate, MotionCurve, MotionTrack, save_track
from merflow.inference.settings import SpottingExperiment, SpottingPage
from merflow.inference.spot_videos import spot_videos
from merflow.inference.spotters.registry import load_spotter
from merflow.inference.spotting_page import write_spotting_page
from merflow.storage.tables import read_table

FRAMES, FPS = 400, 50.0
PEOPLE = {"a": [60, 200, 320], "b": [50, 150, 300], "c": [80, 220], "d": []}
"""Apexes of the expressions of each person; the last one shows none."""


def track(apexes, height):
    times, motion, candidates = np.arange(FRAMES), np.full(FRAMES, 0.1), []
    for apex in apexes:
        motion += height * np.clip(1 - abs(times - apex) / 10, 0, 1)
        candidates.append(Candidate(apex - 10, apex, apex + 10, height, False))
    candidates.append(Candidate(370, 378, 386, 0.35, False))  # Of every video, and no expression.
    made = MotionTrack(FPS, FRAMES, 0, FRAMES - 1, 64, 64)
    made.curves[MICRO] = MotionCurve(0.2, 1, times.tolist(), motion.tolist(), [0.0] * FRAMES, candidates)
    made.features = list(np.zeros((FRAMES, len(FEATURES)), np.float32))
    return made


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The videos of a study and their motion; each person's frames are three grey images."""
    folder = tmp_path_factory.mktemp("study")
    videos, tracks = [], {}
    for number, (person, apexes) in enumerate(PEOPLE.items()):
        frames = folder / person
        frames.mkdir()
        for apex in apexes or [0]:
            for frame in (max(0, apex - 10), apex):
                cv2.imwrite(str(frames / f"{frame}.png"), np.full((24, 32), 100 + number, np.uint8))
        truth = tuple(TrueInterval(apex - 10, apex, apex + 10, "", "micro") for apex in apexes)
        videos.append(LongVideo("d", f"{person}/1", f"d/{person}", str(frames), FPS, 0, FRAMES - 1, truth))
        tracks["d", f"{person}/1"] = folder / f"{person}.h5"
        save_track(track(apexes, 0.9), folder / f"{person}.h5")
    write_long_videos(videos, list(tracks.values()), folder / "videos.csv", folder / "truth.csv")
    return folder, tracks


def spot(study, truth="truth.csv", name="search", **changes):
    folder, tracks = study
    settings = {"system": name, "datasets": ["d"], "kinds": ["micro"], "protocol": "loso", "folds": 2, "seed": 0}
    outputs = [folder / f"{name}-{file}" for file in ("candidates.csv", "detections.csv", "spotter.safetensors")]
    spot_videos(
        SpottingExperiment(name, search=spotting_settings(), **settings | changes),
        folder / "videos.csv", folder / truth, tracks, *outputs,
    )  # fmt: skip
    return [read_table(output, ["video", "fold", "score"]) for output in outputs[:2]], outputs[2]


def test_each_person_is_a_fold_and_accepted_candidates_are_the_detections(study):
    (candidates, detections), spotter = spot(study)
    assert set(candidates["video"]) == {f"{person}/1" for person in PEOPLE}
    assert (candidates["fold"] == candidates["subject"]).all()
    accepted = candidates[candidates["accepted"] == 1].drop(columns="accepted").reset_index(drop=True)
    pd.testing.assert_frame_equal(accepted, detections)
    assert load_spotter(spotter, spotting_settings()).name == "search"


def test_labels_of_tested_people_change_nothing_in_their_videos(study):
    folder, _ = study
    truth = read_table(folder / "truth.csv", ["video"])
    truth[truth["video"] != "a/1"].to_csv(folder / "without.csv", index=False)
    both = [spot(study, file)[0][0] for file in ("truth.csv", "without.csv")]
    of_person = [table[table["video"] == "a/1"].reset_index(drop=True) for table in both]
    pd.testing.assert_frame_equal(*of_person)


def test_groups_of_people(study):
    (candidates, _), _ = spot(study, protocol="subject-kfold", folds=2)
    assert set(candidates["fold"]) == {"fold-1", "fold-2"}
    assert (candidates.groupby("video")["fold"].nunique() == 1).all()


def test_scores_and_page_of_a_study(study):
    folder, tracks = study
    spot(study)
    experiments = {"search": SpottedExperiment(["d"], ["micro"], [])}
    files = {name: folder / f"{name}.csv" for name in ("videos", "truth", "metrics", "curve")}
    spotted = {name: [folder / f"search-{name}.csv"] for name in ("detections", "candidates")}
    score_experiments(
        files["videos"], files["truth"], spotted["detections"], spotted["candidates"], experiments,
        files["metrics"], files["curve"],
    )  # fmt: skip
    row = read_table(files["metrics"], ["dataset"]).set_index("dataset").loc["all"]
    assert (row["tp"], row["fp"], row["fn"]) == (8, 0, 0), "the threshold lies between expressions and the other peaks"
    assert row["minutes"] == pytest.approx(4 * FRAMES / FPS / 60)
    curve = read_table(files["curve"], ["hits"])
    assert curve["hits"].max() == 8 and curve["false_alarms"].max() == 4, "one other peak in each video"
    footage = {"d": {video: str(folder / video[0]) for _, video in tracks}}
    settings = SpottingPage("mine", False, {"d": "samm-long"}, footage, experiments, ["search"])
    write_spotting_page(settings, files | spotted, folder / "index.html")
    page = (folder / "index.html").read_text()
    assert page.count('<figure class="timeline">') == 4 and "Hits (8)" in page and "Misses (0)" in page
    assert page.count("data:image/jpeg") == 2 * 6, "onset and apex of six hits"
    assert "SOFTNet" in page and "https://" not in page


@pytest.fixture
def page_of_six(monkeypatch):
    """Settings and tables of six experiments, each of them on one of two datasets; drawings stay figures."""
    monkeypatch.setattr(spotting_page, "page_svg", lambda figure, *_: figure)
    experiments = {f"{system}-{dataset}": [dataset] for dataset in "de" for system in ("one", "two", "three")}
    footage = {dataset: {"v": "frames"} for dataset in "de"}
    scored = {name: SpottedExperiment(datasets, ["micro"], []) for name, datasets in experiments.items()}
    settings = SpottingPage("mine", False, {"d": "samm-long", "e": "samm-long"}, footage, scored, [])
    rows = [{"experiment": name, "dataset": part} for name, (own,) in experiments.items() for part in (own, "all")]
    table = pd.DataFrame(rows).assign(kind="micro", recall=0.5, false_alarms_per_minute=1.0)
    for rate in spotting_page.RATES:
        table[[rate, f"{rate}_low", f"{rate}_high"]] = 0.5
    videos = pd.DataFrame([{"dataset": name, "video": "v", "subject": "p"} for name in "de"])
    videos = videos.assign(first=0, last=FRAMES - 1, fps=FPS)
    spans = pd.DataFrame({"dataset": "d", "video": "v", "onset": [5, 40], "apex": ["", ""], "offset": [9, 50]})
    spans = spans.assign(kind="micro", score=[0.2, 0.7], outcome="hit")
    spotted, missed = dict.fromkeys(scored, spans[:0]) | {"one-d": spans}, dict.fromkeys(scored, spans[:0])
    return settings, spotting_page.SpottedTables(videos, spans, table, table, spotted, {}, missed, {})


def test_curves_of_many_experiments_all_look_different(page_of_six):
    _, tables = page_of_six
    (figure,) = spotting_page._curves(tables.curve, tables.metrics)
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) > 1]
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == len(lines) == 6


def test_timelines_have_the_experiments_that_searched_the_video(page_of_six):
    drawn = {row["dataset"]: row["svg"].axes[0].get_yticklabels() for row in spotting_page._timelines(*page_of_six)}
    for dataset, labels in drawn.items():
        names = [f"{system}-{dataset}" for system in ("one", "two", "three")]
        assert [label.get_text() for label in labels] == ["truth", *names]


def test_scores_of_an_experiment_on_one_dataset_are_listed_once(page_of_six):
    settings, tables = page_of_six
    rows = spotting_page._scores(tables.metrics, settings)
    assert [(row["experiment"], row["dataset"]) for row in rows] == [
        (name, experiment.datasets[0]) for name, experiment in settings.experiments.items()
    ]


def test_pictures_of_a_video_are_read_once_in_its_order(page_of_six, monkeypatch):
    settings, tables = page_of_six
    read, measured = [], []

    def grey_frames(source, number, *_, **__):
        read.append(number)
        return iter([(number, np.zeros((8, 8), np.uint8))])

    monkeypatch.setattr(spotting_page, "grey_frames", grey_frames)
    monkeypatch.setattr(spotting_page, "largest_values", lambda clips: measured.append(clips) or {})
    examples = [spotting_page._examples("one-d", tables)] * 2
    assert [row["shown"] for row in examples[0]["groups"][0]["rows"]] == [
        {"onset": 40, "apex": 45}, {"onset": 5, "apex": 7}
    ], "the highest score first, the middle without an apex"  # fmt: skip
    assert list(spotting_page._pictures(examples, settings)["d"]["v"]) == read == [5, 7, 40, 45]
    assert len(measured) == 1


def test_times_of_a_track_become_frame_numbers():
    made = track([60], 1.0)
    numbers = [*range(10, 210), *range(215, 215 + FRAMES - 200)]  # Five frames are missing.
    moved = in_frame_numbers(made, numbers)
    assert (moved.first, moved.last) == (10, 414)
    assert (moved.micro.candidates[0].onset, moved.micro.candidates[1].apex) == (60, 10 + 378 + 5)
    assert moved.micro.centres[200] == 215 and made.first == 0


def test_names_of_videos_that_look_like_numbers(tmp_path):
    rows = {"001": "p,50,60,70", "002": "q,90,100,110"}
    lines = [f"{video},{row}\n" for video, row in rows.items()]
    (tmp_path / "intervals.csv").write_text("".join(["video,subject,onset,apex,offset\n", *lines]))
    for video in rows:
        frames(tmp_path / video, range(FRAMES))
    videos, _ = list_long_videos("d", dataset_settings(layout="long-manifest", root=str(tmp_path)))
    tracks = {("d", video.video): tmp_path / f"{video.video}.h5" for video in videos}
    for video, file in zip(videos, tracks.values(), strict=True):
        save_track(track([video.intervals[0].apex], 0.9), file)
    write_long_videos(videos, list(tracks.values()), tmp_path / "videos.csv", tmp_path / "truth.csv")
    (candidates, _), _ = spot((tmp_path, tracks))
    assert set(candidates["video"]) == set(rows)
    score_experiments(
        tmp_path / "videos.csv", tmp_path / "truth.csv", [tmp_path / "search-detections.csv"], [],
        {"search": SpottedExperiment(["d"], ["micro"], [])}, tmp_path / "metrics.csv", tmp_path / "curve.csv",
    )  # fmt: skip
    assert read_table(tmp_path / "metrics.csv", ["tp"])["tp"].tolist() == [2, 2]


def test_length_of_a_video_whose_frame_rate_varies(tmp_path):
    """As by a phone in dim light: two seconds at 10 frames per second, then two at 40."""
    times = [*np.arange(20) / 10, *(2 + np.arange(80) / 40)]
    path = write_video(tmp_path / "phone.mp4", waves(len(times)), "mpeg4", times=times)
    measure_motion(str(path), None, spotting_settings(), tmp_path / "motion.h5")
    video = LongVideo("d", "phone.mp4", "d/p", str(path), None, None, None, ())
    write_long_videos([video], [tmp_path / "motion.h5"], tmp_path / "videos.csv", tmp_path / "truth.csv")
    (row,) = read_table(tmp_path / "videos.csv", ["fps"]).to_dict("records")
    assert (row["first"], row["last"]) == (0, 99) and 100 / row["fps"] == pytest.approx(4, rel=0.03)
