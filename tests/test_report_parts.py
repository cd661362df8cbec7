"""The parts of the report: their numbers are those of the tables, and nothing in a name breaks out."""

import io
import re

import numpy as np
import pandas as pd
import pytest
from test_report import Page, make_study, written

from merflow.report import certainty, contents
from merflow.tables import CALIBRATION, COVERAGE, RELIABILITY, write_table

HOSTILE = 'a</svg><script>alert("&")</script>$x_1$'


def section(page: Page, name: str) -> str:
    return re.search(rf'<section id="{name}".*?</section>', page.html, re.DOTALL).group(0)


def read(text: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(text))


@pytest.fixture
def only_parts(monkeypatch):
    """Leaves out what takes time and is not what a test is about."""
    for slow in ("forests", "training_curves", "contact_sheets"):
        monkeypatch.setattr(contents, slow, lambda *_: [])


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
