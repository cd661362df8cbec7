"""Sections about clips: counts, failures, contact sheets, pixel graphs, training curves, computing time."""

import base64
import io
import re
import shutil
from dataclasses import replace
from xml.etree import ElementTree

import cv2
import h5py
import numpy as np
import pandas as pd
import pytest
from report_study import CLASSES, with_dataset, with_settings, written

from merflow.errors import InputError
from merflow.report.images import picture
from merflow.report.sections import graphs, pictures
from merflow.report.sections.curves import curves_svg
from merflow.report.sections.data import composites, dataset_clips
from merflow.report.sections.timings import rule_times
from merflow.report.settings import ClassCount, ExperimentSettings, GraphSettings
from merflow.report.svg import standalone_svg
from merflow.storage.tables import write_table
from merflow.systems.tsdgcn.graph import Graph, build_graph


def test_clips_are_counted_and_failures_have_reasons(page):
    text = " ".join(page.of_section["data"].split())
    assert "happiness15871" in text and "all1540391" in text and "all20200" in text
    failed = page.of_section["failed"]
    assert "no face found" in failed and "s02_happiness" in failed and "1 of 40" in failed
    assert "onset 9 lies after apex 3" in failed


def test_detectors_are_counted_and_notes_are_listed(study, page):
    for dataset in map(dataset_clips, study.datasets):
        assert dataset.detectors["cnn"] == len(dataset.classes)
        assert dataset.detectors["hog"] == dataset.total.processed - dataset.detectors["cnn"]
        hog, cnn = (dataset.detectors[name] for name in ("hog", "cnn"))
        assert f"Faces found by dlib's HOG detector: {hog}, dlib's CNN detector: {cnn}." in page.text
        assert {row["notes"] for row in dataset.noted} == {"4 faces"}
        assert f"{len(dataset.noted)} processed clips with notes" in page.text
    assert "s04_happiness: 4 faces" in page.text


def test_published_counts_are_compared(study, page):
    macro, micro = map(dataset_clips, study.datasets)
    row = next(row for row in micro.classes if row.label == "happiness")
    assert row.expected == row.indexed + 7
    assert "classes: made-up-3" in page.text and "Published numbers: Nobody et al.." in page.text
    cell = re.search(r'happiness</th><td class="n">(\d+)</td><td class="n bad">(\d+)</td>', page.html)
    assert cell and int(cell[1]) == int(cell[2]) + 7, "a difference is marked"
    assert macro.total.expected is None


def test_corrections_are_separate_from_problems(study, page):
    (dataset,) = (d for d in map(dataset_clips, study.datasets) if d.corrections)
    assert [row["problem"] for row in dataset.corrections] == ["5 -> 15: a slip in the release"]
    assert [row["row"] for row in dataset.corrections] == ["2"], "rows are whole numbers"
    assert all(row["effect"] != "corrected" for row in dataset.problems)
    assert "Corrections to people-micro" in page.text and "5 -> 15: a slip in the release" in page.text


def test_composite_is_counted_over_its_datasets(study, tmp_path):
    counts = [ClassCount("happiness", 30, 29), ClassCount("fear", 5, 5)]
    several = ExperimentSettings("tsdgcn", ["people-micro", "people-macro"], False, "", counts, "")
    experiments = study.settings.experiments | {"one": several, "two": several}
    changed = with_settings(study, experiments=experiments)
    (composite,) = composites(changed)
    assert composite.experiments == ["one", "two"] and composite.total == ClassCount("all", 35, 34)
    text = written(changed, tmp_path, "data").text
    assert "people-micro + people-macro" in text and "Clips of one, two" in text
    unknown = replace(several, class_counts=[counts[0], ClassCount("fear", None, 5)])
    assert composites(with_settings(study, experiments={"one": unknown}))[0].total.expected is None


def test_benchmarks_of_the_study_are_summed(study, page):
    rows = {row.rule: row for row in rule_times(with_settings(study, graphs={"8+2": GraphSettings([], [])}))}
    align = rows["align_faces"]
    assert (align.jobs, align.seconds, align.longest, align.memory) == (2, 21.0, 11.0, 201.0)
    assert rows["finetune"].seconds == 13 and rows["gather_tables"].jobs == 1
    assert rows["build_graph"].memory == 0  # NA in the file
    assert list(rows) == ["align_faces", "evaluate", "build_graph", "gather_tables", "finetune"], "the longest first"
    assert "1 min 06 s" in page.of_section["timings"], "without the graph, which is not one of this study"


