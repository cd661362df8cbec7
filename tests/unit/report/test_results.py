"""The sections with results: answer, results, differences, leakage audit, and published numbers."""

import io
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from report_study import CLASSES, make_study, with_dataset, with_settings, with_tables, written
from sklearn.metrics import accuracy_score, f1_score

from merflow.datasets.labels import class_sets, published_as
from merflow.evaluation.leakage import CHECKS, ELSEWHERE
from merflow.evaluation.published import published
from merflow.report.sections.answer import compare_with_floors, left_out, published_results
from merflow.report.sections.differences import difference_drawing, system_pairs
from merflow.report.settings import ClassCount
from merflow.report.systems import Estimate, best_uf1
from merflow.storage.tables import AUDIT, CHOSEN_ON_TEST, PREDICTIONS, write_table


def test_answer_names_the_best_floor(study, page):
    metrics = pd.read_csv(study.tables["metrics"])
    pooled = metrics[metrics["scope"] == "pooled"].set_index(["experiment", "metric"])
    text = page.of_section["answer"]
    for metric in ("accuracy", "uf1", "uar"):
        row = pooled.loc["tsdgcn", metric]
        assert f"{row['value']:.3f}" in text and f"[{row['ci_low']:.2f}, {row['ci_high']:.2f}]" in text
    assert f"{100 * pooled.loc[('tsdgcn', 'accuracy'), 'value']:.1f} % of 39 clips" in text
    floors = {name: pooled.loc[(name, "uf1"), "value"] for name in ("majority", "linear-svm", "softmax")}
    assert f"the best floor, {max(floors, key=floors.get)}" in text
    assert f"UF1 of the floors: {', '.join(f'{name} {floor:.3f}' for name, floor in floors.items())}." in text
    assert page.html.index('id="answer"') < page.html.index('id="results"')


def test_answer_has_the_ceiling_of_annotated_people_only(study, tmp_path):
    sentence = "Their true action units alone would give UF1"
    counts = [ClassCount(name, None, n) for name, n in (("negative", 250), ("positive", 109), ("surprise", 83))]
    experiments = {name: replace(block, class_counts=counts) for name, block in study.settings.experiments.items()}
    for repertoire, layout, stated in (
        ("annotated", "demo", True), ("prototypes", "demo", False), ("annotated", "manifest", False)
    ):  # fmt: skip
        changed = with_settings(
            study,
            config={"demo": {"repertoire": repertoire}},
            experiments=experiments,
            layouts=dict.fromkeys(study.settings.layouts, layout),
        )
        text = written(changed, tmp_path, "answer").of_section["answer"]
        assert (sentence in text) == stated == ("about as hard to classify as real clips" in text)
        assert (f"{sentence} 0.736" in text) == stated and ("and 0.766 with the labels" in text) == stated


def test_results_count_expected_clips(page):
    text = page.of_section["results"]
    for name in ("tsdgcn", "majority (floor)", "linear-svm (floor)", "softmax (floor)"):
        assert name in text
    assert "39 of 40" in text


def test_answer_says_how_many_clips_were_left_out(study, page, tmp_path):
    link = 'clips correctly; <a href="#failed">1 of the 40 labelled clips was left out</a>. The clips show 8 people'
    assert link in page.html
    (files,) = (files for files in study.datasets if files.dataset == "people-micro")
    quality, predictions = pd.read_csv(files.quality), pd.read_csv(study.tables["predictions"])
    quality.loc[quality["subject"].str.endswith(("s02", "s05")), ["status", "reason"]] = "failed", "too dark"
    quality.to_csv(tmp_path / "quality.csv", index=False)
    usable = predictions[predictions["clip"].isin(quality.loc[quality["status"] == "ok", "clip"])]
    write_table(usable, tmp_path / "predictions.csv", PREDICTIONS)
    metrics = pd.read_csv(study.tables["metrics"]).assign(n_clips=30, n_subjects=6)
    metrics.to_csv(tmp_path / "metrics.csv", index=False)
    changed = with_tables(with_dataset(study, "people-micro", quality=tmp_path / "quality.csv"),
                          metrics=tmp_path / "metrics.csv", predictions=tmp_path / "predictions.csv")  # fmt: skip
    words = written(changed, tmp_path, "answer", "failed").of_section["answer"]
    assert (
        "of 30 clips correctly; 10 of the 40 labelled clips were left out, among them all clips of people-micro/s02"
        in words
    )
    (result,) = (system for system in changed.systems if system.name == "tsdgcn")
    holdout = replace(result, protocol="paper-holdout", n_clips=6, n_subjects=2)
    assert left_out(holdout, changed) == (10, []), "a clip that this protocol does not test is not left out"
    counts = [row for row in result.settings.class_counts if row.label != "fear"]
    fewer = replace(result.by_class, classes=[row for row in result.by_class.classes if row.name != "fear"])
    settings = replace(result.settings, class_counts=counts)
    others = replace(holdout, settings=settings, by_class=fewer)
    assert left_out(others, changed) == (8, []), "clips of other classes were not to be used"


