"""Workbooks of any format, header row and spelling; an unreadable one is one message."""

import csv
import io
import struct
import zipfile

import dataset_files
import dataset_trees
import openpyxl
import pytest
from dataset_files import Take
from dataset_trees import by_name, reported, usable

from merflow.datasets.workbook import read_workbook
from merflow.errors import InputError

TAKES = [
    Take(1, "S01-01-001", "happiness", 1, 3, 5),
    Take(1, "S01-02-001", "surprise", 2, 4, 6, first=1, last=8),
    Take(2, "S02-03-001", "disgust", 1, 2, 3),
]
GOOD = {take.name for take in TAKES}


@pytest.fixture
def tree(tmp_path):
    return dataset_trees.mmew_micro(tmp_path, TAKES)


def rows_of(tree):
    """Header and rows of the workbook."""
    return [[cell.value for cell in row] for row in openpyxl.load_workbook(tree.table).active.iter_rows()]


def as_csv(tree, separator=",", encoding="utf-8", line_end="\r\n", rows=None):
    """The workbook replaced by a CSV."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator=line_end)
    writer.writerows([["" if cell is None else cell for cell in row] for row in rows or rows_of(tree)])
    tree.table.unlink()
    file = tree.table.with_suffix(".csv")
    file.write_bytes(text.getvalue().encode(encoding))
    return file


def same(index):
    """Whether the clips are those of TAKES."""
    clips = [(clip.clip, clip.label, clip.onset, clip.apex, clip.offset) for clip in index.clips]
    return clips == [(take.name, take.emotion, take.onset, take.apex, take.offset) for take in TAKES]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_csv_is_read_as_any_spreadsheet_writes_it(tree, separator, encoding, line_end):
    rows = rows_of(tree)
    rows[1][7] = "Lächeln, links; sic"
    file = as_csv(tree, separator, encoding, line_end, rows)
    index = tree.index()
    assert same(index) and index.problems == []
    assert index.source[0]["source_remarks"] == "Lächeln, links; sic"
    file.write_bytes(file.read_bytes().replace(b"S02-03-001", b"S02-03-009"))
    assert reported(tree.index(), effect="left out")[0].row == 4


def test_csv_rows_with_line_ends_in_cells_are_counted(tree):
    rows = rows_of(tree)
    rows[1][7] = "two\nlines"
    rows[3][1] = "S02-03-009"
    as_csv(tree, rows=rows)
    (problem,) = reported(tree.index(), effect="left out")
    assert problem.row == 4


@pytest.mark.parametrize("suffix", [".xlsx", ".xls", ".csv"])
def test_numbers_as_text_and_blanks_at_ends_are_read(tmp_path, suffix):
    tree = dataset_trees.mmew_micro(tmp_path, TAKES, table=f"MMEW_Micro_Exp{suffix}", mess=True)
    index = tree.index()
    assert same(index) and index.problems == []


@pytest.mark.parametrize("blank", [" ", "\u00a0", "\t", "\n", "  "])
def test_every_kind_of_blank_at_ends_is_skipped(tree, blank):
    rows = [[f"{blank}{cell}{blank}" if cell is not None else None for cell in row] for row in rows_of(tree)]
    dataset_files.write_table(tree.table, rows)
    index = tree.index()
    assert same(index) and index.problems == []


@pytest.mark.parametrize("name", ["MMEW_Micro_Exp.XLSX", "mmew_micro_exp.xlsx", "MMEW_Micro_Exp (1).xlsx"])
def test_name_of_file_may_vary(tree, name):
    tree.table.rename(tree.table.with_name(name))
    assert same(tree.index())


def test_file_of_any_name_may_be_given(tree, tmp_path):
    (tmp_path / "tables").mkdir()
    tree.table.rename(tmp_path / "tables" / "annotation of mine.xlsx")
    with pytest.raises(InputError, match=r"(?s)MMEW_Micro_Exp\.xlsx.*annotation of mine\.xlsx"):
        tree.index()
    assert same(tree.index(table="tables/annotation of mine.xlsx"))


def test_old_workbook_with_new_suffix_is_read(tmp_path):
    tree = dataset_trees.mmew_micro(tmp_path, TAKES, table="MMEW_Micro_Exp.xls")
    tree.table.rename(tmp_path / "MMEW_Micro_Exp.xlsx")
    try:
        assert same(tree.index())
    except InputError as error:
        assert "MMEW_Micro_Exp.xlsx" in str(error)


@pytest.mark.parametrize("above", [0, 1, 7, 30])
@pytest.mark.parametrize("left", [0, 2])
@pytest.mark.parametrize("suffix", [".xlsx", ".xls", ".csv"])
def test_empty_rows_and_columns_shift_no_row_number(tmp_path, above, left, suffix):
    bad = Take(2, "S02-03-002", "disgust", folder=False)
    tree = dataset_trees.mmew_micro(tmp_path, [*TAKES, bad])
    rows = [[None] * left + row for row in rows_of(tree)]
    tree.table.unlink()
    dataset_files.write_table(tree.table.with_suffix(suffix), [[None] * (left + 8)] * above + rows)
    index = tree.index()
    assert usable(index) == GOOD
    assert [problem.row for problem in index.problems] == [above + 5]


def test_header_words_in_preamble_are_ignored(tree):
    preamble = [["Subject and Filename as in the release", None], ["Subject", None, "OnsetFrame"], ["Filename"]]
    dataset_files.write_table(tree.table, [*preamble, *rows_of(tree)])
    index = tree.index()
    assert same(index) and index.problems == []


def test_sheet_with_the_columns_is_found_in_any_place(tree):
    others = {"Cover": [["MMEW"], ["2021"]], "Empty": [], "Subjects": [["Subject", "Age"], ["S01", 22]]}
    dataset_files.write_table(tree.table, rows_of(tree), "annotation", others)
    index = tree.index()
    assert same(index) and index.problems == []


@pytest.mark.parametrize(
    "spelling",
    [
        {"OnsetFrame": "Onset Frame", "ApexFrame": "Apex_Frame", "Estimated Emotion": "EstimatedEmotion"},
        {"OnsetFrame": "ONSETFRAME", "Subject": "subject", "Filename": "File name", "Estimated Emotion": "emotion"},
        {"OnsetFrame": " OnsetFrame ", "OffsetFrame": "Offset  Frame", "Estimated Emotion": "estimated_emotion"},
        {"OnsetFrame": "Onset\nFrame"},
    ],
)
def test_columns_are_known_in_any_spelling(tmp_path, spelling):
    index = dataset_trees.mmew_micro(tmp_path, TAKES, rename=spelling).index()
    assert same(index) and index.problems == []


def test_columns_may_stand_in_any_order_among_others(tree):
    rows = [[f"extra {i}", *reversed(row), None, "more"] for i, row in enumerate(rows_of(tree))]
    dataset_files.write_table(tree.table, rows)
    index = tree.index()
    assert same(index) and index.problems == []


def test_row_may_end_early(tree):
    rows = rows_of(tree)
    rows[3] = rows[3][:4]
    as_csv(tree, rows=rows)
    index = tree.index()
    assert len(index.clips) == 3 and {"S01-01-001", "S01-02-001"} <= usable(index)
    assert 4 in {problem.row for problem in index.problems}


def test_missing_columns_are_named_with_existing_ones(tree):
    rows = rows_of(tree)
    rows[0][2:5] = ["Start", "Peak", "End"]
    dataset_files.write_table(tree.table, rows, "Coding")
    with pytest.raises(InputError) as error:
        tree.index()
    message = str(error.value)
    assert all(word in message for word in ("OnsetFrame", "ApexFrame", "OffsetFrame", "Start", "Peak", "End"))
    assert str(tree.table) in message and "Coding" in message


@pytest.mark.parametrize("rows", [[], [[None]], [["something", "else"], [1, 2]]])
def test_workbook_without_header_is_named(tree, rows):
    dataset_files.write_table(tree.table, rows)
    with pytest.raises(InputError, match=r"MMEW_Micro_Exp\.xlsx"):
        tree.index()


def test_workbook_without_rows_is_one_message(tree):
    dataset_files.write_table(tree.table, rows_of(tree)[:1])
    with pytest.raises(InputError, match="mmew-micro|MMEW_Micro_Exp"):
        tree.index()


def broken(kind):
    if kind == "other archive":
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("readme.txt", "not a workbook")
        return file.getvalue()
    return {"nothing": b"", "text": b"<html>Please log in</html>", "cut": None}[kind]


@pytest.mark.parametrize("suffix", [".xlsx", ".xls"])
@pytest.mark.parametrize("kind", ["nothing", "text", "cut", "other archive"])
def test_file_that_is_not_workbook_is_named(tmp_path, suffix, kind):
    tree = dataset_trees.mmew_micro(tmp_path, TAKES, table=f"MMEW_Micro_Exp{suffix}")
    data = broken(kind)
    tree.table.write_bytes(tree.table.read_bytes()[:700] if data is None else data)
    with pytest.raises(InputError) as error:
        tree.index()
    assert str(tree.table) in str(error.value)


def test_folder_of_workbooks_name_is_not_workbook(tree):
    (tree.root / "MMEW_Micro_Exp_v3.xlsx").mkdir()
    index = tree.index()
    assert same(index) and index.problems == []


def test_csv_of_arbitrary_bytes_does_not_crash(tree):
    tree.table.unlink()
    tree.table.with_suffix(".csv").write_bytes(bytes(range(256)) * 4)
    with pytest.raises(InputError, match=r"MMEW_Micro_Exp\.csv"):
        tree.index()


def test_lock_files_and_resource_forks_are_not_workbooks(tree):
    for name in ("~$MMEW_Micro_Exp.xlsx", "._MMEW_Micro_Exp.xlsx", ".MMEW_Micro_Exp.xlsx.swp"):
        (tree.root / name).write_bytes(b"junk")
    index = tree.index()
    assert same(index) and index.problems == []


def test_dates_booleans_and_errors_in_cells_are_reported(tree):
    """Auto-format and broken formulas leave dates, booleans and error values in cells."""
    import datetime

    rows = rows_of(tree)
    rows[1][3] = datetime.datetime(2021, 3, 1)
    rows[2][2] = True
    rows[3][4] = "#REF!"
    dataset_files.write_table(tree.table, rows)
    index = tree.index()
    assert by_name(index)["S01-01-001"].apex is None and usable(index) == {"S01-01-001"}
    assert {(p.row, p.field, p.effect) for p in index.problems} == {
        (2, "apex", "apex spotted"),
        (3, "onset", "left out"),
        (4, "offset", "left out"),
    }


def test_workbook_that_unpacks_to_too_much_is_refused(tree):
    with zipfile.ZipFile(tree.table, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/padding.xml", bytes(60_000_000))
    with pytest.raises(InputError, match=r"MMEW_Micro_Exp\.xlsx unpacks to more than 50 MB"):
        tree.index()


def test_workbook_larger_than_limit_is_not_opened(tree):
    with tree.table.open("ab") as file:
        file.truncate(10_000_000_000)  # Sparse: takes no space on the disk.
    with pytest.raises(InputError, match=r"MMEW_Micro_Exp\.xlsx has 10000 MB"):
        tree.index()


@pytest.mark.parametrize("size", [2**42, 2**63 + 5])
def test_workbook_with_false_size_in_directory_is_refused(tmp_path, size):
    """The directory of an archive may hold a false 64-bit size; that much memory must not be allocated."""
    file = tmp_path / "codes.xlsx"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("xl/worksheets/sheet1.xml", "<worksheet/>" * 50)
    data = bytearray(file.read_bytes())
    place, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    data[place + 20 : place + 24] = b"\xff" * 4  # the packed size stands in the extra field
    extra = struct.pack("<HHQ", 1, 8, size)
    name = struct.unpack("<H", data[place + 28 : place + 30])[0]
    data[place + 30 : place + 32] = struct.pack("<H", len(extra))
    data[place + 46 + name : place + 46 + name] = extra
    end += len(extra)
    data[end + 12 : end + 16] = struct.pack("<I", end - place)
    file.write_bytes(data)
    with zipfile.ZipFile(file) as archive:
        assert archive.infolist()[0].compress_size == size
    with pytest.raises(InputError, match="codes.xlsx"):
        read_workbook(file, {"clip": ["clip"]})
