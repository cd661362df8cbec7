"""The parts of the report: their numbers are those of the tables, and nothing in a name breaks out."""

import io
import re
import shutil

import h5py
import numpy as np
import pandas as pd
import pytest
from report_study import CLASSES, Page, make_study, written

from merflow.errors import InputError
from merflow.report import certainty, compared, contents, neighbours, sheets, subjects
from merflow.report import page as report
from merflow.report.pipeline import pipeline
from merflow.storage.tables import CALIBRATION, COVERAGE, PREDICTIONS, RELIABILITY, write_table
from merflow.systems.tsdgcn.graph import Graph, build_graph

HOSTILE = 'a</svg><script>alert("&")</script>$x_1$'


def section(page: Page, name: str) -> str:
    return re.search(rf'<section id="{name}".*?</section>', page.html, re.DOTALL).group(0)


def read(text: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(text))


@pytest.fixture
def without_curves(monkeypatch):
    """Leaves out what takes time and is not what a test is about."""
    for slow in ("forests", "training_curves"):
        monkeypatch.setattr(contents, slow, lambda *_: [])


@pytest.fixture
def only_parts(monkeypatch, without_curves):
    """Leaves out contact sheets and bars, too."""
    for slow in ("contact_sheets", "class_bars"):
        monkeypatch.setattr(report, slow, lambda *_: [])


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    return make_study(folder) | {"folder": folder}


# --- How sure it is ---------------------------------------------------------------------------------------------------


def make_calibration(folder, names):
    """The three tables of calibration: systems that claim more than they hold, the second less so."""
    figures, bins, shares = [], [], []
    for place, name in enumerate(names):
        values = {"temperature": 2.5, "ece_raw": 0.3 - 0.1 * place, "ece": 0.05, "nll_raw": 1.25, "nll": 0.75,
                  "brier_raw": 0.6, "brier": 0.4}  # fmt: skip
        for metric, value in values.items():
            ends = {"ci_low": value - 0.11, "ci_high": value + 0.13} if metric[:3] in ("nll", "bri") else {}
            figures.append({"experiment": name, "metric": metric, "value": value, "n_clips": 39, **ends})
        for kind, gap in (("raw", 0.3 - 0.1 * place), ("calibrated", 0.05)):
            for low in np.arange(10) / 10:
                empty = low < 0.5
                bins.append({"experiment": name, "kind": kind, "bin_low": low, "bin_high": low + 0.1,
                             "n": 0 if empty else 8, "confidence": np.nan if empty else low + 0.05,
                             "accuracy": np.nan if empty else low + 0.05 - gap})  # fmt: skip
        for threshold in np.arange(101) / 100:
            answered = max(0.0, 1 - max(0.0, threshold - 0.3) * 2)
            shares.append({"experiment": name, "threshold": threshold, "answered": answered, "n_clips": 39,
                           "accuracy": 0.5 + 0.4 * threshold if answered else np.nan})  # fmt: skip
    write_table(figures, folder / "calibration.csv", CALIBRATION)
    write_table(bins, folder / "reliability.csv", RELIABILITY)
    write_table(shares, folder / "coverage.csv", COVERAGE)
    return {name: folder / f"{name}.csv" for name in ("calibration", "reliability", "coverage")}


@pytest.mark.usefixtures("only_parts")
def test_certainty_says_what_calibration_does_and_what_is_answered(study, tmp_path):
    page = written(study | make_calibration(tmp_path, ["tsdgcn", "ststnet"]), tmp_path)
    words = " ".join(page.of_section["certainty"].split())
    assert "tsdgcn claims more than it holds: its probabilities are off by 0.300 on average, 0.050 when" in words
    assert "ststnet claims more than it holds: its probabilities are off by 0.200 on average" in words
    # 1 - 2 * (0.5 - 0.3) answered, 0.5 + 0.4 * 0.5 of them right, 0.5 of all.
    assert "it answers 60 % of the clips and is right in 70 % of those; answering all, in 50 %" in words
    assert "0.750 [0.64, 0.88]" in words and "2.50" in words
    assert '<a href="#certainty">' in page.html


@pytest.mark.usefixtures("only_parts")
def test_the_threshold_of_certainty_is_that_of_the_configuration(study, tmp_path):
    config = study["config"] | {"predict": {"uncertain_below": 0.75}}
    found = certainty.how_sure(study | make_calibration(tmp_path, ["tsdgcn"]) | {"config": config})
    assert found["threshold"] == 0.75
    assert found["systems"][0]["answered"] == pytest.approx(0.1) and found["systems"][0]["accuracy"] == pytest.approx(
        0.8
    )
    assert "10 % of the clips at threshold 0.75" in found["drawings"][1]["svg"]
    assert certainty.uncertain_below({}) == 0.5 == certainty.uncertain_below({"predict": None})


