"""The report: everything is there, nothing is loaded, nothing breaks out, and demo data are called synthetic."""

import base64
import hashlib
import html
import io
import json
import re
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import cv2
import h5py
import numpy as np
import pandas as pd
import pytest
from report_study import CLASSES, SIZE, Page, make_study, written
from sklearn.metrics import accuracy_score, f1_score

from merflow.datasets.labels import class_sets, published_as
from merflow.errors import InputError
from merflow.evaluation.evaluate import evaluate, merge
from merflow.evaluation.figure_tables import tabulate_figure
from merflow.evaluation.leakage import CHECKS
from merflow.evaluation.published import published
from merflow.evaluation.settings import EvaluationSettings, FigureSettings
from merflow.report import contents, figures, in_print
from merflow.report import page as report
from merflow.report.page import duration, memory, study_files, write_report
from merflow.report.saved import Figures
from merflow.runtime.summary import summary
from merflow.storage.files import safe_filename
from merflow.storage.tables import (
    AUDIT,
    FLOW_STATISTICS,
    GRID,
    KEYFRAMES,
    METRICS,
    PREDICTIONS,
    write_table,
)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    return make_study(folder) | {"folder": folder}


@pytest.fixture(scope="module")
def page(study):
    return written(study, study["folder"])


@pytest.fixture
def without_drawings(monkeypatch):
    """Leaves out what takes time and is not what a test is about."""
    for slow in ("forests", "training_curves"):
        monkeypatch.setattr(contents, slow, lambda *_: [])
    monkeypatch.setattr(report, "class_bars", lambda *_: [])
    for part in ("by_subject", "difference_forest"):
        monkeypatch.setattr(report, part, lambda *_: None)


def test_every_section_is_there_and_reached_from_the_contents(page):
    sections = [a["id"] for tag, a in page.tags if tag == "section"]
    expected = "answer results differences audit classes subjects data failed pictures curves timings settings versions"
    assert sections == expected.split()
    links = [a["href"] for tag, a in page.tags if tag == "a" and not a["href"].startswith("#sheet-")]
    assert links == ["#answer", *(f"#{name}" for name in sections)], "the skip link, then the contents"


def test_answer_comes_first_with_numbers_and_the_best_floor(study, page):
    metrics = pd.read_csv(study["metrics"])
    pooled = metrics[metrics["scope"] == "pooled"].set_index(["experiment", "metric"])
    text = page.of_section["answer"]
    for metric in ("accuracy", "uf1", "uar"):
        row = pooled.loc["tsdgcn", metric]
        assert f"{row['value']:.3f}" in text and f"[{row['ci_low']:.2f}, {row['ci_high']:.2f}]" in text
    assert f"{100 * pooled.loc[('tsdgcn', 'accuracy'), 'value']:.1f} % of 39 clips" in text
    floors = {name: pooled.loc[(name, "uf1"), "value"] for name in ("majority", "linear-svm", "softmax")}
    best = max(floors, key=floors.get)
    assert f"the best floor, {best}" in text
    assert f"UF1 of the floors: {', '.join(f'{name} {floor:.3f}' for name, floor in floors.items())}." in text
    assert page.html.index('id="answer"') < page.html.index('id="results"')


def test_results_name_every_experiment_and_what_was_not_scored(page):
    text = page.of_section["results"]
    for name in ("tsdgcn", "majority (floor)", "linear-svm (floor)", "softmax (floor)"):
        assert name in text
    assert "39 of 40" in text


def test_every_pair_of_systems_is_shown_and_the_real_differences_are_bold(study, page):
    table = pd.read_csv(study["differences"])
    assert table.groupby(["first", "second"]).ngroups == 6
    real = table[table["verdict"] != "unclear"]
    assert 0 < len(real) < len(table), "a case with both"
    section = re.search(r'<section id="differences">.*?</section>', page.html, re.DOTALL).group(0)
    bold = sorted(re.findall(r"<b>([+-][.\d]+)</b>", section))
    assert bold == sorted(f"{value:+.3f}" for value in real["difference"])
    assert len(re.findall(r"<b>", section)) == len(real)
    words = page.of_section["differences"]
    assert f"{(real['metric'] == 'uf1').sum()} of 6 pairs differ in UF1 by more than chance" in words
    assert "Holm" in words and "majority" in words
    for row in table.to_dict("records"):
        assert f"{row['difference']:+.3f}" in words
        assert f"[{row['ci_low']:.2f}, {row['ci_high']:.2f}]" in words


def test_a_clean_audit_is_green_line_by_line(page):
    section = re.search(r'<section id="audit">.*?</section>', page.html, re.DOTALL).group(0)
    assert section.count('<li class="clean">') == 4 and 'class="leak"' not in section
    assert f"tsdgcn: clean, {len(CHECKS)} checks in 8 folds" in section


