"""Tables as people write them: numbers with separators, apexes that are none, names spelled twice, odd first lines."""

from dataclasses import replace

import pytest
from dataset_files import write_table
from dataset_trees import Take, dataset_settings, of_few_people, reported, samm

from merflow.datasets.checks import parse_frame_number
from merflow.datasets.index import index_dataset
from merflow.errors import InputError

HEADER = "clip,subject,label,frames,onset,apex,offset\n"


def people(root, rows, numbers=range(1, 13), header=HEADER, **changes):
    """The index of a manifest; every clip that a row names has a folder of frames."""
    for row in rows:
        folder = root / row.split(",")[3]
        if not folder.exists():
            folder.mkdir()
            for number in numbers:
                (folder / f"{number}.png").write_bytes(b"x")
    (root / "manifest.csv").write_text(header + "\n".join(rows) + "\n")
    return of_few_people(index_dataset("people", dataset_settings(layout="manifest", root=str(root), **changes)))


# --- Apex -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("onset", "apex", "offset", "where"),
    [
        ("3", 3, "9", "the onset"),
        ("", 1, "9", "the onset"),
        ("3", 9, "9", "the offset"),
        ("3", 12, "", "the offset"),
        ("3", 13, "", "not among the frames"),
        ("", 0, "9", "not among the frames"),
    ],
)
def test_apex_at_or_beyond_onset_or_offset_is_noted_and_spotted(tmp_path, onset, apex, offset, where):
    rows = ["a,s1,x,a,2,5,9", f"b,s2,y,b,{onset},{apex},{offset}"]
    index = people(tmp_path, rows)
    (problem,) = index.problems
    assert (problem.row, problem.field, problem.effect) == (3, "apex", "apex spotted")
    assert f"apex {apex} is {where}" in problem.problem
    assert [(clip.apex, clip.problem) for clip in index.clips] == [(5, ""), (None, "")]
    with pytest.raises(InputError, match=f"apex {apex} is {where}"):
        people(tmp_path, rows, on_problem="stop")


def test_apex_at_onset_of_video_is_spotted(tmp_path):
    for name in "abcd":
        (tmp_path / f"{name}.mp4").write_bytes(b"x")
    index = people(tmp_path, ["a,s1,x,a.mp4,,0,9", "b,s2,y,b.mp4,4,4,9", "c,s3,y,c.mp4,4,9,9", "d,s4,x,d.mp4,0,5,9"])
    assert [clip.apex for clip in index.clips] == [None, None, None, 5] and len(index.problems) == 3


def test_apex_at_offset_of_macro_clip_stays(tmp_path):
    rows = ["a,s1,x,a,1,12,12", "b,s2,y,b,,12,", "c,s3,y,c,3,3,9", "d,s4,x,d/7.png,,7,"]
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "7.png").write_bytes(b"x")
    index = people(tmp_path, rows, kind="macro")
    assert [clip.apex for clip in index.clips] == [12, 12, None, 7] and [p.row for p in index.problems] == [4]


@pytest.mark.parametrize("apex", [101, 110])
def test_apex_at_onset_or_offset_of_dataset_is_spotted(tmp_path, apex):
    takes = [Take(6, "006_1_2", "anger", 101, 105, 110), Take(8, "008_1_1", "fear", 101, apex, 110)]
    tree = samm(tmp_path, takes)
    index = tree.index()
    (problem,) = reported(index, clip="008_1_1")
    assert (problem.row, problem.effect) == (tree.rows["008_1_1"], "apex spotted")
    assert [clip.apex for clip in index.clips] == [105, None]


# --- Frame numbers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["1.000", "1,000", "1,5", "1.5", "1'000", "1 000", "1_000", "1.000.000", "1e3", "-5"])
def test_number_with_separator_is_refused_with_row_and_value(tmp_path, text):
    assert parse_frame_number(text) is None
    row = f'b,s2,y,b,"{text}",,' if "," in text else f"b,s2,y,b,{text},,"
    index = people(tmp_path, ["a,s1,x,a,,,", row], range(1, 1100))
    (problem,) = index.problems
    assert (problem.row, problem.field, problem.effect) == (3, "onset", "left out") and text in problem.problem
    whole = {"1.000": "is it 1000 or 1? write 1000 or 1", "1,000": "is it 1000 or 1?", "1.000.000": "write 1000000"}
    assert whole.get(text, "write 1000" if len(text) == 5 else "") in problem.problem


def test_whole_numbers_of_spreadsheets_are_read():
    texts = ["7", "007", "7.0", "7.00", "1000", "123456789012", "20240501120000005000"]
    assert [parse_frame_number(text) for text in texts] == [7, 7, 7, 7, 1000, 123456789012, 501120000005000]


