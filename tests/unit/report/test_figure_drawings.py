"""Drawings of tables: files that stand alone, and the same in the page."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from merflow.errors import InputError
from merflow.evaluation.figure_tables import tabulate_figure
from merflow.evaluation.published import published
from merflow.evaluation.settings import FigureSettings
from merflow.report.figure_drawings import draw_file, draw_in_page
from merflow.storage.tables import COMPARISON, FLOW_STATISTICS, GRID, read_table, write_table

SVG = "{http://www.w3.org/2000/svg}"


def of_paper(folder, name: str, shift: float = 0.0):
    """A table of variants whose numbers are the paper's, shifted, with an interval of 4 points to each side."""
    rows = []
    for (table, row, column, metric), printed in published().items():
        if table == name:
            value = printed["value"] + shift
            cell = {"row": row, "column": column, "metric": metric, "value": value}
            tested = {"ci_low": value - 0.04, "ci_high": value + 0.04, "n_clips": 44}
            rows.append(cell | (tested if metric == "accuracy" else {}))
    write_table(rows, folder / "grid.csv", GRID)
    return folder / "grid.csv"


def settings(kind: str, **changes):
    values = {"kind": kind, "title": "A <title> & more", "note": "", "published": None, "reading": "", "tried": 25}
    return FigureSettings(**values | {"synthetic": False, "experiments": {}, "flow_labels": None} | changes)


def texts(svg: str) -> list[str]:
    drawing = ElementTree.fromstring(svg.replace("\N{NO-BREAK SPACE}", " "))
    return ["".join(text.itertext()) for text in drawing.iter(f"{SVG}text")]


def drawn(folder, grid, plan) -> str:
    tabulate_figure({"table": grid}, folder / "f.csv", plan)
    draw_file(folder / "f.csv", folder / "f.svg", plan)
    return (folder / "f.svg").read_text()


@pytest.mark.parametrize("table", ["focal", "graphs", "ablation"])
def test_cells_show_our_and_published_numbers(tmp_path, table):
    name = f"tsdgcn-mmew-{table}"
    svg = drawn(tmp_path, of_paper(tmp_path, name, 0.013), settings("variants", published=name))
    said = texts(svg)
    for (table_name, *_, metric), printed in published().items():
        if table_name == name and metric == "accuracy":
            assert f"{100 * (printed['value'] + 0.013):.1f} %" in said
            if table == "focal":
                assert f"({100 * printed['value']:.1f} %)" in said
    assert "A <title> & more" in said and "25 configurations tried." in said
    diamonds = len(re.findall(r"stroke: #a65300", svg))
    assert diamonds if table != "focal" else not diamonds, "bars have diamonds; of the heat map no cell is framed"


@pytest.mark.parametrize("suffix", ["", " with a name of many letters"])
def test_wide_column_names_of_heat_map_are_turned(tmp_path, suffix):
    cell = {"metric": "accuracy", "value": 0.5, "ci_low": 0.4, "ci_high": 0.6, "n_clips": 44}
    rows = [{"row": f"r{row}", "column": f"c{column}{suffix}"} | cell for row in range(3) for column in range(3)]
    write_table(rows, tmp_path / "grid.csv", GRID)
    svg = drawn(tmp_path, tmp_path / "grid.csv", settings("variants"))
    assert ("rotate(-40" in svg) == bool(suffix)


def test_cell_is_framed_if_published_number_is_outside(tmp_path):
    plan = settings("variants", published="tsdgcn-samm-focal")
    inside = drawn(tmp_path, of_paper(tmp_path, "tsdgcn-samm-focal", 0.039), plan)
    outside = drawn(tmp_path, of_paper(tmp_path, "tsdgcn-samm-focal", 0.042), plan)
    assert inside.count("stroke: #a65300") == 0 and outside.count("stroke: #a65300") == 25


def test_file_stands_alone(tmp_path):
    plan = settings("variants", published="tsdgcn-mmew-focal", synthetic=True)
    svg = drawn(tmp_path, of_paper(tmp_path, "tsdgcn-mmew-focal"), plan)
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SVG}svg" and float(root.get("width")) > 600 and root.get("viewBox")
    assert "var(--" not in svg and not re.search(r"#0[1-5]0[1-5]0[1-5]\b", svg), "real colours"
    assert "#ffffff" in svg and "#0072b2" in svg and "sans-serif" in svg and "DejaVu" not in svg
    assert not re.search(r"(href|src)=\"(?!#)|url\((?!#)|<script|<image", svg), "nothing is loaded"
    assert "Synthetic demo data: a test of the software, no claim about people." in texts(svg)
    assert "the paper 72.7\N{NO-BREAK SPACE}%" in root.get("aria-label")
    assert root.find(f"{SVG}title").text == root.get("aria-label")
    again = (tmp_path / "f.svg").read_bytes()
    draw_file(tmp_path / "f.csv", tmp_path / "f.svg", plan)
    assert (tmp_path / "f.svg").read_bytes() == again, "same inputs, same bytes"


def test_page_drawing_has_colour_names_and_no_title(tmp_path):
    plan = settings("variants", published="tsdgcn-mmew-ablation")
    drawn(tmp_path, of_paper(tmp_path, "tsdgcn-mmew-ablation"), plan)
    svg, legend = draw_in_page(tmp_path / "f.csv", plan, "here")
    assert "var(--first)" in svg and "var(--second)" in svg and "#0072b2" not in svg
    said = texts(svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))
    assert "72.7 %" in said and not any("title" in text or "tried" in text for text in said)
    assert "Diamond: the published number." in legend
    assert all(name.startswith("here-") for name in re.findall(r'\bid="(.*?)"', svg))