def test_the_csv_of_certainty_has_every_number(study, tmp_path):
    tables = make_calibration(tmp_path, ["tsdgcn"])
    drawings = {one["name"]: one for one in certainty.how_sure(study | tables)["drawings"]}
    for name in ("reliability", "coverage"):
        pd.testing.assert_frame_equal(read(drawings[name]["csv"]), pd.read_csv(tables[name]))


@pytest.mark.usefixtures("only_parts")
def test_a_study_without_calibration_has_no_such_section(study, tmp_path):
    tables = make_calibration(tmp_path, ["tsdgcn"])
    assert certainty.how_sure(study) is None and certainty.how_sure(study | {"coverage": tables["coverage"]}) is None
    assert 'id="certainty"' not in written(study, tmp_path).html


def test_hostile_names_in_certainty_stay_text(study, tmp_path):
    found = certainty.how_sure(study | make_calibration(tmp_path, [HOSTILE]))
    for drawn in found["drawings"]:
        assert "<script" not in drawn["svg"]
        Page(drawn["svg"])


# --- Subject by subject -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def found(study):
    return contents.results(study)


def test_every_subject_has_its_clips_counted_and_the_hardest_comes_first(study, found):
    part = subjects.by_subject(study, found)
    table = pd.read_csv(study["predictions"])
    counted = read(part["drawing"]["csv"]).set_index(["dataset", "subject", "experiment"])
    own = table.assign(right=table["truth"] == table["predicted"]).groupby(["dataset", "subject", "experiment"])[
        "right"
    ]
    for name, right in own.sum().items():
        row = counted.loc[name]
        assert (row["right"], row["n"]) == (right, own.size()[name]) and row["accuracy"] == pytest.approx(
            row["right"] / row["n"]
        )
    assert len(counted) == own.ngroups == 8 * 4
    trained = own.mean().xs("tsdgcn", level="experiment").droplevel("dataset")
    shares = [trained[row["subject"]] for row in part["subjects"]]
    assert shares == sorted(shares) and shares[0] < shares[-1], "by the trained system, not by the floors"


@pytest.mark.usefixtures("without_curves")
def test_a_subject_leads_to_its_contact_sheet(study, tmp_path):
    page = written(study, tmp_path)
    links = re.findall(r'<a href="#(sheet-[^"]+)">', section(page, "subjects"))
    sheets = re.findall(r'<details class="sheet"(?: open)? id="([^"]+)">', page.html)
    assert len(links) == 8 and len(sheets) == len(set(sheets)) == 12 and set(links) <= set(sheets)


def test_a_subject_that_a_system_did_not_see_has_a_dash(study, found, tmp_path):
    table = pd.read_csv(study["predictions"])
    without = table[(table["experiment"] != "softmax") | (table["subject"] != "people-micro/s03")]
    write_table(without, tmp_path / "predictions.csv", PREDICTIONS)
    part = subjects.by_subject(study | {"predictions": tmp_path / "predictions.csv"}, found)
    row = next(row for row in part["subjects"] if row["subject"] == "people-micro/s03")
    assert [cell["n"] for cell in row["cells"]] == [5, 5, 5, 0]
    assert "people-micro/s03: " in part["drawing"]["svg"] or len(part["subjects"]) > 5


# --- Systems side by side ---------------------------------------------------------------------------------------------


def test_bars_of_classes_have_the_values_and_intervals_of_the_metrics(study, found):
    (drawn,) = compared.class_bars(found)
    table = pd.read_csv(study["metrics"])
    rows = read(drawn["csv"])
    assert len(rows) == 4 * 5 * 3
    for row in rows.to_dict("records"):
        one = table[(table["experiment"] == row["experiment"]) & (table["scope"] == f"class:{row['class']}")]
        one = one[one["metric"] == row["metric"]].iloc[0]
        for name in ("value", "ci_low", "ci_high", "n_clips"):
            assert row[name] == pytest.approx(one[name], nan_ok=True)
    assert "Recall of happiness: tsdgcn" in drawn["svg"]