def test_row_names_frame_of_twenty_digits(tmp_path):
    stamps = [20240501120000000000 + 5000 * place for place in range(8)]
    index = people(tmp_path, [f"a,s1,x,a,{stamps[1]},{stamps[4]},{stamps[7]}", "b,s2,y,b,,,"], stamps)
    first, second = index.clips
    assert index.problems == [] and (second.onset, second.offset) == (None, None)
    assert [number % 10**9 for number in (first.onset, first.apex, first.offset)] == [5000, 20000, 35000]


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ([*range(1, 7), *range(15, 21)], "frame 7, 8, 9, 10, 11 and 3 more missing between 1 and 20"),
        ([1, 2, 4], "frame 3 missing between 1 and 4"),
        ([1, 2, 3, 10**9], "frame 4, 5, 6, 7, 8 and 999999991 more missing between 1 and 1000000000"),
        ([5000, 10000, 15000], None),
    ],
)
def test_missing_numbers_are_noted_in_manifest(tmp_path, numbers, said):
    index = people(tmp_path, ["a,s1,x,a,,,", f"b,s2,y,b,{numbers[0]},,{numbers[-1]}"], numbers)
    assert [clip.problem for clip in index.clips] == ["", ""]
    noted = [(2, "frames", "noted"), (3, "frames", "noted")] if said else []
    assert [(problem.row, problem.field, problem.effect) for problem in index.problems] == noted
    assert all(said in problem.problem for problem in index.problems)


# --- Files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["sep=;", "SEP=;", '"sep=;"', "\ufeffsep=;"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_table_that_declares_its_separator_is_read(tmp_path, first, end):
    people(tmp_path, ["c,s1,x,a,,,", "d,s2,x,b,,,"])
    rows = [HEADER.replace(",", ";").strip(), "c;s1;x, or y, or z, or w, or v, or u, or t;a;2;3;5", "d;s2;x;gone;;;"]
    (tmp_path / "manifest.csv").write_text(end.join([first, *rows, ""]), encoding="utf-8", newline="")
    index = index_dataset("people", dataset_settings(layout="manifest", root=str(tmp_path)))
    assert index.clips[0].label == "x, or y, or z, or w, or v, or u, or t" and index.clips[0].offset == 5
    assert reported(index, field="frames")[0].row == 3, "spreadsheets do not show the line"


@pytest.mark.parametrize("separator", "|,:\t")
def test_declared_separator_may_be_any_letter(tmp_path, separator):
    people(tmp_path, ["c,s1,x,a,,,"])
    text = f"sep={separator}\n" + (HEADER + "c,s1,x;y;z;w,a,2,3,5\n").replace(",", separator)
    (tmp_path / "manifest.csv").write_text(text)
    (clip,) = index_dataset("people", dataset_settings(layout="manifest", root=str(tmp_path))).clips
    assert (clip.clip, clip.label, clip.offset, clip.problem) == ("c", "x;y;z;w", 5, "")


@pytest.mark.parametrize("suffix", [".3gpx", ".heic", ".raw", ""])
def test_row_with_suffix_that_no_reader_takes(tmp_path, suffix):
    (tmp_path / f"phone{suffix}").write_bytes(b"x")
    index = people(tmp_path, ["a,s1,x,a,,,", f"b,s2,x,phone{suffix},,,"])
    (problem,) = index.problems
    assert problem.row == 3 and "is neither a video nor an image by its name; read are" in problem.problem
    assert all(known in problem.problem for known in (".png", ".mp4")) and "does not exist" not in problem.problem


def test_table_with_suffix_that_no_reader_takes(tmp_path):
    (tmp_path / "clips.ods").write_bytes(b"x")
    with pytest.raises(
        InputError, match=r"clips\.ods is no table by its name; read are \.csv, \.tsv, \.txt, \.xls, \.xlsx"
    ):
        index_dataset("people", dataset_settings(layout="manifest", root=str(tmp_path), table="clips.ods"))


# --- Names ------------------------------------------------------------------------------------------------------------

SPELLINGS = [
    ("S1", "s1"),
    ("001", "1"),
    ("S01", "s1"),
    ("sub 3", "sub3"),
    ("P\u00a07", "p07"),
    ("Zoe\u0308", "Zo\u00eb"),
    ("1", "1.0"),
    ("S1", "S1\u200b"),
    ("S1", "\ufeffS\u00ad1"),
    ("S.01", "S.1"),
]