def test_answer_of_a_complete_study_leaves_nothing_out(tmp_path):
    assert "left out" not in written(make_study(tmp_path, bad=None), tmp_path, "answer").of_section["answer"]


@pytest.mark.parametrize(
    "skills, words",
    [
        ({"tsdgcn": 0.95, "majority": 0.0}, "which is more than chance."),
        ({"tsdgcn": 0.5, "linear-svm": 0.4}, "not clearly different"),  # higher, but the interval holds 0
        ({"tsdgcn": 0.0, "linear-svm": 1.0}, "below"),
        ({"tsdgcn": 0.5}, "No floor ran on the same clips"),
        ({"svm": 0.95, "majority": 0.0}, "svm classifies"),
        ({"tsdgcn": 0.8, "another": 0.3, "majority": 0.0}, "highest UF1 of 2"),
    ],
)
def test_verdict_follows_the_numbers(tmp_path, skills, words):
    study = make_study(tmp_path, skills=skills)
    page = written(study, tmp_path, "answer", "results")
    assert words in page.of_section["answer"].replace("\n", " ")
    assert ("An interval without width" in page.of_section["results"]) == any(s.zero_width for s in study.systems)
    comparison = compare_with_floors(best_uf1([s for s in study.systems if not s.floor]), study)
    if comparison and comparison.verdict:
        table = pd.read_csv(study.tables["differences"]).query("metric == 'uf1'").set_index(["first", "second"])
        name, floor = best_uf1([s for s in study.systems if not s.floor]).name, comparison.floor.name
        better = table.loc[(name, floor) if (name, floor) in table.index else (floor, name), "verdict"]
        assert (comparison.verdict == "unclear") == (better == "unclear"), "the verdict is that of the corrected p"


def test_answer_calls_no_difference_real_with_few_people(tmp_path):
    study = make_study(tmp_path, skills={"tsdgcn": 0.95, "majority": 0.0})
    table = pd.read_csv(study.tables["differences"])
    assert (table["ci_low"] > 0).all(), "every interval excludes 0"
    few = table.assign(verdict="unclear", p_holm=0.0625, n_subjects=5)
    write_table(few, study.tables["differences"], list(table))
    text = written(with_tables(study), tmp_path, "answer").of_section["answer"]
    assert "not clearly different from the best floor, majority" in text and "which may be chance." in text
    assert "With 5 people no difference can be shown to be more than chance." in text


def test_answer_warns_of_a_class_of_one_person(tmp_path):
    skills, classes = {"tsdgcn": 0.8, "majority": 0.0}, ["happiness", "hapiness", "fear"]
    study = make_study(tmp_path, skills=skills, classes=classes)
    assert "Only " not in written(study, tmp_path, "answer").of_section["answer"]
    table = pd.read_csv(study.tables["predictions"])
    kept = (table["truth"] != "hapiness") | (table["subject"] == "people-micro/s03")
    write_table(table[kept], study.tables["predictions"], PREDICTIONS)
    text = written(with_tables(study), tmp_path, "answer").of_section["answer"]
    assert "Only people-micro/s03 has usable clips of the class hapiness." in text and "Did you mean happiness?" in text
    metrics = pd.read_csv(study.tables["metrics"])
    write_table(metrics.assign(protocol="paper-holdout"), study.tables["metrics"], list(metrics))
    text = written(with_tables(study), tmp_path, "answer").of_section["answer"]
    assert "Only " not in text, "this protocol divides people"