def test_a_real_difference_has_a_shape_of_its_own(study):
    differences = contents.differences(study)
    drawn = compared.difference_forest(differences)
    table = pd.read_csv(study["differences"])
    rows = read(drawn["csv"])
    merged = rows.merge(table[table["metric"] == "uf1"], on=["first", "second"], suffixes=("", "_there"))
    assert len(rows) == len(merged) == 6
    for name in ("difference", "ci_low", "ci_high", "p_holm"):
        np.testing.assert_allclose(merged[name], merged[f"{name}_there"])
    real = (merged["verdict"] != "unclear").sum()
    assert 0 < real < 6, "a case with both"
    assert drawn["svg"].split("</title>")[0].count(", real") == 2 * real, "in the label and in the title"
    everything = [
        pair | {"metrics": {"uf1": pair["metrics"]["uf1"] | {"verdict": "unclear"}}} for pair in differences["pairs"]
    ]
    unclear = compared.difference_forest({"pairs": everything})["svg"]
    shapes = [set(re.findall(r'<path id="[\w-]*?-m[0-9a-f]{5,}" d="([^"]+)"', svg)) for svg in (drawn["svg"], unclear)]
    angular = [sum("C" not in shape for shape in own) for own in shapes]
    assert angular == [1, 0] and len(shapes[0]) == 2, (
        "a diamond beside the circles; circles alone where nothing is real"
    )
    assert compared.difference_forest(None) is None and compared.difference_forest({"pairs": []}) is None


# --- The graph on a face ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    file = tmp_path_factory.mktemp("graph") / "8+2.h5"
    build_graph(16, 8, 2, seed=3).save(file)
    return file


def entry(file, **more):
    return {"graphs": {"8+2": {"file": file, "experiments": ["tsdgcn"], "datasets": ["people-micro"]} | more}}


def test_the_links_that_are_shown_are_those_of_the_graph(study, graph):
    (drawn,) = neighbours.graphs_on_a_face(study | entry(graph))
    rows = read(drawn["csv"])
    adjacency = Graph.load(graph).adjacency.toarray()
    assert set(rows["place"]) == set(neighbours.PLACES)
    for (row, column), own in rows.groupby(["row", "column"]):
        kinds = own["kind"].value_counts()
        assert kinds["near"] == 8 and kinds["drawn"] == 2
        distance = np.hypot(own["neighbour_row"] - row, own["neighbour_column"] - column)
        np.testing.assert_allclose(own["distance"], distance)
        assert distance.max() <= 2 * np.sqrt(2) + 1e-9
        near = own[own["kind"] == "near"]
        assert near["distance"].max() <= own[own["kind"] != "near"]["distance"].min()
        for link in own.to_dict("records"):
            weight = adjacency[row * 16 + column, link["neighbour_row"] * 16 + link["neighbour_column"]]
            assert weight == pytest.approx(link["weight"])
            assert (weight > 0) == (link["kind"] != "candidate")
    assert drawn["face"]["dataset"] == "people-micro", "a dataset that is recognised"
    chosen = rows[rows["kind"] == "drawn"].iloc[0]
    assert f"({chosen['neighbour_row']}, {chosen['neighbour_column']})" in drawn["svg"].split("</title>")[0]


def test_a_graph_of_other_links_than_its_settings_give_is_refused(study, graph, tmp_path):
    other = tmp_path / "other.h5"
    shutil.copy(graph, other)
    with h5py.File(other, "a") as file:
        file.attrs["seed"] = 4
    with pytest.raises(InputError, match="other.h5: its links are not those of its settings; delete it"):
        neighbours.graphs_on_a_face(study | entry(other))


def test_graphs_are_left_out_where_there_is_none_or_no_face(study, graph):
    assert neighbours.graphs_on_a_face(study) == []
    assert neighbours.graphs_on_a_face(study | entry(graph) | {"faces": {}}) == []


# --- Contact sheets ---------------------------------------------------------------------------------------------------


def test_every_subject_has_a_sheet_with_every_clip_where_there_is_room(study):
    macro, micro = sheets.contact_sheets(study)
    assert (macro["people"], macro["total"], macro["shown"]) == (4, 20, 20)
    assert (micro["people"], micro["total"], micro["shown"]) == (8, 39, 39)
    first = micro["subjects"][0]
    assert [clip["label"] for clip in first["clips"]] == sorted(CLASSES), "in the order of the list"
    clip = first["clips"][0]
    assert [frame["apex"] for frame in clip["frames"]] == [False] * 3 + [True] + [False] * 2
    assert len(clip["frames"]) == 6 and len(clip["flows"]) == 5


def size(found) -> int:
    clips = [clip for sheet in found for person in sheet["subjects"] for clip in person["clips"]]
    return sum(len(one["source"]) for clip in clips for one in clip["frames"] + clip["flows"])


