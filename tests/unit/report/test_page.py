"""The page as a whole: it loads nothing, text of users is escaped, and demo data are called synthetic."""

import base64
import hashlib
import re
import subprocess
import sys
from dataclasses import asdict, replace
from xml.etree import ElementTree

import h5py
import numpy as np
import pandas as pd
import pytest
from report_study import SIZE, make_study, with_settings, with_tables, written

from merflow.errors import InputError
from merflow.report.formats import duration, memory
from merflow.report.page import SECTIONS, keep_drawing, write_report
from merflow.report.report_data import TABLES, ReportData
from merflow.report.section import Drawing
from merflow.runtime.summary import summary
from merflow.storage.tables import KEYFRAMES, write_table

EVIL = '<script>alert("1")</script>'


def test_contents_link_every_section(page):
    sections = [a["id"] for tag, a in page.tags if tag == "section"]
    expected = "answer results differences audit classes wrong subjects data failed pictures curves timings settings"
    assert sections == expected.split()
    links = [
        a["href"]
        for tag, a in page.tags
        if tag == "a" and "sheet-" not in a["href"] and "anchor" not in a.get("class", "") and "download" not in a
    ]
    expected = ["#answer", *(f"#{name}" for name in sections), "#failed"]
    assert links == expected, "the skip link, the contents, then the reasons of clips that were left out"


def test_sections_have_names_of_their_own():
    assert len({section.name for section in SECTIONS}) == len({section.title for section in SECTIONS}) == len(SECTIONS)


def test_pictures_and_drawings_have_texts(page):
    for tag, attributes in page.tags:
        if tag == "img":
            assert len(attributes["alt"]) > 10
        if tag == "svg":
            assert attributes["role"] == "img" and len(attributes["aria-label"]) > 20
    assert sum(tag == "svg" for tag, _ in page.tags) == 3 + 3 + 1  # metrics; training; pairs


def test_page_loads_nothing(page):
    assert not re.search(r"https?://|@import|//[\w.-]+\.\w+/", re.sub(r"base64,[\w+/=]*", "", page.html))
    assert not {"link", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in page.tags}
    kinds = ("image/jpeg", "image/svg+xml", "text/csv")
    allowed = ("#", *(f"data:{kind};base64," for kind in kinds))
    assert all(value.startswith(allowed) for value in page.values("src", "href", "xlink:href"))
    assert set(re.findall(r"url\((.)", page.html)) <= {"#"}