def test_seeds_have_a_spread_and_folds_a_mean(tmp_path):
    study = make_study(tmp_path, skills={"tsdgcn": 0.6, "majority": 0.0})
    once = pd.read_csv(study.tables["predictions"])
    rng = np.random.default_rng(0)
    again = once[once["experiment"] == "tsdgcn"].assign(repeat=1)
    again["predicted"] = np.where(rng.random(len(again)) < 0.3, "fear", again["predicted"])
    write_table(pd.concat([once, again]), study.tables["predictions"], PREDICTIONS)
    metrics = pd.read_csv(study.tables["metrics"])
    metrics.loc[metrics["experiment"] == "tsdgcn", "repeats"] = 2
    write_table(metrics, study.tables["metrics"], list(metrics))
    words = written(study, tmp_path, "results").of_section["results"]
    tsdgcn = pd.concat([once[once["experiment"] == "tsdgcn"], again])
    scores = {
        "Accuracy": [accuracy_score(t["truth"], t["predicted"]) for _, t in tsdgcn.groupby("repeat")],
        "UF1": [f1_score(t["truth"], t["predicted"], average="macro") for _, t in tsdgcn.groupby("repeat")],
    }
    for values in scores.values():
        assert f"seeds ± {np.std(values, ddof=1):.3f}" in words
    assert words.count("seeds ±") == 3 + 1, "three metrics of the one experiment with repeats, and the explanation"
    folds = [f1_score(t["truth"], t["predicted"], average="macro") for _, t in tsdgcn.groupby(["repeat", "fold"])]
    assert words.count(f"{np.mean(folds):.3f}") == 1 and "so it is not a result" in words


def test_holdout_that_divides_subjects_is_marked(study, page, tmp_path):
    assert "divides subjects" not in page.text
    metrics = pd.read_csv(study.tables["metrics"]).assign(protocol="paper-holdout")
    metrics.to_csv(tmp_path / "metrics.csv", index=False)
    text = written(with_tables(study, metrics=tmp_path / "metrics.csv"), tmp_path, "answer", "results").text
    assert "people in the test also have clips in training" in text
    assert "some of whom were in its training data" in text and "who were not in its training data" not in text


# --- Differences ------------------------------------------------------------------------------------------------------


def test_real_differences_are_marked_in_words(study, page):
    table = pd.read_csv(study.tables["differences"])
    assert table.groupby(["first", "second"]).ngroups == 6
    real = table[table["verdict"] != "unclear"]
    assert 0 < len(real) < len(table), "a case with both"
    section = re.search(r'<section id="differences">.*?</section>', page.html, re.DOTALL).group(0)
    marked = sorted(re.findall(r'([+-][.\d]+) <span class="real">real</span>', section))
    assert marked == sorted(f"{value:+.3f}" for value in real["difference"])
    words = page.of_section["differences"]
    assert f"{(real['metric'] == 'uf1').sum()} of 6 pairs differ in UF1 by more than chance" in words
    for row in table.to_dict("records"):
        assert f"{row['difference']:+.3f}" in words
        assert f"[{row['ci_low']:.2f}, {row['ci_high']:.2f}]" in words


@pytest.mark.parametrize(
    "people, words",
    [
        (5, "With 5 people no difference can be real at 0.05, because the smallest corrected p value that"),
        (5, "that is possible is 0.375."),
        (12, "With 12 people a difference can be real: the smallest corrected p value that is possible is 0.003."),
    ],
)  # fmt: skip
def test_differences_say_what_is_possible_with_n_people(study, tmp_path, people, words):
    """For six pairs: 6 * 2 / 2^n."""
    pd.read_csv(study.tables["differences"]).assign(n_subjects=people).to_csv(tmp_path / "d.csv", index=False)
    page = written(with_tables(study, differences=tmp_path / "d.csv"), tmp_path, "differences")
    assert words in page.text


