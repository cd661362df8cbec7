"""Sections with tables and figures of the paper, and with tables of variants."""

import re
from dataclasses import replace

import pandas as pd
import pytest
from report_study import CLASSES, Page, with_settings, written

from merflow.evaluation.figure_tables import tabulate_figure
from merflow.evaluation.settings import ClipLabels, FigureExperiment, FigureSettings
from merflow.report.sections.differences import difference_drawing, system_pairs
from merflow.report.sections.results import metric_drawings
from merflow.report.sections.variants import variant_tables
from merflow.report.settings import VariantTableSettings
from merflow.storage.tables import FLOW_STATISTICS, GRID, METRICS, write_table

HOSTILE = 'a</svg><script>alert("&")</script>$x_1$'
OURS = {"tsdgcn": FigureExperiment("tsdgcn", "people-macro", ["people-micro"], CLASSES)}


def figure(kind: str, title: str, **changes) -> FigureSettings:
    settings = FigureSettings(kind, title, "", None, "", False, 48, OURS if kind != "variants" else {}, None)
    return replace(settings, **changes)


@pytest.fixture(scope="module")
def with_figures(study, tmp_path_factory):
    """The study with a figure of each kind, and a table of variants."""
    folder = tmp_path_factory.mktemp("figures")
    labels = ClipLabels(["people-micro"], CLASSES, None)
    figures = {
        "focal": figure("variants", "Focal", tried=1, published="tsdgcn-mmew-focal"),
        "II": figure("methods", "Table II", published="tsdgcn-mmew-methods"),
        "III": figure("stages", "Table III", note="<b>said</b>"),
        "6": figure("confusion", "Figure 6"),
        "8": figure("flow-statistics", "Figure 8", tried=0, flow_labels=labels),
    }
    cell = {"row": "alpha 1", "column": "gamma 1", "value": 0.5, "ci_low": 0.4, "ci_high": 0.6}
    metrics = ("accuracy", "uf1", "accuracy_finetune", "accuracy_pretrain")
    write_table([cell | {"metric": metric} for metric in metrics], folder / "grid.csv", GRID)
    inputs = {"metrics": study.tables["metrics"], "accuracy": study.tables["accuracy_train"],
              "predictions": study.tables["predictions"], "table": folder / "grid.csv"}  # fmt: skip
    for name, settings in figures.items():
        if name != "8":
            tabulate_figure(inputs, folder / f"{name}.csv", settings)
    flow = [
        {"clip": f"c{n}", "subject": "p", "label": CLASSES[n % 2], "mean": 1.0 + n, "variance": 1} for n in range(4)
    ]
    write_table(flow, folder / "8.csv", FLOW_STATISTICS)
    tables = {"focal": VariantTableSettings("Focal", "tsdgcn", "tsdgcn-mmew-focal")}
    changed = with_settings(study, figures=figures, tables=tables)
    files = {name: folder / f"{name}.csv" for name in figures}
    return replace(changed, figures=files, variants={"focal": folder / "grid.csv"})


def test_figures_name_what_could_explain_differences(with_figures, tmp_path):
    page = written(with_figures, tmp_path, "classes", "figures", "variants")
    text = " ".join(page.of_section["figures"].split())
    for title in ("Table II", "Table III", "Figure 6", "Figure 8", "<b>said</b>"):
        assert title in text
    assert "The study trained 48 different configurations" in text and "48 configurations were tried" in text
    metrics = pd.read_csv(with_figures.tables["metrics"])
    row = metrics.query("experiment == 'tsdgcn' and scope == 'pooled' and metric == 'accuracy'").iloc[0]
    inside = row["ci_low"] <= 0.727 <= row["ci_high"]
    assert ("No published number lies outside" if inside else "1 of 1 published numbers") in text
    assert "quoted by the paper from its reference [3]" in text
    assert "Only our numbers are shown" in text, "of the stages, which have no published numbers here"
    variants = " ".join(page.of_section["variants"].split())
    assert "1 of 1 published numbers differs from ours: it lies outside our 95 % interval" in variants
    assert "10 the focal loss with more than two classes" in variants and "18 the split" in variants
    assert "19 macro images" not in variants, "only entries that the number names"
    figures = re.search(r'<section id="figures">.*?</section>', page.html, re.DOTALL).group(0)
    assert "TLCNN [42]" in figures and figures.count("<svg") == 4
    matrix = re.search(r'<table class="confusion" data-system="tsdgcn".*?<tbody>(.*?)</tbody>', page.html, re.DOTALL)
    counts = pd.read_csv(with_figures.figures["6"])["count"].tolist()
    assert [int(n) for n in re.findall(r'<span class="count">(\d+)', matrix.group(1))] == counts


