"""Sections by class, by subject, and calibration."""

import io
import json
import re

import numpy as np
import pandas as pd
import pytest
from report_study import CLASSES, Page, with_settings, with_tables, written

from merflow.evaluation.evaluate import evaluate, merge
from merflow.evaluation.settings import EvaluationSettings
from merflow.report.sections import certainty
from merflow.report.sections import wrong as wrong_section
from merflow.report.sections.subjects import subjects_by_difficulty
from merflow.storage.files import safe_filename
from merflow.storage.tables import CALIBRATION, COVERAGE, PREDICTIONS, RELIABILITY, write_table

HOSTILE = 'a</svg><script>alert("&")</script>$x_1$'


def read(text: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(text))


# --- Classes and confusion --------------------------------------------------------------------------------------------


def test_confusion_has_counts_and_rates(study, page):
    predictions = pd.read_csv(study.tables["predictions"]).query("experiment == 'tsdgcn'")
    counts = pd.crosstab(predictions["truth"], predictions["predicted"])
    counts = counts.reindex(index=CLASSES, columns=CLASSES, fill_value=0)
    table = re.search(r'<table class="confusion".*?</table>', page.html, re.DOTALL).group(0)
    cells = re.findall(r'"rate">([\d–]+) ?%</span><span class="count">(\d+)</span>', table)
    assert [int(count) for _, count in cells] == counts.to_numpy().ravel().tolist()
    rates = (100 * counts.div(counts.sum(axis=1), axis=0)).to_numpy().ravel()
    assert [int(rate) for rate, _ in cells] == [int(f"{rate:.0f}") for rate in rates]


def test_lists_of_clips_hold_every_prediction(study, page):
    data = json.loads(re.search(r'id="predictions">(.*?)</script>', page.html, re.DOTALL).group(1))
    predictions = pd.read_csv(study.tables["predictions"])
    assert [system["name"] for system in data["systems"]] == ["tsdgcn", "majority", "linear-svm", "softmax"]
    rows = []
    for system in data["systems"]:
        for place, repeat, truth, predicted, *probs in system["rows"]:
            clip, subject, dataset, sheet = data["clips"][place]
            assert sheet == f"sheet-{safe_filename(dataset)}-{safe_filename(subject)}"
            named = {"experiment": system["name"], "repeat": repeat, "clip": clip, "subject": subject}
            named |= {"truth": system["classes"][truth], "predicted": system["classes"][predicted]}
            rows.append(named | {f"p_{c}": n / 1000 for c, n in zip(system["classes"], probs, strict=True)})
    listed = pd.DataFrame(rows)
    order = ["experiment", "repeat", "clip"]
    pd.testing.assert_frame_equal(
        listed.sort_values(order, ignore_index=True),
        predictions[list(listed)].sort_values(order, ignore_index=True),
        check_dtype=False, atol=5e-4,
    )  # fmt: skip


def test_datasets_of_a_composite_have_matrices(study, tmp_path):
    predictions = pd.read_csv(study.tables["predictions"])
    predictions.loc[predictions["subject"].isin(sorted(set(predictions["subject"]))[:3]), "dataset"] = "other"
    predictions.to_csv(tmp_path / "predictions.csv", index=False)
    parts = []
    for name, table in predictions.groupby("experiment", sort=False):
        table.to_csv(tmp_path / "one.csv", index=False)
        parts.append(tmp_path / f"{name}.csv")
        evaluate(tmp_path / "one.csv", parts[-1], EvaluationSettings(name, "loso", CLASSES))
    merge(parts, tmp_path / "metrics.csv")
    changed = with_tables(study, **{name: tmp_path / f"{name}.csv" for name in ("predictions", "metrics")})
    result = next(system for system in changed.systems if system.name == "tsdgcn")
    for part in result.parts:
        rows = predictions[(predictions["experiment"] == "tsdgcn") & (predictions["dataset"] == part.dataset)]
        counts = [[count for count, _ in cells] for cells in part.confusion.values()]
        expected = pd.crosstab(rows["truth"], rows["predicted"])
        assert np.array_equal(counts, expected.reindex(index=CLASSES, columns=CLASSES, fill_value=0))
    assert {part.dataset for part in result.parts} == {"people-micro", "other"}
    text = written(changed, tmp_path, "classes").of_section["classes"]
    assert "tsdgcn on other" in text and "tsdgcn on people-micro" in text