@pytest.mark.usefixtures("without_drawings")
def test_a_leak_that_was_asked_for_is_red_with_its_size(tmp_path):
    study = make_study(tmp_path, skills={"tsdgcn": 0.8, "hold-out": 0.9, "majority": 0.0})
    table = pd.read_csv(study["audit"])
    check = table["check"]
    macro = (table["experiment"] == "tsdgcn") & (check == "subjects: pre-training and test")
    table.loc[macro & table["fold"].isin(["people-micro/s03", "people-micro/s05"]), "size"] = 1
    table.loc[table.index[macro][-1], "size"] = 4
    table = table[(table["experiment"] != "hold-out") | (table["fold"] == "people-micro/s01")]
    divided = (table["experiment"] == "hold-out") & (table["check"] == "subjects: train and test")
    table.loc[divided, "size"] = 6
    write_table(table, study["audit"], AUDIT)
    page = written(study, tmp_path)
    red = re.findall(r'<li class="leak">(.*?)</li>', page.html)
    assert red == [
        "tsdgcn: people of the test are in the set that pre-trains: 1 to 4 in 3 of 8 folds",
        "hold-out: people of the test have clips that train: 6 in the only fold",
    ]
    assert page.html.count('<li class="clean">') == 1
    colours = dict(re.findall(r"--(leak|clean): #(\w{6})", page.html.split("@media")[0]))
    for name, place in (("leak", 0), ("clean", 1)):
        channels = [int(colours[name][n : n + 2], 16) for n in (0, 2, 4)]
        assert int(np.argmax(channels)) == place, f"{name} is not of its colour"
        assert f".{name} {{ color: var(--{name})" in page.html


@pytest.mark.usefixtures("without_drawings")
def test_mean_of_folds_stands_beside_the_pooled_value_and_seeds_have_their_spread(tmp_path):
    study = make_study(tmp_path, skills={"tsdgcn": 0.6, "majority": 0.0})
    once = pd.read_csv(study["predictions"])
    rng = np.random.default_rng(0)
    again = once[once["experiment"] == "tsdgcn"].assign(repeat=1)
    again["predicted"] = np.where(rng.random(len(again)) < 0.3, "fear", again["predicted"])
    write_table(pd.concat([once, again]), study["predictions"], PREDICTIONS)
    metrics = pd.read_csv(study["metrics"])
    metrics.loc[metrics["experiment"] == "tsdgcn", "repeats"] = 2
    write_table(metrics, study["metrics"], list(metrics))
    words = written(study, tmp_path).of_section["results"]
    mine = pd.concat([once[once["experiment"] == "tsdgcn"], again])
    scores = {
        "Accuracy": [accuracy_score(t["truth"], t["predicted"]) for _, t in mine.groupby("repeat")],
        "UF1": [f1_score(t["truth"], t["predicted"], average="macro") for _, t in mine.groupby("repeat")],
    }
    for values in scores.values():
        assert f"seeds ± {np.std(values, ddof=1):.3f}" in words
    assert words.count("seeds ±") == 3 + 1, "three metrics of the one experiment with repeats, and the explanation"
    folds = [f1_score(t["truth"], t["predicted"], average="macro") for _, t in mine.groupby(["repeat", "fold"])]
    assert words.count(f"{np.mean(folds):.3f}") == 1 and "F1, mean of folds” is not a result" in words


def test_confusion_has_the_counts_and_rates_of_the_predictions(study, page):
    predictions = pd.read_csv(study["predictions"])
    own = predictions[predictions["experiment"] == "tsdgcn"]
    counts = pd.crosstab(own["truth"], own["predicted"]).reindex(index=CLASSES, columns=CLASSES, fill_value=0)
    table = re.search(r'<table class="confusion".*?</table>', page.html, re.DOTALL).group(0)
    cells = re.findall(r'"rate">([\d–]+) ?%</span><span class="count">(\d+)</span>', table)
    assert [int(count) for _, count in cells] == counts.to_numpy().ravel().tolist()
    rates = (100 * counts.div(counts.sum(axis=1), axis=0)).to_numpy().ravel()
    assert [int(rate) for rate, _ in cells] == [int(f"{rate:.0f}") for rate in rates]


def test_clips_are_counted_and_failures_give_their_reason(page):
    text = " ".join(page.of_section["data"].split())
    assert "happiness15871" in text and "all1540391" in text and "all20200" in text
    failed = page.of_section["failed"]
    assert "no face found" in failed and "s02_happiness" in failed and "1 of 40" in failed
    assert "onset 9 lies after apex 3" in failed


def test_published_counts_stand_beside_what_was_found(study, page):
    found = {dataset["name"]: dataset for dataset in contents.datasets(study)}
    row = next(row for row in found["people-micro"]["counts"] if row["label"] == "happiness")
    assert row["expected"] == row["indexed"] + 7
    assert "classes: made-up-3" in page.text and "Published: Nobody et al.." in page.text
    cell = re.search(r'happiness</th><td class="n">(\d+)</td><td class="n bad">(\d+)</td>', page.html)
    assert cell and int(cell[1]) == int(cell[2]) + 7, "a difference is marked"
    assert found["people-macro"]["expected"] is None


def test_a_protocol_that_divides_subjects_is_called_so(study, page, tmp_path):
    assert "divides subjects" not in page.text
    metrics = pd.read_csv(study["metrics"]).assign(protocol="paper-holdout")
    metrics.to_csv(tmp_path / "metrics.csv", index=False)
    text = written(study | {"metrics": tmp_path / "metrics.csv"}, tmp_path).text
    assert "people of the test have other clips in training" in text
    assert "some of whom its training had seen" in text and "whom it did not see in training" not in text