def test_a_budget_is_kept_and_every_subject_has_a_clip_before_one_has_two(study, tmp_path, monkeypatch):
    full = size(sheets.contact_sheets(study))
    some = sheets.contact_sheets(study, budget=full // 2)
    assert full // 3 < size(some) <= full // 2
    numbers = [len(person["clips"]) for sheet in some for person in sheet["subjects"]]
    assert len(numbers) == 12 and max(numbers) - min(numbers) <= 1
    labels = {person["clips"][0]["label"] for person in some[1]["subjects"]}
    assert len(labels) > 2, "not the first class of everyone"
    few = sheets.contact_sheets(study, budget=full // 15)
    assert size(few) <= full // 15 and sum(sheet["with_clips"] for sheet in few) < 12
    assert all(sheet["with_clips"] for sheet in few), "at even steps through all, not the first ones"
    monkeypatch.setattr(report, "contact_sheets", lambda _: some)
    for slow in ("forests", "training_curves"):
        monkeypatch.setattr(contents, slow, lambda *_: [])
    words = " ".join(written(study, tmp_path).of_section["pictures"].split())
    assert f"{some[1]['shown']} of 39 processed clips are shown, of every one of the 8 subjects" in words


def test_subjects_of_flow_images_have_sheets_too(study, tmp_path, monkeypatch):
    cache = tmp_path / "cache.h5"
    with h5py.File(cache, "w") as file:
        text = h5py.string_dtype()
        file.create_dataset("clip", data=["a", "b", "c"], dtype=text)
        file.create_dataset("subject", data=["one", "two", "one"], dtype=text)
        file.create_dataset("label", data=["fear", "fear", ""], dtype=text)
        file["flow"] = np.random.default_rng(0).random((3, 1, 3, 28, 28)).astype(np.float16)
        file.attrs.update(flow_channels=["u", "v", "strain"], flow_unit="a share of the largest")
    own = {name: dict(study[name]) for name in ("faces", "keyframes", "flows")}
    for name in own:
        own[name]["people-macro"] = []
    own["flow_images"] = {"people-macro": cache}
    (macro, micro) = sheets.contact_sheets(study | own)
    assert [(person["subject"], len(person["clips"])) for person in macro["subjects"]] == [("one", 2), ("two", 1)]
    assert [frame["title"] for frame in macro["subjects"][0]["clips"][0]["frames"]] == ["u", "v", "strain"]
    assert macro["unit"] and not micro["unit"]
    for slow in ("forests", "training_curves"):
        monkeypatch.setattr(contents, slow, lambda *_: [])
    page = written(study | own, tmp_path)
    assert "Flow images as they were given (a share of the largest)" in page.of_section["pictures"]


def test_an_apex_that_is_no_key_frame_is_told(study, tmp_path):
    table = pd.read_csv(study["keyframes"]["people-micro"][0])
    table["apex_annotated"] = 8
    write_table(table, tmp_path / "k.csv", list(table))
    own = {"people-micro": [tmp_path / "k.csv", *study["keyframes"]["people-micro"][1:]]}
    micro = sheets.contact_sheets(study | {"keyframes": study["keyframes"] | own})[1]
    clips = [person["clips"][0] for person in micro["subjects"][:2]]
    assert [clip["missed"] for clip in clips] == ["8 (annotated)", ""]
    assert not any(frame["apex"] for frame in clips[0]["frames"])


# --- All of them ------------------------------------------------------------------------------------------------------


def test_same_inputs_give_the_same_parts_and_names_stay_text(study, graph, tmp_path):
    hostile = [own | {"name": HOSTILE} if own["name"] == "tsdgcn" else own for own in contents.results(study)]
    pairs = contents.differences(study)
    pairs = {"pairs": [pair | {"first": HOSTILE} for pair in pairs["pairs"]]}
    rows = [{"rule": HOSTILE, "jobs": 1, "needs": []}]

    def drawings():
        bars, forest = compared.class_bars(hostile), compared.difference_forest(pairs)
        on_face = neighbours.graphs_on_a_face(study | entry(graph))
        people = subjects.by_subject(study, hostile)["drawing"]
        return [*bars, forest, *on_face, people, pipeline({"dag": rows})["drawing"]]

    once, again = drawings(), drawings()
    for one, other in zip(once, again, strict=True):
        assert one["svg"] == other["svg"] and one["csv"] == other["csv"]
        assert "<script" not in one["svg"]
        assert len(re.search(r'aria-label="([^"]*)"', one["svg"]).group(1)) > 20
        Page(one["svg"])
