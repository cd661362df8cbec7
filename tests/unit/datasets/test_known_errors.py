"""Known errors of the releases: noted, never corrected in silence, and proposed as a table of corrections."""

import csv

import dataset_trees
import further_trees
import published_takes
import pytest
from click import ClickException
from dataset_files import Take
from dataset_trees import by_name, reported, usable
from further_trees import frames

from merflow.command.app import main

CASME3 = [
    ["spNO.149", "d", 112, 83, 358, "4", "I", "fear"],
    ["spNO.214", "c", 5, 5, 3460, "4", "I", "fear"],
    ["spNO.216", "d", 3647, 2668, 2694, "4", "I", "fear"],
    ["spNO.216", "e", 0, 0, 25, "4", "I", "fear"],
    ["spNO.40", "e", 1812, 1824, 0, "4", "I", "fear"],
    ["spNO.40", "e", 2327, 2363, 0, "4", "I", "fear"],
    ["spNO.1", "a", 20, 24, 40, "4", "I", "happy"],
]
"""The wrong rows as they are described in public, and one more."""


@pytest.fixture
def casme3(tmp_path):
    for person, video, last in {(row[0], row[1], 3500) for row in CASME3}:
        frames(tmp_path / "CASME3/part_A" / person / video / "color", range(1, last))
    return further_trees.tree("casme3-a", tmp_path / "CASME3", CASME3)