def test_published_rates_stand_in_the_matrix(with_figures, tmp_path):
    rows = pd.read_csv(with_figures.figures["6"]).astype({"differs": object})
    rows.loc[0, ["published", "differs"]] = [0.25, "yes"]
    rows.to_csv(tmp_path / "6.csv", index=False)
    settings = {"6": figure("confusion", "Figure 6", published="somewhere")}
    changed = replace(with_settings(with_figures, figures=settings), figures={"6": tmp_path / "6.csv"})
    page = written(changed, tmp_path, "figures")
    assert page.html.count("(25 %)") == 1


def test_caveats_name_the_systems(with_figures, tmp_path):
    experiments = {"tsdgcn": replace(OURS["tsdgcn"], system="ststnet")}
    settings = figure("methods", "Table", published="megc2019-methods", experiments=experiments)
    metrics = pd.read_csv(with_figures.tables["metrics"])
    write_table(metrics.assign(ci_low=metrics["value"], ci_high=metrics["value"]), tmp_path / "metrics.csv", METRICS)
    tabulate_figure({"metrics": tmp_path / "metrics.csv"}, tmp_path / "c.csv", settings)
    changed = replace(with_settings(with_figures, figures={"c": settings}), figures={"c": tmp_path / "c.csv"})
    text = " ".join(written(changed, tmp_path, "figures").of_section["figures"].split())
    assert "STSTNet [UAR as printed]: the UAR printed is macro precision" in text
    assert "CapsuleNet: epoch chosen on the test fold" in text and "OFF-ApexNet: epoch selection not stated" in text
    assert "2 of 2 published numbers" in text and "These entries of" not in text, "the ledger is about TSDGCN"


def test_variants_show_published_numbers(with_figures, tmp_path):
    rows = [
        {"row": f"alpha {a}", "column": f"gamma {g}", "metric": m, "value": 0.5 + 0.1 * (a == g), "ci_low": 0.4,
         "ci_high": 0.7, "n_clips": 40, "published": 0.7273 if m == "accuracy" and a == g == 1 else ""}
        for a in (1, 2) for g in (1, 2) for m in ("accuracy", "uf1", "uar", "accuracy_finetune", "accuracy_pretrain")
    ]  # fmt: skip
    write_table(rows, tmp_path / "focal.csv", GRID)
    changed = replace(with_figures, variants={"focal": tmp_path / "focal.csv"})
    (table,) = variant_tables(changed)
    (name, cells), _ = table.metrics[0].rows
    assert table.tried == 4 and name == "alpha 1" and cells[0][1] == pytest.approx(0.7273)
    assert [ours.value for ours, _ in cells] == pytest.approx([0.6, 0.5])
    text = written(changed, tmp_path, "variants").of_section["variants"]
    assert "4 configurations of tsdgcn were tried" in text and "(72.7 %)" in text
    assert "The best cell of a table is not a result" in text and "learning rate" in text, "what a scalar alpha does"


def test_study_without_figures_has_no_such_section(page):
    assert not {"figures", "variants"} & set(page.of_section) and "#figures" not in page.values("href")


def test_drawings_are_reproducible_and_escape_names(study):
    systems = [replace(s, name=HOSTILE) if s.name == "tsdgcn" else s for s in study.systems]
    pairs = [replace(pair, first=HOSTILE) for pair in system_pairs(study)]

    def drawings():
        return [*metric_drawings(systems), difference_drawing(pairs)]

    for drawing, again in zip(drawings(), drawings(), strict=True):
        assert drawing == again and "<script" not in drawing.svg
        assert len(re.search(r'aria-label="([^"]*)"', drawing.svg).group(1)) > 20
        Page(drawing.svg)