def test_curves_continue_while_half_of_the_runs_train():
    rows = [
        {"run": run, "epoch": epoch, "split": "train", "loss": float(run), "accuracy": 0.5}
        for run, last in ((1, 4), (2, 4), (3, 9))
        for epoch in range(1, last + 1)
    ]
    svg = curves_svg("mine", pd.DataFrame(rows), "x")
    assert "mean of 3 runs" in svg and "train loss 2.00" in svg  # mean of 1, 2, 3 at epoch 4; not the last run's 3
    alone = curves_svg("mine", pd.DataFrame(rows).query("run == 3"), "x")
    assert "train loss 3.00" in alone and "mean of" not in alone


# --- Contact sheets ---------------------------------------------------------------------------------------------------


def test_pictures_show_onset_keyframes_apex_and_flow(page):
    images = [a for tag, a in page.tags if tag == "img"]
    assert len(images) == 1 + (20 + 39) * (6 + 5), "the legend, and every processed clip of both datasets"
    alts = [image["alt"] for image in images]
    assert sum("onset, frame 3" in alt for alt in alts) == 59
    assert sum("apex (annotated), frame 9" in alt for alt in alts) == 59
    assert sum(alt.startswith("Flow of people-micro/") for alt in alts) == 39 * 5
    shown = {alt.split("Aligned face of ")[1].split(",")[0] for alt in alts if "Aligned" in alt}
    assert len(shown) == 12
    assert all(image.get("loading") == "lazy" for image in images[1:])
    assert len({image["src"] for image in images}) == 1 + 6 + 3  # the legend; frames; three strengths of flow


def test_sheets_have_every_clip_of_a_small_study(study):
    macro, micro = pictures.contact_sheets(study)
    assert (len(macro.subjects), macro.total, macro.shown) == (4, 20, 20)
    assert (len(micro.subjects), micro.total, micro.shown) == (8, 39, 39)
    first = micro.subjects[0]
    assert [clip.label for clip in first.clips] == sorted(CLASSES), "in the order of the list"
    clip = first.clips[0]
    assert [frame.apex for frame in clip.frames] == [False] * 3 + [True] + [False] * 2
    assert len(clip.frames) == 6 and len(clip.flows) == 5


def test_few_clips_are_shared_by_the_subjects(study, tmp_path, monkeypatch):
    half = pictures.contact_sheets(study, limit=30)
    numbers = [len(sheet.clips) for dataset in half for sheet in dataset.subjects]
    assert len(numbers) == 12 and sum(numbers) == 30 and max(numbers) - min(numbers) <= 1
    assert {clip.label for sheet in half[1].subjects for clip in sheet.clips} == set(CLASSES), "not one class"
    few = [sheet for dataset in pictures.contact_sheets(study, limit=5) for sheet in dataset.subjects]
    assert [index for index, sheet in enumerate(few) if sheet.clips] == [0, 2, 4, 7, 9], "at even steps through all"
    monkeypatch.setattr(pictures, "contact_sheets", lambda _: half)
    words = " ".join(written(study, tmp_path, "pictures").of_section["pictures"].split())
    assert f"{half[1].shown} of 39 processed clips are shown, from 8 of 8 subjects" in words


@pytest.mark.parametrize(
    ("counts", "limit", "shown"),
    [
        ([40, 5, 5], 60, [40, 5, 5]),
        ([40, 5, 5], 21, [11, 5, 5]),
        ([0, 3, 9, 9], 12, [0, 3, 5, 4]),
        ([4] * 6, 3, [1, 0, 1, 0, 1, 0]),
        ([], 9, []),
    ],
)
def test_choose_clips_fills_limit_with_uneven_counts(counts, limit, shown):
    chosen = pictures.choose_clips(counts, limit)
    assert [len(set(clips)) for clips in chosen] == shown
    assert all(set(clips) <= set(range(count)) for clips, count in zip(chosen, counts, strict=True))


