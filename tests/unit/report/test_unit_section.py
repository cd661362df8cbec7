"""The section of action units, beside classes and without them, with published scores where they compare."""

import numpy as np
import pandas as pd
import pytest
from report_study import make_study, with_settings, with_tables, written

from merflow.evaluation.evaluate import evaluate, merge
from merflow.evaluation.published import published
from merflow.evaluation.settings import EvaluationSettings
from merflow.report.settings import ExperimentSettings
from merflow.storage.tables import PREDICTIONS, write_table

UNITS = ["AU1", "AU4"]
CODED = {"people-micro": [40, 3]}


def unit_settings(system, floor):
    return ExperimentSettings(system, ["people-micro"], floor, "", [], "", coded=CODED)


EXPERIMENTS = {"mine": unit_settings("ststnet", floor=False), "all-ones": unit_settings("all-ones", floor=True)}


def with_units(study, folder, protocol="cross-dataset", alone=False):
    """The study with two systems that answer units on two databases; ``alone``: without those that answer classes."""
    folder.mkdir(exist_ok=True)
    rng, tables = np.random.default_rng(0), []
    for name in EXPERIMENTS:
        rows = []
        for clip in range(40):
            truth = "AU1+AU4" if clip % 3 else "none"
            predicted = "AU1+AU4" if name == "all-ones" else truth if rng.random() < 0.8 else "AU1"
            rows.append({"experiment": name, "repeat": 0, "fold": "f", "dataset": "ab"[clip % 2], "subject": clip // 5}
                        | {"clip": clip, "truth": truth, "predicted": predicted})  # fmt: skip
        write_table(rows, folder / "p.csv", PREDICTIONS)
        tables.append(folder / f"{name}.csv")
        evaluate(folder / "p.csv", tables[-1], EvaluationSettings(name, protocol, UNITS, units=True))
    merge([*tables, *([] if alone else [study.tables["metrics"]])], folder / "metrics.csv")
    changed = with_tables(study, metrics=folder / "metrics.csv")
    return with_settings(changed, experiments=({} if alone else dict(study.settings.experiments)) | EXPERIMENTS)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A study of clips that nobody drew."""
    return make_study(tmp_path_factory.mktemp("real"), synthetic=False)


def test_section_has_every_score_with_its_interval(real, tmp_path):
    report = with_units(real, tmp_path / "units")
    text = written(report, tmp_path, "action_units").of_section["action_units"]
    metrics = pd.read_csv(tmp_path / "units/metrics.csv")
    metrics = metrics[metrics["experiment"].isin(EXPERIMENTS)]
    for row in metrics[~metrics["scope"].str.contains("/")].to_dict("records"):
        assert f"{row['value']:.3f} [{row['ci_low']:.2f}, {row['ci_high']:.2f}]" in text, row
    assert "all-ones (floor)" in text and "mine" in text
    assert "people-micro403" in text.replace("\n", ""), "coded and not coded"


def test_published_scores_stand_beside_ours_with_their_caveats(real, tmp_path):
    numbers = {key: row for key, row in published().items() if key[0].startswith("units")}
    assert len(numbers) == 4 * 15
    text = written(with_units(real, tmp_path / "units"), tmp_path, "action_units").of_section["action_units"]
    for (_, system, _, _), number in numbers.items():
        own, _, caveat = number["caveat"].partition("; ")
        assert system in text and f"published: {own}" in text and text.count(caveat) == 1
        assert f"{number['value']:.3f}" in text
    within = written(with_units(real, tmp_path / "within", "loso"), tmp_path, "action_units")
    assert "published" not in within.of_section["action_units"], "another protocol"


def test_drawn_people_are_compared_with_nobody(study, tmp_path):
    page = written(with_units(study, tmp_path / "units"), tmp_path, "action_units")
    assert "published" not in page.of_section["action_units"] and "synthetic" in page.of_section["action_units"]


def test_bars_have_the_floor_beside_each_unit(real, tmp_path):
    report = with_units(real, tmp_path / "units")
    page = written(report, tmp_path, "action_units")
    figures = [value for value in page.values("id") if value.startswith("figure-units")]
    assert figures == ["figure-units-mine"]
    metrics = pd.read_csv(tmp_path / "units/metrics.csv").set_index(["experiment", "scope", "metric"])["value"]
    label = next(value for value in page.values("aria-label") if value.startswith("F1 of each unit by mine"))
    assert label.endswith("; ".join(f"{unit} {metrics['mine', f'unit:{unit}', 'f1']:.3f}" for unit in UNITS))


def test_study_without_classes_has_no_section_of_them(real, tmp_path):
    page = written(with_units(real, tmp_path / "units", alone=True), tmp_path)
    assert next(iter(page.of_section)) == "" and "action_units" in page.of_section
    assert not {"answer", "results", "differences", "classes", "wrong", "subjects"} & set(page.of_section)
    both = written(with_units(real, tmp_path / "both"), tmp_path).of_section
    assert {"answer", "results", "action_units"} <= set(both) and "mine" not in both["results"]