def test_corrections_have_a_place_of_their_own(study, page):
    (dataset,) = (d for d in contents.datasets(study) if d["corrected"])
    assert [row["problem"] for row in dataset["corrected"]] == ["5 -> 15: a slip in the release"]
    assert [row["row"] for row in dataset["corrected"]] == ["2"], "rows are whole numbers"
    assert all(row["effect"] != "corrected" for row in dataset["problems"])
    assert "Corrections to people-micro" in page.text and "5 -> 15: a slip in the release" in page.text


def test_a_composite_is_counted_over_its_datasets(study, tmp_path):
    rows = [{"label": "happiness", "expected": 30, "found": 29}, {"label": "fear", "expected": 5, "found": 5}]
    experiments = {name: {"system": "tsdgcn", "micro": ["people-micro", "people-macro"]} for name in ("one", "two")}
    changed = study | {
        "counts": {"one": rows, "two": rows},
        "experiments": study["config"]["experiments"] | experiments,
    }
    (group,) = contents.recognised(changed)
    assert group["experiments"] == ["one", "two"] and group["total"] == {"expected": 35, "found": 34}
    text = written(changed, tmp_path).text
    assert "people-micro + people-macro" in text and "what one, two recognise" in text
    assert contents.recognised(study | {"counts": {"one": rows[:1] + [rows[1] | {"expected": None}]},
                                        "experiments": experiments})[0]["total"]["expected"] is None  # fmt: skip


def test_each_database_of_a_composite_has_its_classes_and_its_confusion_matrix(study, tmp_path):
    predictions = pd.read_csv(study["predictions"])
    predictions.loc[predictions["subject"].isin(sorted(set(predictions["subject"]))[:3]), "dataset"] = "other"
    predictions.to_csv(tmp_path / "predictions.csv", index=False)
    parts = []
    for name, table in predictions.groupby("experiment", sort=False):
        table.to_csv(tmp_path / "own.csv", index=False)
        parts.append(tmp_path / f"{name}.csv")
        evaluate(tmp_path / "own.csv", parts[-1], EvaluationSettings(name, "loso", CLASSES))
    merge(parts, tmp_path / "metrics.csv")
    changed = study | {name: tmp_path / f"{name}.csv" for name in ("predictions", "metrics")}
    result = next(r for r in contents.results(changed) if r["name"] == "tsdgcn")
    for part in result["parts"]:
        own = predictions[(predictions["experiment"] == "tsdgcn") & (predictions["dataset"] == part["name"])]
        counts = [[cell["count"] for cell in row["cells"]] for row in part["confusion"]]
        assert np.array_equal(counts, pd.crosstab(own["truth"], own["predicted"]).reindex(
            index=CLASSES, columns=CLASSES, fill_value=0))  # fmt: skip
    assert {part["name"] for part in result["parts"]} == {"people-micro", "other"}
    text = written(changed, tmp_path).of_section["classes"]
    assert "tsdgcn on other" in text and "tsdgcn on people-micro" in text


def test_every_variant_is_shown_with_the_papers_number_and_none_is_called_best(study, tmp_path):
    rows = [
        {"row": f"alpha {a}", "column": f"gamma {g}", "metric": m, "value": 0.5 + 0.1 * (a == g), "ci_low": 0.4,
         "ci_high": 0.7, "n_clips": 40, "published": 0.7273 if m == "accuracy" and a == g == 1 else "",
         "caveat": "chosen on test" if a == g == 1 else ""}
        for a in (1, 2) for g in (1, 2) for m in ("accuracy", "uf1", "uar", "accuracy_finetune", "accuracy_pretrain")
    ]  # fmt: skip
    write_table(rows, tmp_path / "focal.csv", GRID)
    config = study["config"] | {"tables": {"focal": {"of": "tsdgcn", "published": "somewhere"}}}
    changed = study | {"variants": {"focal": tmp_path / "focal.csv"}, "tables": {"focal": "Focal"}, "config": config}
    (table,) = contents.variants(changed)
    assert table["tried"] == 4 and table["parts"][0]["rows"][0]["cells"][0]["published"] == pytest.approx(0.7273)
    assert [c["shade"] for c in table["parts"][0]["rows"][0]["cells"]] == [1.0, 0.0]
    text = written(changed, tmp_path).of_section["variants"]
    assert "4 configurations of tsdgcn were tried" in text and "(72.7 %)" in text and "chosen on test" in text
    assert "The best cell of a table is no result" in text and "learning rate" in text, "what a scalar alpha does"