def write(monkeypatch, folder, *arguments):
    """Run the command in a folder; returns the rows that it wrote."""
    monkeypatch.chdir(folder)
    main.main(["corrections", *map(str, arguments)], standalone_mode=False)
    with (folder / "corrections.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_six_errors_are_noted_and_nothing_is_corrected(casme3):
    index = casme3.index()
    notes = [(p.row, p.field) for p in index.problems if p.problem.startswith("known error")]
    assert notes == [(2, "apex"), (3, "offset"), (4, "onset"), (5, "onset"), (5, "apex"), (6, "offset"), (7, "offset")]
    assert all("corrections casme3-a" in p.problem for p in index.problems if p.problem.startswith("known error"))
    assert not reported(index, effect="corrected") and len(usable(index)) == 4
    assert {p.row for p in reported(index, effect="left out")} == {4, 6, 7}
    assert {p.row for p in reported(index, effect="apex spotted")} == {2, 3, 5}


@pytest.mark.parametrize("with_root", [True, False])
def test_proposals_are_a_table_that_the_configuration_reads(casme3, tmp_path, monkeypatch, with_root):
    rows = write(monkeypatch, tmp_path, "casme3-a", *([casme3.root] if with_root else []))
    assert list(rows[0]) == ["dataset", "row", "subject", "clip", "field", "old value", "new value", "source"]
    values = {(r["clip"], r["field"]): (r["old value"], r["new value"]) for r in rows}
    assert values == {
        ("spNO.149/d#112", "apex"): ("83", "160"), ("spNO.214/c#5", "offset"): ("3460", "34"),
        ("spNO.216/d#3647", "onset"): ("3647", "2647"), ("spNO.216/e#0", "onset"): ("0", "1"),
        ("spNO.216/e#0", "apex"): ("0", "1"), ("spNO.40/e#1812", "offset"): ("0", "1845"),
        ("spNO.40/e#2327", "offset"): ("0", "2403"),
    }  # fmt: skip
    assert all(row["source"] and row["row"].isdecimal() for row in rows)
    index = casme3.index(corrections=str(tmp_path / "corrections.csv"), dataset_names=("my-casme3-a",))
    assert len(usable(index)) == 7 and len(reported(index, effect="corrected")) == 7
    clips = by_name(index)
    assert [(clips["spNO.149/d#112"].apex, clips["spNO.216/d#3647"].onset, clips["spNO.40/e#1812"].offset)] == [
        (160, 2647, 1845)
    ]
    assert not any(p.problem.startswith("known error") for p in index.problems)


def test_correction_of_another_value_is_not_applied(casme3, tmp_path, monkeypatch):
    write(monkeypatch, tmp_path, "casme3-a")
    rows = [[*row[:1], *row[1:3], 90 if row[3] == 83 else row[3], *row[4:]] for row in CASME3]
    tree = further_trees.tree("casme3-a", casme3.root, rows)
    index = tree.index(corrections=str(tmp_path / "corrections.csv"))
    (note,) = [p for p in index.problems if p.clip == "spNO.149/d#112" and p.field == "apex" and p.effect == "noted"]
    assert "the table has 90, not 83; not applied" in note.problem


def test_existing_table_is_kept(tmp_path, monkeypatch):
    (tmp_path / "corrections.csv").write_text("mine")
    with pytest.raises(ClickException, match="exists and stays"):
        write(monkeypatch, tmp_path, "casme3-a")
    assert (tmp_path / "corrections.csv").read_text() == "mine"


def test_layout_without_known_errors_and_workbook_say_so(tmp_path, monkeypatch):
    with pytest.raises(ClickException, match="no known error of dfme"):
        write(monkeypatch, tmp_path, "dfme")
    with pytest.raises(ClickException, match="casme2; give its folder"):
        write(monkeypatch, tmp_path, "casme2")
    with pytest.raises(ClickException, match="does not exist"):
        write(monkeypatch, tmp_path, "casme2", tmp_path / "nowhere")


def test_excluded_clips_are_proposed_on_request(tmp_path, monkeypatch):
    tree = further_trees.tree("casme3-a", tmp_path / "CASME3", further_trees.casme3_published())
    frames(tree.root / "part_A/spNO.1/a/color", range(1, 3))
    rows = write(monkeypatch, tmp_path, "casme3-a", tree.root, "--excluded")
    covered = "93 95 97 98 178 372 560 565 599 607 609 709 712 733 736"
    assert " ".join(row["row"] for row in rows) == covered
    assert {row["field"] for row in rows} == {"exclude"} and all(row["clip"] for row in rows)


def test_errors_by_row_need_the_release_they_count_in(tmp_path, monkeypatch):
    takes = [*published_takes.casme2_takes(), Take(24, "EP02_07", "others")]
    takes = sorted(takes, key=lambda take: take.subject)
    wrong = Take(takes[60].subject, takes[60].name, "others", 50, None, 55, first=50, last=60)
    takes[60] = wrong
    tree = dataset_trees.casme2(tmp_path / "a", takes)
    rows = write(monkeypatch, tmp_path, "casme2", tree.root)
    assert [(row["row"], row["field"], row["old value"], row["new value"]) for row in rows if row["row"] == "62"] == [
        ("62", "offset", "55", "91"),
        ("62", "apex", "", "78"),
    ]
    assert rows[0]["clip"] == f"sub{wrong.subject:02d}/{wrong.name}"
    assert not dataset_trees.casme2(tmp_path / "b", takes[:-1]).index().errors


def test_doubtful_units_of_samm_are_proposed(tmp_path):
    takes = published_takes.samm_takes()
    cells = {15: "(R6 or R12) + R15", 41: "L14"}
    takes = [Take(t.subject, t.name, t.emotion, t.onset, t.apex, t.offset, cells={"Action Units": cells.get(i, "4")})
             for i, t in enumerate(takes)]  # fmt: skip
    (error,) = dataset_trees.samm(tmp_path, takes).index().errors
    assert (error.row, error.field, error.old, error.new) == (30, "action_units", "(R6 or R12) + R15", "R12+R15")


def test_units_of_two_rows_of_4dme_are_swapped(tmp_path):
    rows = [["S01", f"c_{n}", 9 * n, 9 * n + 3, 9 * n + 5, str(n % 40 + 1), "Others", 1, 0, 0, 0] for n in range(267)]
    frames(tmp_path / "gray_micro/S01/c_0", range(9))
    errors = further_trees.tree("4dme", tmp_path, rows).index().errors
    assert [(error.row, error.old, error.new) for error in errors] == [(146, "25", "26"), (147, "26", "25")]