def test_real_differences_have_their_own_marker(study):
    pairs = system_pairs(study)
    drawing = difference_drawing(pairs)
    rows = pd.read_csv(io.StringIO(drawing.csv))
    uf1 = pd.read_csv(study.tables["differences"]).query("metric == 'uf1'")
    merged = rows.merge(uf1, on=["first", "second"], suffixes=("", "_there"))
    assert len(rows) == len(merged) == 6
    for name in ("difference", "ci_low", "ci_high", "p_holm"):
        np.testing.assert_allclose(merged[name], merged[f"{name}_there"])
    real = (merged["verdict"] != "unclear").sum()
    assert 0 < real < 6, "a case with both"
    assert drawing.svg.split("</title>")[0].count(", real") == 2 * real, "in the label and in the title"
    unclear = [replace(p, metrics={"uf1": replace(p.metrics["uf1"], verdict="unclear")}) for p in pairs]
    svgs = drawing.svg, difference_drawing(unclear).svg
    shapes = [set(re.findall(r'<path id="[\w-]*?-m[0-9a-f]{5,}" d="([^"]+)"', svg)) for svg in svgs]
    angular = [sum("C" not in shape for shape in paths) for paths in shapes]
    assert angular == [1, 0] and len(shapes[0]) == 2, "a diamond beside the circles; circles alone if nothing is real"


# --- Leakage audit ----------------------------------------------------------------------------------------------------


def test_clean_audit_is_green(page):
    section = re.search(r'<section id="audit">.*?</section>', page.html, re.DOTALL).group(0)
    assert section.count('<li class="clean">') == 4 and 'class="leak"' not in section
    assert f"tsdgcn: clean, {len(CHECKS)} checks in 8 folds" in section


def test_networks_that_were_trained_elsewhere_are_named(study, tmp_path):
    table = pd.read_csv(study.tables["audit"], keep_default_na=False)
    row = {"experiment": "theirs", "repeat": 0, "fold": "", "check": ELSEWHERE, "size": 7, "allowed": "yes"}
    write_table([*table.to_dict("records"), row | {"note": "trained elsewhere, in x"}], tmp_path / "audit.csv", AUDIT)
    page = written(with_tables(study, audit=tmp_path / "audit.csv"), tmp_path, "audit")
    assert re.findall(r'<li class="leak">(.*?)</li>', page.html) == [
        "theirs (answers new clips only): trained elsewhere, in x"
    ]
    assert page.html.count('<li class="clean">') == 4


def test_allowed_leak_is_red_with_its_size(tmp_path):
    study = make_study(tmp_path, skills={"tsdgcn": 0.8, "hold-out": 0.9, "majority": 0.0})
    table = pd.read_csv(study.tables["audit"])
    check = table["check"]
    macro = (table["experiment"] == "tsdgcn") & (check == "subjects: pre-training and test")
    table.loc[macro & table["fold"].isin(["people-micro/s03", "people-micro/s05"]), "size"] = 1
    table.loc[table.index[macro][-1], "size"] = 4
    table = table[(table["experiment"] != "hold-out") | (table["fold"] == "people-micro/s01")]
    divided = (table["experiment"] == "hold-out") & (table["check"] == "subjects: train and test")
    table.loc[divided, "size"] = 6
    write_table(table, study.tables["audit"], AUDIT)
    page = written(study, tmp_path, "answer", "audit")
    red = re.findall(r'<li class="leak">(.*?)</li>', page.html)
    assert red == [
        "tsdgcn: people of the test are in the set that pre-trains: 1 to 4 in 3 of 8 folds",
        "hold-out: people of the test have clips that train: 6 in the only fold",
    ]
    assert page.html.count('<li class="clean">') == 1
    assert "some of whom were in its training data" in page.of_section["answer"]
    colours = dict(re.findall(r"--(leak|clean): #(\w{6})", page.html.split("@media")[0]))
    for name, place in (("leak", 0), ("clean", 1)):
        channels = [int(colours[name][n : n + 2], 16) for n in (0, 2, 4)]
        assert int(np.argmax(channels)) == place, f"{name} is not of its colour"
        assert f".{name} {{ color: var(--{name})" in page.html


# --- Published numbers ------------------------------------------------------------------------------------------------


def published_beside(study, layouts: dict[str, str], class_set: str, system: str, **values: float):
    """Published results beside a system with these values, on datasets of the given layouts."""
    (result,) = (s for s in study.systems if s.name == "tsdgcn")
    settings = replace(result.settings, system=system, datasets=list(layouts))
    classes = [replace(result.by_class.classes[0], name=name) for name in class_sets()[class_set].classes]
    metrics = {name: Estimate(value, value - 0.1, value + 0.1) for name, value in values.items()}
    by_class = replace(result.by_class, classes=classes)
    return published_results(replace(result, settings=settings, metrics=metrics, by_class=by_class), layouts)