@pytest.fixture(scope="module")
def with_figures(study, tmp_path_factory):
    """The study with a figure of each kind, and its table of variants drawn too."""
    folder = tmp_path_factory.mktemp("figures")
    plain = {"note": "", "synthetic": False, "tried": 48, "published": None}
    plain |= {"reading": "", "experiments": {}, "flow_labels": None}
    experiments = {
        "tsdgcn": {"system": "tsdgcn", "macro": "people-macro", "micro": ["people-micro"], "classes": CLASSES}
    }
    own = plain | {"experiments": experiments}
    figures_ = {
        "focal": plain | {"kind": "variants", "title": "Focal", "tried": 1, "published": "tsdgcn-mmew-focal"},
        "II": own | {"kind": "methods", "title": "Table II", "published": "tsdgcn-mmew-methods"},
        "III": own | {"kind": "stages", "title": "Table III", "note": "<b>said</b>"},
        "6": own | {"kind": "confusion", "title": "Figure 6"},
        "8": plain | {"kind": "flow-statistics", "title": "Figure 8", "tried": 0},
    }
    cell = {"row": "alpha 1", "column": "gamma 1", "metric": "accuracy", "value": 0.5, "ci_low": 0.4, "ci_high": 0.6}
    rates = [
        cell,
        cell | {"metric": "uf1"},
        cell | {"metric": "accuracy_finetune"},
        cell | {"metric": "accuracy_pretrain"},
    ]
    write_table(rates, folder / "grid.csv", GRID)
    inputs = {"metrics": study["metrics"], "accuracy": study["accuracy_train"], "predictions": study["predictions"],
              "table": folder / "grid.csv"}  # fmt: skip
    for name, settings in figures_.items():
        if name != "8":
            tabulate_figure(inputs, folder / f"{name}.csv", FigureSettings.from_params(settings))
    flow = [
        {"clip": f"c{n}", "subject": "p", "label": CLASSES[n % 2], "mean": 1.0 + n, "variance": 1} for n in range(4)
    ]
    write_table(flow, folder / "8.csv", FLOW_STATISTICS)
    config = study["config"] | {"tables": {"focal": {"of": "tsdgcn", "published": "tsdgcn-mmew-focal"}}}
    return study | {"figures": figures_, "figure_tables": {name: folder / f"{name}.csv" for name in figures_},
                    "config": config, "tables": {"focal": "Focal"},
                    "variants": {"focal": folder / "grid.csv"}}  # fmt: skip


@pytest.mark.usefixtures("without_drawings")
def test_figures_are_shown_with_what_could_explain_a_difference(with_figures, tmp_path):
    page = written(with_figures, tmp_path)
    assert "#figures" in page.values("href")
    text = " ".join(page.of_section["figures"].split())
    for title in ("Table II", "Table III", "Figure 6", "Figure 8", "<b>said</b>", "TLCNN [42]", "69.4 %"):
        assert title in text
    assert "The study trained 48 different configurations" in text and "48 configurations were tried" in text
    metrics = pd.read_csv(with_figures["metrics"])
    own = metrics.query("experiment == 'tsdgcn' and scope == 'pooled' and metric == 'accuracy'").iloc[0]
    inside = own["ci_low"] <= 0.727 <= own["ci_high"]
    assert ("No published number beside ours lies outside" if inside else "1 of 1 published numbers") in text
    assert "quoted by the paper from its reference [3]" in text
    assert "Only our numbers are shown" in text, "of the stages, which have no published numbers here"
    assert "happiness22.00" in text.replace(" ", "") and "all42.501.00to4.0045%" in text.replace(" ", "")
    variants = " ".join(page.of_section["variants"].split())
    assert "1 of 1 published numbers beside ours lies outside our 95 % interval" in variants
    assert "10 the focal loss with more than two classes" in variants and "18 the split" in variants
    assert "19 macro images" not in variants, "only entries that the number names"
    drawings = [a.get("aria-label", "") for tag, a in page.tags if tag == "svg"]
    assert len(drawings) == 5 and sum("mean flow from" in label for label in drawings) == 1


@pytest.mark.usefixtures("without_drawings")
def test_caveats_of_published_numbers_are_told_with_the_systems_that_they_are_about(with_figures, tmp_path):
    net = with_figures["figures"]["II"]["experiments"]["tsdgcn"] | {"system": "ststnet"}
    own = with_figures["figures"]["II"] | {"published": "megc2019-methods", "experiments": {"tsdgcn": net}}
    metrics = pd.read_csv(with_figures["metrics"])
    write_table(metrics.assign(ci_low=metrics["value"], ci_high=metrics["value"]), tmp_path / "metrics.csv", METRICS)
    tabulate_figure({"metrics": tmp_path / "metrics.csv"}, tmp_path / "c.csv", FigureSettings.from_params(own))
    changed = with_figures | {"figures": {"c": own}, "figure_tables": {"c": tmp_path / "c.csv"}, "variants": {}}
    text = " ".join(written(changed, tmp_path).of_section["figures"].split())
    assert "STSTNet [UAR as printed]: the UAR printed is macro precision" in text
    assert "CapsuleNet: epoch chosen on the test fold" in text and "OFF-ApexNet: epoch selection not stated" in text
    assert "2 of 2 published numbers" in text and "Entries of" not in text, "the ledger is about TSDGCN"
    numbers = text.replace(" ", "")
    assert "metricprotocolourspublished" in numbers and "EMRUF1–78.85%EMRUAR–78.24%" in numbers


@pytest.mark.usefixtures("without_drawings")
def test_a_study_without_figures_has_no_such_section(study, tmp_path):
    page = written(study, tmp_path)
    assert "figures" not in page.of_section and "#figures" not in page.values("href")


def test_pictures_show_onset_keyframes_apex_and_flow(page):
    images = [a for tag, a in page.tags if tag == "img"]
    assert len(images) == 1 + (20 + 39) * (6 + 5), "the key, and every processed clip of both datasets"
    alts = [image["alt"] for image in images]
    assert sum("onset, frame 3" in alt for alt in alts) == 59
    assert sum("apex (annotated), frame 9" in alt for alt in alts) == 59
    assert sum(alt.startswith("Flow of people-micro/") for alt in alts) == 39 * 5
    shown = {alt.split("Aligned face of ")[1].split(",")[0] for alt in alts if "Aligned" in alt}
    assert len(shown) == 12
    assert all(image.get("loading") == "lazy" for image in images[1:])
    assert len({image["src"] for image in images}) == 1 + 6 + 3  # the key; frames; three strengths of flow