def test_long_row_names_are_not_cut(tmp_path):
    """Rows of Table VII differ in their last words: none may be cut off."""
    name = "tsdgcn-mmew-ablation"
    svg = drawn(tmp_path, of_paper(tmp_path, name), settings("variants", published=name))
    said = " ".join(texts(svg))
    for key in published():
        if key[0] == name:
            assert all(word in said for word in key[1].split(", "))
    assert "…" not in svg and said.count("cross-entropy") == 5


def test_methods_are_sorted_and_ours_is_marked(tmp_path):
    rows = [{"row": "mine", "metric": "accuracy", "value": 0.6, "ci_low": 0.5, "ci_high": 0.7, "published": 0.727,
             "differs": "yes", "tried": 7, "protocol": "loso"},
            {"row": "TLCNN [42]", "metric": "accuracy", "published": 0.694},
            {"row": "TSDGCN", "metric": "accuracy", "published": 0.727}]  # fmt: skip
    write_table(rows, tmp_path / "m.csv", COMPARISON)
    draw_file(tmp_path / "m.csv", tmp_path / "m.svg", settings("methods", published="x"))
    said = texts((tmp_path / "m.svg").read_text())
    names = [text for text in said if text in ("mine (ours, loso)", "TLCNN [42]", "TSDGCN (published)")]
    assert names == ["mine (ours, loso)", "TLCNN [42]", "TSDGCN (published)"], "in order of their accuracy"
    assert {"60.0 %", "69.4 %", "72.7 %"} <= set(said) and "7 configurations tried in the study." in said


def test_methods_are_grouped_by_metric(tmp_path):
    rows = [{"row": "mine", "metric": metric, "value": value, "ci_low": value - 0.1, "ci_high": value + 0.1,
             "tried": 7, "protocol": "composite-loso"} for metric, value in (("uf1", 0.6), ("uar", 0.7))]  # fmt: skip
    rows += [{"row": "EMR", "metric": metric, "published": 0.65, "tried": 7} for metric in ("uf1", "uar")]
    write_table(rows, tmp_path / "m.csv", COMPARISON)
    draw_file(tmp_path / "m.csv", tmp_path / "m.svg", settings("methods", published="x"))
    said = texts((tmp_path / "m.svg").read_text())
    ours, theirs = "mine (ours, composite-loso)", "EMR (published)"
    assert [text for text in said if text in (ours, theirs)] == [ours, theirs, theirs, ours]
    assert {"UF1", "UAR", "On test clips"} <= set(said) and "Accuracy on test clips" not in said


def test_missing_published_numbers_are_noted(tmp_path):
    rows = [{"row": "mine", "metric": "accuracy", "value": 0.6, "ci_low": 0.5, "ci_high": 0.7, "tried": 1,
             "protocol": "loso"}]  # fmt: skip
    write_table(rows, tmp_path / "m.csv", COMPARISON)
    draw_file(tmp_path / "m.csv", tmp_path / "m.svg", settings("methods"))
    said = texts((tmp_path / "m.svg").read_text())
    assert "There are no published numbers for these data." in said
    assert "1 configuration tried in the study." in said and not any("Diamond" in text for text in said)


def test_confusion_matrices_show_rates_and_counts(tmp_path):
    rows = []
    for name, right in (("one", 3), ("two", 1)):
        for truth in ("glad", "cross"):
            for answer in ("glad", "cross"):
                count = right if truth == answer else 4 - right
                rows.append({"experiment": name, "row": truth, "column": answer, "metric": "rate", "value": count / 4,
                             "count": count, "n_clips": 4, "tried": 2})  # fmt: skip
    write_table(rows, tmp_path / "c.csv", COMPARISON)
    draw_file(tmp_path / "c.csv", tmp_path / "c.svg", settings("confusion"))
    said = texts((tmp_path / "c.svg").read_text())
    assert said.count("75 %") == said.count("25 %") == 4 and said.count("3") == said.count("1") == 4
    assert {"one", "two"} <= set(said) and said.count("glad") == 4


def test_flow_statistics_show_a_dot_per_clip(tmp_path):
    rows = [{"clip": f"c{n}", "subject": "d/p", "label": "glad" if n < 3 else "cross", "mean": 0.1 * n + 0.1,
             "variance": 0.01} for n in range(7)]  # fmt: skip
    write_table(rows, tmp_path / "s.csv", FLOW_STATISTICS)
    draw_file(tmp_path / "s.csv", tmp_path / "s.svg", settings("flow-statistics"))
    svg = (tmp_path / "s.svg").read_text()
    said = texts(svg)
    assert {"glad", "cross", "mean, pixels", "variance, pixels²"} <= set(said)
    groups = [g for g in ElementTree.fromstring(svg).iter(f"{SVG}g") if len(g.findall(f"{SVG}use")) == 7]
    assert len(groups) == 2
    assert "from 0.10 to 0.70 pixels, median 0.40" in svg


def test_failed_drawing_leaves_no_file(tmp_path):
    write_table([{"row": "x"}], tmp_path / "m.csv", ["row"])
    with pytest.raises(InputError, match="column"):
        draw_file(tmp_path / "m.csv", tmp_path / "m.svg", settings("methods"))
    assert [file.name for file in tmp_path.iterdir()] == ["m.csv"]
    assert read_table(tmp_path / "m.csv", ["row"])["row"].tolist() == ["x"]