@pytest.mark.parametrize(("first", "second"), SPELLINGS)
def test_person_spelled_in_two_ways_is_noted(tmp_path, first, second):
    rows = [f"a,{first},x,a,,,", f"b,{second},y,b,,,", f"c,{first},y,c,,,", "d,T2,x,d,,,"]
    index = people(tmp_path, rows)
    (note,) = index.problems
    assert (note.row, note.clip, note.field, note.effect) == (3, "b", "subject", "noted")
    assert f"{f'people/{first}'!r} and {f'people/{second}'!r}" in note.problem and "count as 2 people" in note.problem
    assert len({clip.subject for clip in index.clips}) == 3
    with pytest.raises(InputError, match="count as 2 people"):
        people(tmp_path, rows, on_problem="stop")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Fear", "fear"),
        ("01", "1"),
        ("very sad", "verysad"),
        ("a  b", "A b"),
        ("1", "1.0"),
        ("x y", "x\u00a0y"),
        ("joy", "jo\u2060y"),
    ],
)
def test_label_spelled_in_two_ways_is_noted(tmp_path, first, second):
    rows = [f"{n},s{n},{label},{n},,," for n, label in enumerate([first, second] * 2)]
    index = people(tmp_path, rows)
    (note,) = index.problems
    assert (note.row, note.field) == (3, "label") and f"{first!r} and {second!r}" in note.problem
    assert len(index.classes) == 2 and "count as 2 classes" in note.problem
    with pytest.raises(InputError, match="count as 2 classes"):
        people(tmp_path, rows, on_problem="stop")
    rows = [f"{n},s{n},{label},{n},,," for n, label in enumerate([first, first, second, "z", "z"])]
    assert sum("count as 2 classes" in problem.problem for problem in people(tmp_path, rows).problems) == 1


@pytest.mark.parametrize("suffix", [".csv", ".xlsx"])
@pytest.mark.parametrize("blank", [" ", "\u00a0", "\t", "\n", "\u3000"])
def test_dropped_blank_at_end_is_noted(tmp_path, blank, suffix):
    people(tmp_path, ["a,s1,x,a,,,", "b,s2,x,b,,,", "c,s3,x,c,,,"])
    rows = [
        HEADER.strip().split(","),
        ["a", "S1", "x", "a"],
        ["b", f"S1{blank}", "x", "b"],
        ["c", "T2", f"x{blank}", "c"],
    ]
    write_table(tmp_path / f"clips{suffix}", [row + [""] * (7 - len(row)) for row in rows])
    settings = dataset_settings(layout="manifest", root=str(tmp_path), table=f"clips{suffix}")
    index = index_dataset("people", settings)
    assert [clip.label for clip in index.clips] == ["x", "x", "x"]
    assert [clip.subject for clip in index.clips] == ["people/S1", "people/S1", "people/T2"]
    subject, label = index.problems
    assert (subject.row, subject.field, label.row, label.field) == (3, "subject", 4, "label")
    end = " " if suffix == ".xlsx" and blank in "\t\n" else blank
    assert (
        subject.problem.startswith(f"'people/S1' and {f'people/S1{end}'!r} differ")
        and "count as one" in subject.problem
    )
    with pytest.raises(InputError, match="count as one"):
        index_dataset("people", replace(settings, on_problem="stop"))


@pytest.mark.parametrize(
    "names",
    [
        ("s1", "s10"),
        ("s1", "s2"),
        ("10", "1"),
        ("A1", "B1"),
        ("1_1", "11"),
        ("100", "10"),
        ("2.05", "2.5"),
        ("1.1", "1.10"),
        ("1.0.2", "1.2"),
    ],
)
def test_different_people_are_not_noted(tmp_path, names):
    rows = [f"{n},{name},{label},{n},,," for n, (name, label) in enumerate(zip(names, "xx", strict=True))]
    assert people(tmp_path, rows).problems == []


@pytest.mark.parametrize("word", ["nan", "NaN", "none", "None", "null", "NULL", "N/A"])
def test_words_for_no_value_are_labels_and_said_so(tmp_path, word):
    index = people(
        tmp_path, [f"{n},s{n},{label},{n},,," for n, label in enumerate([word, "x", word, "x"])], on_problem="stop"
    )
    assert index.classes == sorted(["x", word]) and [clip.label for clip in index.clips] == [word, "x", word, "x"]
    (note,) = index.problems
    assert (note.row, note.field) == (2, "label")
    assert f"class {word!r}: read as a label like any other; leave the cell empty" in note.problem
    rows = ["a,s1,x,a,,,", f"b,s2,{word},b,9,,3", "c,s3,x,c,,,"]
    assert [(p.row, p.field) for p in people(tmp_path, rows).problems] == [(3, "onset"), (3, "label")]
    (note,) = people(tmp_path, ["a,s1,,a,,,", "b,s2,x,b,,,", "c,s3,x,c,,,"]).problems
    assert "1 of 3 clips without a label: a;" in note.problem, "an empty cell is no label"