def test_every_picture_and_drawing_has_a_text(page):
    for tag, attributes in page.tags:
        if tag == "img":
            assert len(attributes["alt"]) > 10
        if tag == "svg":
            assert attributes["role"] == "img" and len(attributes["aria-label"]) > 20
    assert sum(tag == "svg" for tag, _ in page.tags) == 3 + 3 + 3  # metrics; training; pairs, classes, subjects


def test_nothing_is_loaded_from_anywhere(page):
    assert not re.search(r"https?://|@import|//[\w.-]+\.\w+/", re.sub(r"base64,[\w+/=]*", "", page.html))
    assert not {"link", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in page.tags}
    assert all(value.startswith(("#", "data:image/jpeg;base64,")) for value in page.values("src", "href", "xlink:href"))
    assert set(re.findall(r"url\((.)", page.html)) <= {"#"}
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a)
    (script,) = re.findall(r"<script>(.*?)</script>", page.html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert not re.search(r"\b(fetch|XMLHttpRequest|import\(|eval|innerHTML)\b", script)


def data_of(page: Page) -> dict:
    """What the script of a page knows of the predictions."""
    return json.loads(re.search(r'id="predictions">(.*?)</script>', page.html, re.DOTALL).group(1))


def test_the_lists_behind_the_cells_hold_every_prediction_once(study, page):
    data, predictions = data_of(page), pd.read_csv(study["predictions"])
    assert [system["name"] for system in data["systems"]] == ["tsdgcn", "majority", "linear-svm", "softmax"]
    rows = []
    for system in data["systems"]:
        for place, repeat, truth, predicted, *shares in system["rows"]:
            clip, subject, dataset, sheet = data["clips"][place]
            assert sheet == f"sheet-{safe_filename(dataset)}-{safe_filename(subject)}"
            named = {"experiment": system["name"], "repeat": repeat, "clip": clip, "subject": subject}
            named |= {"truth": system["classes"][truth], "predicted": system["classes"][predicted]}
            rows.append(named | {f"p_{c}": n / 1000 for c, n in zip(system["classes"], shares, strict=True)})
    found = pd.DataFrame(rows)
    order = ["experiment", "repeat", "clip"]
    pd.testing.assert_frame_equal(
        found.sort_values(order, ignore_index=True),
        predictions[list(found)].sort_values(order, ignore_index=True),
        check_dtype=False, atol=5e-4,
    )  # fmt: skip


def test_every_drawing_brings_its_numbers_and_is_written_beside_the_page(study, page, tmp_path):
    write_report(study, tmp_path / "report.html", tmp_path / "figures")
    names = [a["data-name"] for tag, a in page.tags if tag == "figure" and a.get("class", "").startswith("drawing")]
    assert len(names) == sum(tag == "svg" for tag, _ in page.tags) == len(set(names))
    assert sorted(f.name for f in (tmp_path / "figures").iterdir()) == sorted(
        f"{name}.{end}" for name in names for end in ("csv", "svg")
    )
    embedded = re.findall(
        r'<figure class="drawing[^>]*data-name="([^"]+)".*?<template class="csv">(.*?)</template>', page.html, re.DOTALL
    )
    for name, text in embedded:
        table = pd.read_csv(io.StringIO(html.unescape(text)))
        pd.testing.assert_frame_equal(table, pd.read_csv(tmp_path / "figures" / f"{name}.csv"))
        assert len(table) and len(table.columns) >= 3
        drawing = ElementTree.parse(tmp_path / "figures" / f"{name}.svg")
        assert drawing.getroot().tag == "{http://www.w3.org/2000/svg}svg"
        raw = (tmp_path / "figures" / f"{name}.svg").read_text()
        assert "var(" not in raw and 'fill="#ffffff"' in raw and "(synthetic)" in "".join(drawing.getroot().itertext())
    forest = pd.read_csv(tmp_path / "figures" / "results-uf1.csv").set_index("experiment")
    metrics = pd.read_csv(study["metrics"]).query("scope == 'pooled' and metric == 'uf1'").set_index("experiment")
    assert forest["value"].to_dict() == pytest.approx(metrics["value"].to_dict())
    assert list(tmp_path.glob(".*")) == []


def test_figures_of_one_name_are_refused():
    drawn = Figures(":root { --ink: #1c2330; }")
    svg = '<svg role="img" aria-label="x" viewBox="0 0 100 50"><path style="stroke: var(--ink)"/></svg>'
    assert drawn.keep(svg, "a\n1\n", "one", "A title that is too long for one line")["title"].count("\n") >= 1
    with pytest.raises(ValueError, match="two figures of the report are named one"):
        drawn.keep(svg, "a\n1\n", "one")


def of_published(layouts: dict[str, str], class_set: str, system: str, values: dict[str, float]) -> tuple[dict, dict]:
    """An experiment and its study, on datasets of the given layouts."""
    ours = {metric: {"value": value, "low": value - 0.1, "high": value + 0.1} for metric, value in values.items()}
    main = {"name": "mine", "classes": [{"name": c} for c in class_sets()[class_set].classes], "metrics": ours}
    config = {"datasets": {name: {"layout": layout} for name, layout in layouts.items()},
              "experiments": {"mine": {"system": system, "micro": list(layouts)}}}  # fmt: skip
    return main, {"config": config, "synthetic": False}


def test_published_numbers_stand_beside_the_answer_for_the_same_clips_and_classes_alone():
    values = {"accuracy": 0.6, "uf1": 0.7, "uar": 0.7}
    found = in_print.beside(*of_published({"m": "mmew-micro"}, "mmew-5", "tsdgcn", values))
    assert (found["data"], found["metrics"], len(found["rows"])) == ("MMEW", ["accuracy"], 23)
    assert found["same"]["values"] == {"accuracy": 0.727} and found["outside"] == {"accuracy": True}
    assert "split not stated" in found["same"]["caveats"][0]
    three = {"c": "casme2", "s": "samm", "h": "smic-hs"}
    found = in_print.beside(*of_published(three, "megc2019", "ststnet", values))
    assert found["data"] == "MEGC2019 composite" and found["metrics"] == ["uf1", "uar"]
    assert found["best"]["uf1"]["system"] == found["best"]["uar"]["system"] == "EMR"
    assert found["same"]["values"] == {"uf1": 0.7353, "uar": 0.7186} and found["outside"] == {
        "uf1": False,
        "uar": False,
    }
    assert in_print.beside(*of_published({"f": "flow-images"}, "megc2019", "msjfn", values))["same"] is None
    assert in_print.beside(*of_published({"m": "mmew-micro"}, "mmew-6", "tsdgcn", values)) is None
    assert in_print.beside(*of_published({"s": "samm"}, "samm-5-estimated", "tsdgcn", values)) is None
    assert in_print.beside(*of_published({"m": "manifest"}, "mmew-5", "tsdgcn", values)) is None


def test_the_classes_that_have_published_numbers_are_those_of_the_class_sets():
    layouts = {"mmew-5": ["mmew-micro"], "samm-5-objective": ["samm"], "megc2019": ["casme2", "samm", "smic-hs"]}
    names = {published_as(of, class_sets()[name].classes) for name, of in layouts.items()}
    assert names == {"MMEW", "SAMM", "MEGC2019 composite"}
    assert names <= {row["dataset"] for row in published().values()}
    assert published_as(["casme2", "samm"], class_sets()["megc2019"].classes) is None


@pytest.mark.usefixtures("without_drawings")
def test_the_answer_says_what_was_printed_and_what_must_be_known(study, page, tmp_path):
    assert "No published numbers exist for these data: merflow made the clips." in page.of_section["answer"]
    config = study["config"] | {
        "datasets": {"people-macro": {"layout": "manifest"}, "people-micro": {"layout": "mmew-micro"}},
        "experiments": {"tsdgcn": {"system": "tsdgcn", "micro": "people-micro", "seeds": (0,)}},
    }
    words = " ".join(written(study | {"config": config, "synthetic": False}, tmp_path).of_section["answer"].split())
    assert "Printed for MMEW: Accuracy at most 0.727 (TSDGCN; ours 0.744" in words
    assert "TSDGCN itself was printed with Accuracy 0.727 (inside our interval)" in words
    assert "Our protocol is loso; that of the printed numbers: not stated" in words
    assert "quoted by the paper from its reference [3]" in words and "23 published systems" in words
    config["datasets"]["people-micro"] = {"layout": "manifest"}
    words = written(study | {"config": config, "synthetic": False}, tmp_path).of_section["answer"]
    assert "No published numbers are known to merflow for these data" in words


def contrast(one: str, other: str) -> float:
    """Contrast of two colours, ``#rrggbb``, by WCAG 2.1."""

    def light(colour):
        channels = np.array([int(colour[n : n + 2], 16) for n in (1, 3, 5)]) / 255
        return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4) @ (
            0.2126, 0.7152, 0.0722)  # fmt: skip

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_text_can_be_read_in_both_modes(page, mode):
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    rule = re.findall(r":root {(.*?)}", page.html, re.DOTALL)[mode]
    colours = dict(re.findall(r"--([\w-]+): (#\w{6})", rule))
    for text in ("ink", "muted", "first", "second", "leak", "clean"):
        for ground in ("page", "card"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    assert contrast(colours["ink"], colours["notice"]) >= 4.5 and contrast(colours["page"], colours["first"]) >= 4.5
    assert contrast(colours["edge"], colours["page"]) >= 3, "borders of buttons"
    heat = np.array([int(n) for n in re.search(r"--heat: (\d+) (\d+) (\d+)", rule).groups()])
    page_ = np.array([int(colours["page"][n : n + 2], 16) for n in (1, 3, 5)])
    full = "#" + "".join(f"{round(c):02x}" for c in 0.55 * heat + 0.45 * page_)
    assert contrast(colours["ink"], full) >= 4.5, "text of a cell at its darkest"


def test_ids_are_unique_and_references_lead_somewhere(page):
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    used = {value[1:] for value in page.values("href") if value.startswith("#")}
    used |= set(re.findall(r"url\(#([^)]*)\)", page.html))
    assert used <= set(ids)


def test_colours_follow_the_readers_mode(page):
    assert "prefers-color-scheme: dark" in page.html and "var(--first)" in page.html
    drawings = "".join(re.findall(r"<svg.*?</svg>", page.html, re.DOTALL))
    assert not re.search(r"#[0-9a-fA-F]{6}\b", drawings)


def test_demo_data_are_called_synthetic_everywhere_they_show(page):
    assert "(synthetic)" in re.search(r"<title>(.*?)</title>", page.html).group(1)
    for section in ("results", "classes", "data", "pictures", "curves"):
        assert "synthetic" in page.of_section[section]
    assert "no claim about people" in page.of_section["answer"]
    assert page.of_section["pictures"].count("synthetic") == 1 + 2 + 20 + 39
    assert "synthetic demo data" in summary_of(page)


def summary_of(page: Page) -> str:
    """Return the summary of a study whose report is ``page`` and whose metrics are empty."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "report.html").write_text(page.html)
        Path(folder, "metrics.csv").write_text("experiment,scope,metric,value,ci_low,ci_high\n")
        return summary(Path(folder))


def test_real_data_are_not_called_synthetic(tmp_path):
    page = written(make_study(tmp_path, synthetic=False, bad=None), tmp_path)
    assert "synthetic" not in re.sub(r"base64,[\w+/=]*", "", page.html).lower()
    assert "synthetic" not in summary_of(page)
    assert "every indexed clip was processed" in page.of_section["failed"]


@pytest.mark.usefixtures("without_drawings")
def test_only_the_demo_datasets_of_a_mixed_study_are_synthetic(study, tmp_path):
    config = study["config"] | {"datasets": study["config"]["datasets"] | {"people-micro": {"layout": "manifest"}}}
    page = written(study | {"config": config}, tmp_path)
    marked = [a for tag, a in page.tags if tag == "h3"]
    assert marked
    assert [d["synthetic"] for d in contents.datasets(study | {"config": config})] == [True, False]
    assert page.of_section["pictures"].count("synthetic") == 1 + 1 + 20


EVIL = '<script>alert("1")</script>'


def test_text_of_users_stays_text(tmp_path):
    classes = ['<img src="x" onerror="alert(1)">', "b&b <i>", "'quoted'"]
    skills = {'net"><blink>': 0.7, "majority": 0.1}
    study = make_study(tmp_path, title=EVIL, bad=EVIL, classes=classes, skills=skills, synthetic=False)
    study["config"] = {"note": EVIL, "datasets": {}}
    study["versions"] = {EVIL: EVIL}
    page = written(study, tmp_path)
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"blink", "i"}
    assert [dict(a).get("id", "") for tag, a in page.tags if tag == "script"] == ["predictions", ""]
    assert data_of(page)["systems"][0] | {"rows": []} == {"name": 'net"><blink>', "classes": classes, "rows": []}
    assert all(a["src"].startswith("data:") for tag, a in page.tags if tag == "img")
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    for section in ("failed", "settings", "versions"):
        assert EVIL in page.of_section[section]
    assert classes[0] in page.of_section["classes"] and 'net"><blink>' in page.of_section["answer"]
    assert any(classes[0] in alt for alt in page.values("alt"))


def test_same_inputs_same_bytes(study, page, tmp_path):
    assert written(study, tmp_path).html == page.html


@pytest.mark.parametrize(
    "skills, words",
    [
        ({"tsdgcn": 0.95, "majority": 0.0}, "That is above the best floor, majority"),
        ({"tsdgcn": 0.5, "linear-svm": 0.4}, "cannot be told apart"),  # higher, but the interval holds 0
        ({"tsdgcn": 0.0, "linear-svm": 1.0}, "below"),
        ({"tsdgcn": 0.5}, "No floor ran on the same clips"),
        ({"majority": 0.0, "softmax": 0.6}, "No network was trained in this study. The best floor, softmax"),
        ({"tsdgcn": 0.8, "another": 0.3, "majority": 0.0}, "highest UF1 of 2 is shown"),
    ],
)
@pytest.mark.usefixtures("without_drawings")
def test_verdict_follows_the_numbers(tmp_path, skills, words):
    study = make_study(tmp_path, skills=skills)
    found = contents.results(study)
    answer = contents.answer(study, found)
    page = written(study, tmp_path)
    assert words in page.of_section["answer"].replace("\n", " ")
    assert ("An interval without width" in page.of_section["results"]) == any(r["flat"] for r in found)
    if answer["verdict"]:
        difference = answer["difference"]["uf1"]
        sides = {"above": difference["low"] > 0, "below": difference["high"] < 0}
        assert sides.get(answer["verdict"], difference["low"] <= 0 <= difference["high"])


def test_timings_sum_the_jobs_of_this_study_and_its_datasets(study, page):
    rows = {row["stage"]: row for row in contents.timings(study)}
    assert rows["Find and crop faces"] | {"stage": ""} == {
        "stage": "", "jobs": 2, "seconds": 21.0, "longest": 11.0, "memory": 201.0
    }  # fmt: skip
    assert rows["Fine-tune"]["seconds"] == 13 and rows["Gather tables"]["jobs"] == 1
    assert rows["Build graphs"]["memory"] == 0  # NA in the file
    assert "1 min 05 s" in page.of_section["timings"]


def test_numbers_for_people():
    assert [duration(s) for s in (0.04, 59.94, 59.96, 185, 3600, 7805)] == [
        "0.0 s", "59.9 s", "1 min 00 s", "3 min 05 s", "1 h 00 min", "2 h 10 min"
    ]  # fmt: skip
    assert [memory(m) for m in (0, 812.4, 2048)] == ["–", "812 MB", "2.0 GB"]


@pytest.mark.usefixtures("without_drawings")
def test_stills_failed_datasets_and_missing_benchmarks_are_shown_as_such(tmp_path):
    study = make_study(tmp_path)
    for path, table in zip(study["faces"]["people-macro"], study["keyframes"]["people-macro"], strict=True):
        with h5py.File(path, "a") as file:
            names = [group.attrs["clip"] for group in file.values()]
        still = {"index": 1, "frame": 3, "magnitude_px": 0, "apex_source": "still"}
        write_table([{"clip": name} | still for name in names], table, KEYFRAMES)
    for path in study["flows"]["people-macro"]:
        with h5py.File(path, "a") as file:
            for group in file.values():
                del group["flow"]
                group["flow"] = np.zeros((0, 2, SIZE, SIZE), np.float16)
    for path in study["faces"]["people-micro"]:
        with h5py.File(path, "a") as file:
            for group in file.values():
                group.attrs["status"] = "no face found"
    page = written(study | {"benchmarks": tmp_path / "nothing"}, tmp_path)
    images = [a["alt"] for tag, a in page.tags if tag == "img"]
    assert len(images) == 1 + 20 and "still, frame 3" in images[1]
    assert "No clip of this dataset was processed" in page.of_section["pictures"]
    assert "No benchmarks were found" in page.of_section["timings"]


def test_curves_show_the_mean_of_the_folds_while_half_of_them_train():
    rows = [
        {"run": run, "epoch": epoch, "split": "train", "loss": float(run), "accuracy": 0.5}
        for run, last in ((1, 4), (2, 4), (3, 9))
        for epoch in range(1, last + 1)
    ]
    svg = figures.curves("mine", pd.DataFrame(rows), "x")
    assert "mean of 3 runs" in svg and "train loss 2.00" in svg  # mean of 1, 2, 3 at epoch 4; not the last run's 3
    alone = figures.curves("mine", pd.DataFrame(rows).query("run == 3"), "x")
    assert "train loss 3.00" in alone and "mean of" not in alone


def test_pictures_keep_colours_and_are_small():
    image = np.zeros((300, 200, 3), np.uint8)
    image[..., 0] = 200
    data = base64.b64decode(figures.picture(image).removeprefix("data:image/jpeg;base64,"))
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert decoded.shape == (128, 85, 3)
    assert decoded.mean((0, 1)) == pytest.approx((200, 0, 0), abs=4)
    noise = np.random.default_rng(0).integers(0, 255, (512, 512), dtype=np.uint8)
    assert len(figures.picture(noise)) < 12_000


def test_missing_table_is_named(study, tmp_path):
    with pytest.raises(InputError, match="gone.csv does not exist"):
        write_report(study | {"metrics": tmp_path / "gone.csv"}, tmp_path / "report.html")
    assert not list(tmp_path.iterdir())


def test_study_files_gives_write_report_the_files_of_the_rule(study, tmp_path):
    names = ["people-macro", "people-micro"]
    settings = {
        "prepared": [[name, "default"] for name in names],
        "experiments": {"tsdgcn": {"system": "tsdgcn"}},
        "counts": {},
        "tables": {},
        **{name: study[name] for name in ("name", "title", "synthetic", "config", "benchmarks")},
    }
    inputs = {
        **{name: [str(study[name][d]) for d in names] for name in ("clips", "problems", "classes", "quality")},
        **{
            name: [str(file) for d in names for file in study[of][d]]
            for name, of in (("faces", "faces"), ("keyframes", "keyframes"), ("flow", "flows"))
        },
        **{name: str(study[name]) for name in ("predictions", "metrics", "curves", "audit", "differences")},
        "accuracy": str(study["accuracy_train"]),
    }
    found = study_files(settings, inputs)
    for name in (
        "clips",
        "quality",
        "faces",
        "keyframes",
        "flows",
        "predictions",
        "metrics",
        "accuracy_train",
        "audit",
    ):
        assert found[name] == study[name]
    assert "numpy" in found["versions"]
    written(found, tmp_path)


def test_a_dataset_in_two_preparations_is_shown_twice():
    files = ["r/data/d/one/faces/a.h5", "r/data/d/two/faces/a.h5"]
    settings = {"name": "s", "title": "s", "synthetic": False, "experiments": {}, "counts": {}, "tables": {},
                "config": {}, "benchmarks": "b", "prepared": [("d", "one"), ("d", "two")]}  # fmt: skip
    inputs = {name: ["one.csv", "two.csv"] for name in ("clips", "problems", "classes", "quality")}
    inputs |= {name: [f.replace("faces", name) for f in files] for name in ("faces", "keyframes", "flow")}
    inputs |= dict.fromkeys(("predictions", "metrics", "accuracy", "curves"), "x.csv")
    found = study_files(settings, inputs)
    assert found["faces"] == {"d (one)": [Path(files[0])], "d (two)": [Path(files[1])]}
    assert list(found["quality"]) == ["d (one)", "d (two)"]