def test_report_loads_no_external_script(page):
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a)
    (script,) = re.findall(r"<script>(.*?)</script>", page.html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert not re.search(r"\b(fetch|XMLHttpRequest|import\(|eval|innerHTML)\b", script)


def test_drawings_are_saved_with_their_numbers(study, page, tmp_path):
    write_report(study, tmp_path / "report.html", tmp_path / "figures")
    names = [a["data-name"] for tag, a in page.tags if tag == "figure" and a.get("class", "").startswith("drawing")]
    assert len(names) == sum(tag == "svg" for tag, _ in page.tags) == len(set(names))
    assert sorted(f.name for f in (tmp_path / "figures").iterdir()) == sorted(
        f"{name}.{end}" for name in names for end in ("csv", "svg")
    )
    embedded = {a["download"]: a["href"] for tag, a in page.tags if "download" in a}
    for name in names:
        for end in ("svg", "csv"):
            content = base64.b64decode(embedded[f"{name}.{end}"].split(",")[1])
            assert content == (tmp_path / "figures" / f"{name}.{end}").read_bytes()
        table = pd.read_csv(tmp_path / "figures" / f"{name}.csv")
        assert len(table) and len(table.columns) >= 3
        drawing = ElementTree.parse(tmp_path / "figures" / f"{name}.svg")
        assert drawing.getroot().tag == "{http://www.w3.org/2000/svg}svg"
        raw = (tmp_path / "figures" / f"{name}.svg").read_text()
        assert "var(" not in raw and 'fill="#ffffff"' in raw and "(synthetic)" in "".join(drawing.getroot().itertext())
    forest = pd.read_csv(tmp_path / "figures" / "results-uf1.csv").set_index("experiment")
    metrics = pd.read_csv(study.tables["metrics"]).query("scope == 'pooled' and metric == 'uf1'")
    assert forest["value"].to_dict() == pytest.approx(metrics.set_index("experiment")["value"].to_dict())
    assert list(tmp_path.glob(".*")) == []


def test_import_leaves_settings_of_matplotlib_unchanged():
    code = "from matplotlib import rcParams; before = dict(rcParams); import merflow.report.page"
    code += "; assert rcParams == before"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_two_drawings_of_one_name_are_refused():
    saved = {}
    svg = '<svg aria-label="x" width="160" viewBox="0 0 100 50"><title>x</title><path style="fill: var(--ink)"/></svg>'
    drawing = Drawing("one", svg, "a\n1\n", "A title that is too long for one line")
    assert list(keep_drawing(saved, "", drawing)) == list(saved) == ["one.svg", "one.csv"]
    assert saved["one.svg"].count("<text") >= 2
    with pytest.raises(ValueError, match="two figures of the report are named one"):
        keep_drawing(saved, "", drawing)


def contrast(first: str, second: str) -> float:
    """Contrast of two colours, ``#rrggbb``, by WCAG 2.1."""

    def light(colour):
        channels = np.array([int(colour[n : n + 2], 16) for n in (1, 3, 5)]) / 255
        return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4) @ (
            0.2126, 0.7152, 0.0722)  # fmt: skip

    high, low = sorted((light(first), light(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_colours_have_enough_contrast(page, mode):
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


def test_ids_are_unique_and_links_resolve(page):
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    used = {value[1:] for value in page.values("href") if value.startswith("#")}
    used |= set(re.findall(r"url\(#([^)]*)\)", page.html))
    assert used <= set(ids)


def test_drawings_use_colours_of_the_style_sheet(page):
    assert "prefers-color-scheme: dark" in page.html and "var(--first)" in page.html
    drawings = "".join(re.findall(r"<svg.*?</svg>", page.html, re.DOTALL))
    assert not re.search(r"#[0-9a-fA-F]{6}\b", drawings)


def summary_of(page, folder) -> str:
    """The summary of a study with this report and without metrics."""
    (folder / "report.html").write_text(page.html)
    (folder / "metrics.csv").write_text("experiment,scope,metric,value,ci_low,ci_high\n")
    return summary(folder)


def test_demo_data_are_called_synthetic(page, tmp_path):
    assert "(synthetic)" in re.search(r"<title>(.*?)</title>", page.html).group(1)
    for section in ("results", "classes", "data", "pictures", "curves"):
        assert "synthetic" in page.of_section[section]
    assert "no claim about people" in page.of_section["answer"]
    assert page.of_section["pictures"].count("synthetic") == 1 + 2 + 20 + 39
    assert "synthetic demo data" in summary_of(page, tmp_path)


def test_real_data_are_not_called_synthetic(tmp_path):
    page = written(make_study(tmp_path, synthetic=False, bad=None), tmp_path)
    assert "synthetic" not in re.sub(r"base64,[\w+/=]*", "", page.html).lower()
    assert "synthetic" not in summary_of(page, tmp_path)
    assert "every indexed clip was processed" in page.of_section["failed"]


def test_badges_of_a_mixed_study_mark_demo_datasets(study, tmp_path):
    datasets = [replace(files, synthetic=files.dataset == "people-macro") for files in study.datasets]
    page = written(replace(study, datasets=datasets), tmp_path, "pictures")
    assert page.of_section["pictures"].count("synthetic") == 1 + 1 + 20


def test_report_links_the_page_of_long_videos(study, tmp_path):
    config = study.settings.config | {"spotting": {"search": {"task": "spotting"}}}
    for shared in (False, True):
        page = written(with_settings(study, config=config, shared=shared), tmp_path, "settings")
        assert ('href="spotting/index.html"' in page.html) == (not shared), "an archive does not hold that page"


def test_text_of_users_is_escaped(tmp_path):
    classes = ['<img src="x" onerror="alert(1)">', "b&b <i>", "'quoted'"]
    skills = {'net"><blink>': 0.7, "majority": 0.1}
    study = make_study(tmp_path, title=EVIL, bad=EVIL, classes=classes, skills=skills, synthetic=False)
    page = written(with_settings(study, config={"note": EVIL}), tmp_path)
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"blink", "i"}
    assert [dict(a).get("id", "") for tag, a in page.tags if tag == "script"] == ["predictions", ""]
    assert all(a["src"].startswith("data:") for tag, a in page.tags if tag == "img")
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    for section in ("failed", "settings"):
        assert EVIL in page.of_section[section]
    assert classes[0] in page.of_section["classes"] and 'net"><blink>' in page.of_section["answer"]
    assert any(classes[0] in alt for alt in page.values("alt"))


def test_same_inputs_give_the_same_bytes(study, page, tmp_path):
    assert written(study, tmp_path).html == page.html


def test_numbers_are_formatted():
    assert [duration(s) for s in (0.04, 59.94, 59.96, 185, 3600, 7805)] == [
        "0.0 s", "59.9 s", "1 min 00 s", "3 min 05 s", "1 h 00 min", "2 h 10 min"
    ]  # fmt: skip
    assert [memory(m) for m in (0, 812.4, 2048)] == ["–", "812 MB", "2.0 GB"]


def test_cut_faces_are_counted(tmp_path):
    study = make_study(tmp_path, bad="the face is cut off: only 60% (`least_inside` is 75%)")
    failed = written(study, tmp_path, "failed").of_section["failed"]
    assert "1 of 40 clips, 1 of them because the picture cuts the face off: if the pictures are face crops" in failed


def test_stills_and_failed_datasets_are_shown(tmp_path):
    study = make_study(tmp_path)
    macro, micro = study.datasets
    for faces, keyframes, flow in zip(macro.faces, macro.keyframes, macro.flow, strict=True):
        with h5py.File(faces, "a") as file:
            names = [group.attrs["clip"] for group in file.values()]
        still = {"index": 0, "frame": 3, "magnitude_px": 0, "apex_source": "still"}
        write_table([{"clip": name} | still for name in names], keyframes, KEYFRAMES)
        with h5py.File(flow, "a") as file:
            for group in file.values():
                del group["flow"]
                group["flow"] = np.zeros((0, 2, SIZE, SIZE), np.float16)
    for path in micro.faces:
        with h5py.File(path, "a") as file:
            for group in file.values():
                group.attrs["status"] = "no face found"
    page = written(with_settings(study, benchmarks=str(tmp_path / "nothing")), tmp_path, "pictures", "timings")
    images = [a["alt"] for tag, a in page.tags if tag == "img"]
    assert len(images) == 1 + 20 and "still, frame 3" in images[1]
    assert "No clip of this dataset was processed" in page.of_section["pictures"]
    assert "No benchmarks were found" in page.of_section["timings"]


def test_missing_table_is_named(study, tmp_path):
    with pytest.raises(InputError, match="gone.csv does not exist"):
        write_report(with_tables(study, metrics=tmp_path / "gone.csv"), tmp_path / "report.html")
    assert not list(tmp_path.iterdir())


def rule_inputs(study, preparations):
    """Input files of the rule, as Snakemake gives them, for each dataset once per preparation."""
    pairs = [(files, preparation) for files in study.datasets for preparation in preparations]

    def moved(path, preparation):
        return str(path).replace("/default/", f"/{preparation}/")

    inputs = {
        name: [moved(getattr(files, name), preparation) for files, preparation in pairs]
        for name in ("clips", "problems", "classes", "quality")
    }
    for stage in ("faces", "keyframes", "flow"):
        inputs[stage] = [moved(file, p) for files, p in pairs for file in getattr(files, stage)]
    prepared = [(files.dataset, preparation) for files, preparation in pairs]
    return replace(study.settings, prepared=prepared), inputs | {name: str(study.tables[name]) for name in TABLES}


def test_files_of_the_rule_are_sorted_by_dataset(study):
    assert asdict(ReportData.from_rule(*rule_inputs(study, ["default"]))) == asdict(study)


def test_preparations_of_a_dataset_are_separate(study):
    report = ReportData.from_rule(*rule_inputs(study, ["default", "other"]))
    titles = [f"people-{kind} ({preparation})" for kind in ("macro", "micro") for preparation in ("default", "other")]
    assert [files.title for files in report.datasets] == titles
    assert all("/other/" in str(file) for file in report.datasets[1].faces)
    assert asdict(report.datasets[0]) == asdict(study.datasets[0]) | {"title": titles[0]}