def test_class_table_has_values_and_intervals(study):
    table = pd.read_csv(study.tables["metrics"])
    for system in study.systems:
        for result in system.by_class.classes:
            values = table[(table["experiment"] == system.name) & (table["scope"] == f"class:{result.name}")]
            for row in values.to_dict("records"):
                expected = [row["value"], row["ci_low"], row["ci_high"]]
                assert list(vars(getattr(result, row["metric"])).values()) == pytest.approx(expected, nan_ok=True)
                assert result.clips == row["n_clips"]


# --- Wrong answers ----------------------------------------------------------------------------------------------------


def wrong_rows(page):
    """The cells of the rows of each system's table."""
    section = re.search(r'<section id="wrong"[^>]*>.*?</section>', page.html, re.DOTALL).group(0)
    return {
        name: [
            re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(<th scope=\"row.*?)</tr>", part)
        ]
        for name, part in re.findall(r"<summary>([\w-]+).*?</summary>(.*?)</details>", section, re.DOTALL)
    }


def test_wrong_answers_are_listed_with_probability(study, page):
    table = pd.read_csv(study.tables["predictions"])
    wrong = table[table["truth"] != table["predicted"]]
    assert set(wrong["experiment"]) == set(wrong_rows(page)) == {"tsdgcn", "majority", "linear-svm", "softmax"}
    for name, rows in wrong_rows(page).items():
        columns = ["clip", "subject", "truth", "predicted"]
        expected = wrong.loc[wrong["experiment"] == name, columns].assign(probability="0.600")
        assert rows == expected.to_numpy().tolist() and len(rows) > 3
    count = (wrong["experiment"] == "tsdgcn").sum()
    assert f"tsdgcn: {count} of 39 clips" in page.of_section["wrong"]
    assert f"majority (floor): {len(wrong_rows(page)['majority'])} of 39 clips" in page.of_section["wrong"]


def test_wrong_answers_of_many_clips_are_bounded(study, tmp_path, monkeypatch):
    monkeypatch.setattr(wrong_section, "ROWS", 12)
    page = written(study, tmp_path, "wrong")
    assert [len(rows) for rows in wrong_rows(page).values()] == [3] * 4
    assert page.of_section["wrong"].count("The first 3 are shown; predictions.csv") == 4


def test_wrong_answers_of_repeats_and_without_probabilities(study, tmp_path):
    once = pd.read_csv(study.tables["predictions"]).query("experiment == 'tsdgcn'").iloc[:5]
    changed = once.assign(truth="fear", predicted="surprise", p_surprise=np.nan)
    write_table(pd.concat([changed, changed.assign(repeat=1)]), tmp_path / "p.csv", PREDICTIONS)
    metrics = pd.read_csv(study.tables["metrics"]).query("experiment == 'tsdgcn'").assign(repeats=2)
    metrics.to_csv(tmp_path / "m.csv", index=False)
    page = written(with_tables(study, predictions=tmp_path / "p.csv", metrics=tmp_path / "m.csv"), tmp_path, "wrong")
    assert "tsdgcn: 10 of 10 predictions" in page.of_section["wrong"]
    rows = wrong_rows(page)["tsdgcn"]
    assert [row[2:] for row in rows] == [[repeat, "fear", "surprise", "–"] for repeat in "0" * 5 + "1" * 5]


# --- Subjects ---------------------------------------------------------------------------------------------------------


def test_hardest_subject_comes_first(study):
    subjects = subjects_by_difficulty(study)
    table = pd.read_csv(study.tables["predictions"])
    table = table.assign(right=table["truth"] == table["predicted"])
    groups = table.groupby(["dataset", "subject", "experiment"])["right"]
    for subject in subjects:
        for system, cell in zip(study.systems, subject.cells, strict=True):
            name = (subject.dataset, subject.name, system.name)
            assert (cell.correct, cell.n) == (groups.sum()[name], groups.size()[name])
    assert 4 * len(subjects) == groups.ngroups == 8 * 4
    trained = groups.mean().xs("tsdgcn", level="experiment").droplevel("dataset")
    accuracies = [trained[subject.name] for subject in subjects]
    assert accuracies == sorted(accuracies) and accuracies[0] < accuracies[-1], "by the trained system, not the floors"