def test_flow_images_have_sheets(study, tmp_path):
    cache = tmp_path / "cache.h5"
    with h5py.File(cache, "w") as file:
        text = h5py.string_dtype()
        file.create_dataset("clip", data=["a", "b", "c"], dtype=text)
        file.create_dataset("subject", data=["one", "two", "one"], dtype=text)
        file.create_dataset("label", data=["fear", "fear", ""], dtype=text)
        file["flow"] = np.random.default_rng(0).random((3, 2, 3, 28, 28)).astype(np.float16)
        file["spatial"], file["apex_index"] = np.full((3, 2, 40, 40), 90, np.uint8), [1, 0, 1]
        file.attrs.update(flow_channels=["u", "v", "strain"], flow_unit="a share of the largest")
    changed = with_dataset(study, "people-macro", faces=[], keyframes=[], flow=[], flow_images=cache)
    macro, micro = pictures.contact_sheets(changed)
    assert [(sheet.subject, len(sheet.clips)) for sheet in macro.subjects] == [("one", 2), ("two", 1)]
    assert [frame.title for frame in macro.subjects[0].clips[0].frames] == ["face", "u", "v", "strain"]
    assert macro.unit and not micro.unit
    page = written(changed, tmp_path, "pictures")
    assert "Ready-made flow images (a share of the largest)" in page.of_section["pictures"]


def test_apex_that_is_not_a_keyframe_is_named(study, tmp_path):
    keyframes = study.datasets[1].keyframes
    table = pd.read_csv(keyframes[0])
    table["apex_annotated"] = 8
    write_table(table, tmp_path / "k.csv", list(table))
    changed = with_dataset(study, "people-micro", keyframes=[tmp_path / "k.csv", *keyframes[1:]])
    micro = pictures.contact_sheets(changed)[1]
    clips = [sheet.clips[0] for sheet in micro.subjects[:2]]
    assert [clip.missed for clip in clips] == ["8 (annotated)", ""]
    assert not any(frame.apex for frame in clips[0].frames)


def test_pictures_keep_colours_and_are_small():
    image = np.zeros((300, 200, 3), np.uint8)
    image[..., 0] = 200
    data = base64.b64decode(picture(image).removeprefix("data:image/jpeg;base64,"))
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert decoded.shape == (128, 85, 3)
    assert decoded.mean((0, 1)) == pytest.approx((200, 0, 0), abs=4)
    noise = np.random.default_rng(0).integers(0, 255, (512, 512), dtype=np.uint8)
    assert len(picture(noise)) < 12_000


# --- Pixel graphs -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    file = tmp_path_factory.mktemp("graph") / "8+2.h5"
    build_graph(16, 8, 2, seed=3).save(file)
    return file


def with_graph(study, file):
    settings = {"8+2": GraphSettings(["tsdgcn"], ["people-micro"])}
    return replace(with_settings(study, graphs=settings), graphs={"8+2": file})


def test_drawn_links_are_those_of_the_graph(study, graph):
    content = graphs.content(with_graph(study, graph))
    (drawing,) = (entry["drawing"] for entry in content["graphs"])
    saved = ElementTree.fromstring(standalone_svg(drawing.svg, drawing.title))
    assert len(saved.findall(".//{http://www.w3.org/2000/svg}image")) == 4, "the face and three places in it"
    rows = pd.read_csv(io.StringIO(drawing.csv))
    adjacency = Graph.load(graph).adjacency.toarray()
    assert set(rows["place"]) == set(graphs.PLACES)
    for (row, column), links in rows.groupby(["row", "column"]):
        kinds = links["kind"].value_counts()
        assert kinds["near"] == 8 and kinds["drawn"] == 2
        distance = np.hypot(links["neighbour_row"] - row, links["neighbour_column"] - column)
        np.testing.assert_allclose(links["distance"], distance)
        assert distance.max() <= 2 * np.sqrt(2) + 1e-9
        near = links[links["kind"] == "near"]
        assert near["distance"].max() <= links[links["kind"] != "near"]["distance"].min()
        for link in links.to_dict("records"):
            weight = adjacency[row * 16 + column, link["neighbour_row"] * 16 + link["neighbour_column"]]
            assert weight == pytest.approx(link["weight"])
            assert (weight > 0) == (link["kind"] != "candidate")
    assert content["face"].dataset == "people-micro", "a dataset that is recognised"
    random = rows[rows["kind"] == "drawn"].iloc[0]
    assert f"({random['neighbour_row']}, {random['neighbour_column']})" in drawing.svg.split("</title>")[0]


def test_graph_with_other_links_is_refused(study, graph, tmp_path):
    other = tmp_path / "other.h5"
    shutil.copy(graph, other)
    with h5py.File(other, "a") as file:
        file.attrs["seed"] = 4
    with pytest.raises(InputError, match="other.h5: its links do not follow from its settings; delete it"):
        graphs.content(with_graph(study, other))


def test_graphs_need_a_graph_and_a_face(study, graph):
    assert graphs.content(study) is None
    assert graphs.content(replace(with_graph(study, graph), datasets=[])) is None