def test_published_numbers_need_the_same_clips_and_classes(study):
    values = {"accuracy": 0.6, "uf1": 0.7, "uar": 0.7}
    beside = published_beside(study, {"m": "mmew-micro"}, "mmew-5", "tsdgcn", **values)
    assert (beside.dataset, beside.metrics, len(beside.methods)) == ("MMEW", ["accuracy"], 23)
    assert beside.same.values == {"accuracy": 0.727} and beside.outside == {"accuracy": True}
    assert "split not stated" in beside.same.caveats[0]
    three = {"c": "casme2", "s": "samm", "h": "smic-hs"}
    beside = published_beside(study, three, "megc2019", "ststnet", **values)
    assert beside.dataset == "MEGC2019 composite" and beside.metrics == ["uf1", "uar"]
    assert (beside.best["uf1"].system, beside.best["uar"].system) == ("EMR", "FeatRef"), "no epoch chosen on test"
    assert beside.same.values == {"uf1": 0.7353, "uar": 0.7186}
    assert beside.outside == {"uf1": False, "uar": False}
    assert published_beside(study, {"f": "flow-images"}, "megc2019", "msjfn", **values).same is None
    for layout, classes in (("mmew-micro", "mmew-6"), ("samm", "samm-5-estimated"), ("manifest", "mmew-5")):
        assert published_beside(study, {"m": layout}, classes, "tsdgcn", **values) is None


def test_answer_lists_published_systems_with_notes(study, page, tmp_path):
    assert "There are no published numbers for these clips, because merflow made them." in page.of_section["answer"]
    layouts = {"people-macro": "manifest", "people-micro": "mmew-micro"}
    changed = with_settings(study, layouts=layouts, synthetic=False)
    words = " ".join(written(changed, tmp_path, "answer").of_section["answer"].split())
    assert published_as({"mmew-micro"}, set(CLASSES)) == "MMEW"
    assert "Highest published values for MMEW: Accuracy 0.727 (TSDGCN; ours 0.744" in words
    assert "The published values of TSDGCN itself: Accuracy 0.727 (inside our interval)" in words
    assert "Our protocol is loso; protocols of the published numbers: not stated" in words
    assert "quoted by the paper from its reference [3]" in words and "23 published systems" in words
    changed = with_settings(changed, layouts=layouts | {"people-micro": "manifest"})
    words = written(changed, tmp_path, "answer").of_section["answer"]
    assert "merflow knows no published numbers for these datasets" in words


def test_published_datasets_are_in_the_table():
    layouts = {"mmew-5": ["mmew-micro"], "samm-5-objective": ["samm"], "megc2019": ["casme2", "samm", "smic-hs"]}
    names = {published_as(of, class_sets()[name].classes) for name, of in layouts.items()}
    assert names == {"MMEW", "SAMM", "MEGC2019 composite"}
    assert names <= {row["dataset"] for row in published().values()}
    assert published_as(["casme2", "samm"], class_sets()["megc2019"].classes) is None


def test_numbers_chosen_on_test_are_red_and_in_their_section_only(study, tmp_path):
    rows = [
        {"experiment": "tsdgcn", "choice": choice, "metric": metric, "chosen_on_test": value, "result": 0.617}
        for choice, value in (("one epoch", 0.7351), ("an epoch of each fold", 0.9132))
        for metric in ("accuracy", "uf1", "uar")
    ]
    write_table(rows, tmp_path / "chosen.csv", CHOSEN_ON_TEST)
    page = written(with_tables(study, chosen_on_test=tmp_path / "chosen.csv"), tmp_path)
    text = " ".join(page.of_section["chosen_on_test"].split())
    assert "They are not results" in text and "UF1, one epoch chosen on test" in text and "0.617" in text
    assert page.html.count('<td class="n leak">0.735</td>') == page.html.count('<td class="n leak">0.913</td>') == 2
    assert not any(
        "0.735" in part or "0.913" in part for name, part in page.of_section.items() if name != "chosen_on_test"
    )


def test_study_without_networks_has_no_section_of_chosen_epochs(page):
    assert "chosen_on_test" not in page.of_section
