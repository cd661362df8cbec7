"""Action units: the cells of real annotations in one notation, doubts apart, and what was not coded."""

import dataset_trees
import pandas as pd
import pytest
from dataset_files import Take
from dataset_trees import reported
from hypothesis import given
from hypothesis import strategies as st

from merflow.datasets.action_units import Coding, Unit, parse, unit_labels
from merflow.datasets.index import index_dataset, write_index
from merflow.datasets.settings import STANDARD_MICRO
from merflow.datasets.synthetic.plan import plan_subject

UNITS = st.builds(
    Unit,
    st.integers(1, 99),
    st.sampled_from(["", "L", "R", "T", "B", "A", "L/A"]),
    st.sampled_from(["", *"ABCDE", "A/B", "B/C", "D/E"]),
)


@given(st.lists(UNITS, unique=True))
def test_notation_is_read_as_it_is_written(units):
    coding = Coding(tuple(units))
    assert parse(str(coding)) == coding


@given(st.lists(UNITS, unique=True, min_size=1), st.sampled_from(["+", " + ", ",", "，", ", ", ";", "+,"]))
def test_separators_prefix_and_case_do_not_matter(units, separator):
    assert parse(separator.join(f"au{unit}".lower() for unit in units) + separator) == Coding(tuple(units))


@pytest.mark.parametrize(
    ("cell", "notation"),
    [
        ("4", "4"), ("4.0", "4"), ("L12B+R14", "L12B+R14"), ("R12 + R15", "R12+R15"), ("AU4+AU7", "4+7"),
        ("B28", "B28"), ("28B", "28B"), ("B28B", "B28B"), ("T10", "T10"), ("A12", "A12"), ("L/A12C", "L/A12C"),
        ("6B/C", "6B/C"), ("6(B/C)+12(D)", "6B/C+12D"), ("4，7", "4+7"), ("１２", "12"), ("12,14,", "12+14"),
        ("12(k)+4", "4"), ("AU12(k)", "none"), ("4+4", "4"), ("45+51", "45+51"), ("none", "none"),
    ],
)  # fmt: skip
def test_cell_for_certain(cell, notation):
    coding = parse(cell)
    assert str(coding) == notation and not coding.uncertain and not coding.words


@pytest.mark.parametrize("cell", ["", "  ", "nan", "NaN", "null", "NULL"])
def test_empty_cell_is_not_coded(cell):
    assert parse(cell) is None


@pytest.mark.parametrize(
    ("cell", "notation", "uncertain"),
    [
        ("12A or 14A", "none", ["12A or 14A"]),
        ("10or11", "none", ["10or11"]),
        ("4+12 or 14", "4", ["12 or 14"]),
        ("23/24+4", "4", ["23/24"]),
        ("(R6 or R12)+R15", "R15", ["(R6 or R12)"]),
        ("13?", "none", ["13?"]),
        ("ref(7)", "none", ["ref(7)"]),
        ("(loses 1+2) or (4(B/C))", "none", ["(loses 1+2) or (4(B/C))"]),
        ("7A/B+L10A/B)+ref(11)+12C", "7A/B+12C", ["L10A/B)", "ref(11)"]),
        ("6C/D+ref(7)12E+25", "6C/D+25", ["ref(7)12E"]),
        ("4+(12+14", "4", ["(12+14"]),
        ("1214", "none", ["1214"]),
    ],
)
def test_doubt_is_no_unit_and_is_kept(cell, notation, uncertain):
    coding = parse(cell)
    assert (str(coding), list(coding.uncertain), list(coding.words)) == (notation, uncertain, [])


@pytest.mark.parametrize(
    "cell",
    ["glare", "reaction?", "Chewing", "soft focus", "all of the above", "subject do 2x R2(C and then B)"],
)
def test_words_are_no_unit(cell):
    coding = parse(f"4+{cell}")
    assert (coding.numbers, coding.words, coding.uncertain) == ({4}, (cell,), ())


def units_of(tmp_path, *cells, corrections=None):
    """Index SAMM clips with these cells; returns clips.csv and the index."""
    takes = [Take(6, f"006_1_{n}", "anger", cells={"Action Units": cell}) for n, cell in enumerate(cells, 1)]
    index = dataset_trees.samm(tmp_path / "SAMM", takes).index(corrections=corrections)
    write_index(index, tmp_path / "clips.csv", tmp_path / "problems.csv")
    return pd.read_csv(tmp_path / "clips.csv", dtype=str, keep_default_na=False), index


def test_table_of_clips_has_units_and_doubts(tmp_path):
    clips, index = units_of(tmp_path, "4+AU7", "12 or R14", None, "glare", "4")
    assert clips["action_units"].tolist() == ["4+7", "none", "", "none", "4"]
    assert clips["action_units_uncertain"].tolist() == ["", "12 or R14", "", "", ""]
    assert clips["source_action_units"].tolist() == ["4+AU7", "12 or R14", "", "glare", "4"]
    notes = reported(index, field="action_units")
    assert [(note.row, note.effect) for note in notes] == [(16, "noted"), (18, "noted")]
    assert "'12 or R14'" in notes[0].problem and "'glare'" in notes[1].problem


def test_units_can_be_corrected(tmp_path):
    file = tmp_path / "fixes.csv"
    file.write_text(
        "dataset,subject,clip,field,value,reason\nmy-samm,6,006_1_1,action_units,R12+R15,seen in the flow\n"
    )
    clips, index = units_of(tmp_path, "(R6 or R12) + R15", "4", corrections=str(file))
    assert clips["action_units"].tolist() == ["R12+R15", "4"] and not reported(index, field="action_units", row=15)
    (note,) = index.problems
    assert note.effect == "corrected" and "(R6 or R12) + R15 -> R12+R15" in note.problem


def test_dataset_without_units_has_no_such_column(tmp_path):
    take = Take(1, "s1_ne_01", "negative", None, None, None, 90823, 90827)
    index = dataset_trees.smic_hs(tmp_path, [take]).index()
    assert not any("action_units" in row for row in index.source)


def test_labels_of_clips_are_the_asked_units_in_their_order():
    cells = ["L12B+4", "1+2+R4", "none", "", "12A or 14A", "14"]
    assert unit_labels(cells, [4, 1, 12]) == ["AU4+AU12", "AU4+AU1", "none", "", "none", "none"]


def test_synthetic_people_are_coded_with_what_they_show():
    index = index_dataset("demo", STANDARD_MICRO)
    shown = [
        set(p.strengths) for subject in STANDARD_MICRO.subject_names for p in plan_subject(subject, STANDARD_MICRO)
    ]
    codings = [parse(cell) for cell in index.unit_cells]
    assert [coding.numbers for coding in codings] == shown and any(len(units) > 1 for units in shown)