def test_subjects_link_to_their_contact_sheets(page):
    links = re.findall(r'<a href="#(sheet-[^"]+)">', page.html)
    sheets = re.findall(r'<div id="(sheet-[^"]+)">', page.html)
    assert len(links) == 8 and len(sheets) == len(set(sheets)) == 12 and set(links) <= set(sheets)


def test_subject_without_predictions_has_an_empty_cell(study, tmp_path):
    table = pd.read_csv(study.tables["predictions"])
    without = table[(table["experiment"] != "softmax") | (table["subject"] != "people-micro/s03")]
    write_table(without, tmp_path / "predictions.csv", PREDICTIONS)
    changed = with_tables(study, predictions=tmp_path / "predictions.csv")
    subject = next(subject for subject in subjects_by_difficulty(changed) if subject.name == "people-micro/s03")
    assert [cell.n for cell in subject.cells] == [5, 5, 5, 0]


# --- Calibration ------------------------------------------------------------------------------------------------------


def with_calibration(study, folder, names):
    """The study with the three tables of calibration: two systems that are too confident, the second less so."""
    metrics, bins, shares = [], [], []
    for place, name in enumerate(names):
        values = {"temperature": 2.5, "ece_raw": 0.3 - 0.1 * place, "ece": 0.05, "nll_raw": 1.25, "nll": 0.75,
                  "brier_raw": 0.6, "brier": 0.4}  # fmt: skip
        for metric, value in values.items():
            ends = {"ci_low": value - 0.11, "ci_high": value + 0.13} if metric[:3] in ("nll", "bri") else {}
            metrics.append({"experiment": name, "metric": metric, "value": value, "n_clips": 39, **ends})
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
    write_table(metrics, folder / "calibration.csv", CALIBRATION)
    write_table(bins, folder / "reliability.csv", RELIABILITY)
    write_table(shares, folder / "coverage.csv", COVERAGE)
    return with_tables(study, **{name: folder / f"{name}.csv" for name in ("calibration", "reliability", "coverage")})


def test_calibration_is_described(study, tmp_path):
    page = written(with_calibration(study, tmp_path, ["tsdgcn", "ststnet"]), tmp_path, "certainty")
    words = " ".join(page.of_section["certainty"].split())
    assert "tsdgcn is too confident before calibration. Its probabilities are off by 0.300 on average" in words
    assert "ststnet is too confident before calibration. Its probabilities are off by 0.200 on average" in words
    # 1 - 2 * (0.5 - 0.3) answered, 0.5 + 0.4 * 0.5 of them right, 0.5 of all.
    assert "it answers 60 % of the clips, and 70 % of these answers are correct; without a threshold, 50 %" in words
    assert "0.750 [0.64, 0.88]" in words and "2.50" in words


def test_coverage_threshold_is_the_configured_one(study, tmp_path):
    changed = with_settings(with_calibration(study, tmp_path, ["tsdgcn"]), uncertain_below=0.75)
    content = certainty.content(changed)
    coverage = content["systems"][0].coverage
    assert content["threshold"] == 0.75
    assert coverage.answered == pytest.approx(0.1) and coverage.accuracy == pytest.approx(0.8)
    assert "10 % of the clips at threshold 0.75" in content["drawings"][1].svg


def test_calibration_drawings_save_every_number(study, tmp_path):
    changed = with_calibration(study, tmp_path, ["tsdgcn"])
    for drawing in certainty.content(changed)["drawings"]:
        pd.testing.assert_frame_equal(read(drawing.csv), pd.read_csv(changed.tables[drawing.name]))


def test_calibration_needs_probabilities(study, page):
    assert certainty.content(study) is None and "certainty" not in page.of_section


def test_hostile_names_in_calibration_are_escaped(study, tmp_path):
    for drawing in certainty.content(with_calibration(study, tmp_path, [HOSTILE]))["drawings"]:
        assert "<script" not in drawing.svg
        Page(drawing.svg)
