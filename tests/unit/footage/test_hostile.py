"""Input that means harm, or merely happens: sizes that no memory holds, names that no shell likes, code in data."""

import ast
import csv
import io
import os
import pickle
import re
import struct
import subprocess
import sys
import zipfile
import zlib
from html.parser import HTMLParser

import cv2
import numpy as np
import openpyxl
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from repository import REPO
from stage_settings import align_settings

from merflow.datasets.index import index_dataset, write_index
from merflow.datasets.workbook import read_workbook
from merflow.errors import ClipError, InputError
from merflow.footage.clip import Clip
from merflow.footage.frames import grey_frames, read_grey
from merflow.footage.images import picture_size
from merflow.preprocessing.faces import align_clip
from merflow.report import figures
from merflow.storage.tables import CLIPS, escape_formula, read_table, unescape_formula, write_table
from merflow.storage.weights import read_weights

# --- Pictures ---------------------------------------------------------------------------------------------------------


def encoded(suffix, shape=(31, 47), **kwargs):
    noise = np.random.default_rng(0).integers(0, 255, shape if suffix == ".pgm" else (*shape, 3), np.uint8)
    return cv2.imencode(suffix, noise, kwargs.get("parameters", []))[1].tobytes()


LOSSLESS = [cv2.IMWRITE_WEBP_QUALITY, 101]
PROGRESSIVE = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 2]


@pytest.mark.parametrize("shape", [(1, 1), (31, 47), (700, 3)])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".ppm", ".pgm", ".tif", ".webp", ".gif"])
def test_the_size_in_the_header_is_that_of_the_picture(suffix, shape):
    assert picture_size(encoded(suffix, shape)) == shape[::-1]


def test_the_size_is_found_in_other_flavours_too():
    assert picture_size(encoded(".webp", parameters=LOSSLESS)) == (47, 31)
    assert picture_size(encoded(".jpg", parameters=PROGRESSIVE)) == (47, 31)
    jpeg = encoded(".jpg")
    late = jpeg[:2] + (b"\xff\xe1" + struct.pack(">H", 60_002) + bytes(60_000)) * 3 + jpeg[2:]
    assert picture_size(late) == (47, 31)
    assert picture_size(b"P5\n# made by hand\n 47\n# and\n31\n255\n") == (47, 31)
    assert picture_size(b"P4\n#\r9000 9000\n10 10\n") == (9000, 9000), "as OpenCV ends a comment"
    tiff = b"MM\0*\0\0\0\x08\0\x02\x01\0\0\x03\0\0\0\x01\0\x2f\0\0\x01\x01\0\x03\0\0\0\x01\0\x1f\0\0"
    assert picture_size(tiff) == (47, 31)
    wide = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + (46).to_bytes(3, "little") + (30).to_bytes(3, "little")
    assert picture_size(wide) == (47, 31)
    assert picture_size(encoded(".png") + b"made by a camera, 2026") == (47, 31), "its end is IEND"
    assert picture_size(b"\0" * 600) is None and picture_size(b"") is None


def png(width, height, rows):
    """A grey PNG that claims a size, and holds so many rows of zeros."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(rows * (width + 1)), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_a_picture_of_20000_by_20000_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    (tmp_path / "1.png").write_bytes(png(20_000, 20_000, 10))
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ClipError, match=r"1\.png is 20000x20000; at most 8192x8192 is read"):
        read_grey(tmp_path / "1.png")


def test_a_picture_that_holds_more_than_it_claims_does_no_harm(tmp_path):
    (tmp_path / "1.png").write_bytes(png(40, 30, 1_000_000))
    assert read_grey(tmp_path / "1.png").shape == (30, 40)


@pytest.mark.parametrize("chunk", [b"IDAT", b"IEND"])
def test_a_chunk_that_claims_gigabytes_is_refused_before_it_is_decoded(tmp_path, monkeypatch, chunk):
    """OpenCV takes as much memory as a chunk of a PNG claims: 2.4 GB for 188 bytes."""
    good = png(40, 30, 30)
    (tmp_path / "1.png").write_bytes(good)
    assert read_grey(tmp_path / "1.png").shape == (30, 40)
    place = good.index(chunk) - 4
    (tmp_path / "1.png").write_bytes(good[:place] + b"\x96" + good[place + 1 :])
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ClipError, match=r"1\.png is not an image that can be decoded"):
        read_grey(tmp_path / "1.png")


def test_a_file_too_large_for_any_picture_is_not_read(tmp_path):
    with (tmp_path / "1.png").open("wb") as file:
        file.truncate(10_000_000_000)  # Without a block on the disk.
    with pytest.raises(ClipError, match=r"1\.png has 10000 MB; a picture has at most 537 MB"):
        read_grey(tmp_path / "1.png")


def test_a_picture_that_opencv_asserts_about_is_no_crash(tmp_path, monkeypatch):
    def asserts(*_):
        raise cv2.error("(-215:Assertion failed) pixels <= CV_IO_MAX_IMAGE_PIXELS")

    (tmp_path / "1.png").write_bytes(encoded(".png"))
    monkeypatch.setattr(cv2, "imdecode", asserts)
    with pytest.raises(ClipError, match=r"1\.png is not an image that can be decoded"):
        read_grey(tmp_path / "1.png")


@pytest.mark.parametrize("align", ["detect", "auto", "none"])
def test_frames_of_one_pixel_are_a_reason(tmp_path, align):
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((1, 1), np.uint8))
    clip = Clip("c", "d/s", "", "micro", str(tmp_path), align=align)
    with pytest.raises(ClipError, match="are 1x1; a face needs 16 px"):
        align_clip(clip, align_settings())


def test_a_video_of_huge_frames_is_refused_by_its_header(tmp_path, monkeypatch):
    class Huge:
        def isOpened(self):  # noqa: N802 - OpenCV's name
            return True

        def get(self, which):
            return {cv2.CAP_PROP_FRAME_WIDTH: 20_000.0, cv2.CAP_PROP_FRAME_HEIGHT: 100.0}[which]

        def read(self):
            pytest.fail("decoded")

        def release(self):
            pass

    monkeypatch.setattr(cv2, "VideoCapture", lambda _: Huge())
    with pytest.raises(ClipError, match=r"video x\.avi is 20000x100; at most"):
        list(grey_frames("x.avi"))


# --- Workbooks --------------------------------------------------------------------------------------------------------

SHEET = "xl/worksheets/sheet1.xml"
SPACE = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'


def sheet(rows):
    return f'<?xml version="1.0"?><worksheet {SPACE}><sheetData>{rows}</sheetData></worksheet>'


SHARED = '<c t="s"><v>0</v></c>'
ENTITIES = '<!DOCTYPE x [<!ENTITY a "xxxxxxxxxx"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
BOMBS = {
    "far cells": {
        SHEET: sheet('<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>1</v></c></row>')
    },
    "unpacks": {SHEET: sheet(" " * 60_000_000)},
    "shared text": {
        SHEET: sheet(f"<row>{SHARED * 30_000}</row>"),
        "xl/sharedStrings.xml": f"<sst {SPACE}><si><t>{'x' * 1_000_000}</t></si></sst>",
    },
    "entities": {SHEET: sheet('<row><c t="str"><v>&b;&b;</v></c></row>').replace("?>", f"?>{ENTITIES}", 1)},
}


def workbook(file, parts=()):
    book = openpyxl.Workbook()
    book.active.append(["clip", "label"])
    book.active.append(["c1", "joy"])
    plain = io.BytesIO()
    book.save(plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, dict(parts).get(name, source.read(name)))
    return file


def read_within_limits(file, memory=2_500_000_000):
    """What reading says, in a process that may have so much memory, and its children so much each."""
    script = f"""
import resource, sys
from pathlib import Path
from merflow.datasets.workbook import read_workbook
from merflow.errors import MerflowError
resource.setrlimit(resource.RLIMIT_AS, ({memory}, {memory}))
try:
    print(len(read_workbook(Path(sys.argv[1]), {{"clip": ["clip"]}})), "rows")
except MerflowError as error:
    print(type(error).__name__, error)
"""
    return subprocess.run([sys.executable, "-c", script, str(file)], cwd=REPO, capture_output=True, text=True).stdout


@pytest.mark.parametrize("kind", ["far cells", *(pytest.param(k, marks=pytest.mark.slow) for k in list(BOMBS)[1:])])
def test_a_workbook_bomb_is_one_message_within_bounded_memory(tmp_path, kind):
    text = read_within_limits(workbook(tmp_path / "bomb.xlsx", BOMBS[kind]))
    assert text.startswith(f"InputError {tmp_path / 'bomb.xlsx'} ") and text.count("\n") == 1
    assert ".csv" in text


def test_sizes_in_the_directory_of_a_workbook_are_not_believed(tmp_path):
    file = workbook(tmp_path / "lies.xlsx", BOMBS["unpacks"])
    data = bytearray(file.read_bytes())
    size = struct.pack("<I", len(BOMBS["unpacks"][SHEET]))
    assert data.count(size) == 2
    file.write_bytes(bytes(data).replace(size, struct.pack("<I", 100)))
    assert "unpacks to more than 50 MB" in read_within_limits(file)


def test_a_declared_dimension_costs_nothing(tmp_path):
    rows = '<row r="1"><c r="A1" t="str"><v>clip</v></c></row><row r="2"><c r="A2" t="str"><v>c1</v></c></row>'
    text = sheet(rows).replace("<sheetData>", '<dimension ref="A1:XFD1048576"/><sheetData>')
    (row,) = read_workbook(workbook(tmp_path / "wide.xlsx", {SHEET: text}), {"clip": ["clip"]})
    assert row.cells == {"clip": "c1"} and row.number == 2


def test_what_is_read_apart_is_the_same(tmp_path, monkeypatch):
    file = workbook(tmp_path / "good.xlsx")
    here = read_workbook(file, {"clip": ["clip"]})
    monkeypatch.setattr("merflow.datasets.workbook._is_harmless", lambda _: False)
    assert read_workbook(file, {"clip": ["clip"]}) == here and len(here) == 1


# --- Names and labels -------------------------------------------------------------------------------------------------

HEADER = ["clip", "subject", "label", "frames", "onset", "apex", "offset", "fps"]
NASTY = [
    "with spaces", "quote ' and \" quote", "ünï-çødé", "e\u0301 combining", "\u202eright to left", "../../etc/passwd",
    "-rf",    "back\\slash", "{wildcard}", "{subject}", "%s %d %2F", "a[1]*?", "$HOME `id` $(id)",
    "=cmd|'/c calc'!A1", "~", "..",
    "<b>bold</b>", "$\\frac{a$", "long" * 60, "🙂", "#", "&amp;", "a,b;c",
]  # fmt: skip


def people(root, rows):
    with (root / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([HEADER, *([*row, "", "", "", ""] for row in rows)])
    return index_dataset("people", {"layout": "manifest", "root": str(root), "table": "manifest.csv", "kind": "micro"})


def frames(folder):
    folder.mkdir(parents=True)
    for number in (1, 2, 3):
        (folder / f"{number}.png").write_bytes(b"x")


@pytest.mark.parametrize("name", NASTY)
def test_a_nasty_name_is_a_name_everywhere(tmp_path, name):
    from merflow.study.study import subject_key

    folder = tmp_path / "people" / name.replace("/", "_").replace("..", "__")
    frames(folder)
    row = [name, name, name, folder.name]
    index = people(tmp_path / "people", [row])
    (clip,) = index.clips
    assert (clip.problem, clip.clip, clip.subject, clip.label) == ("", name, f"people/{name}", name)
    write_index(index, tmp_path / "clips.csv", tmp_path / "problems.csv")
    table = read_table(tmp_path / "clips.csv", CLIPS)
    assert table.loc[0, "clip"] == name and table.loc[0, "frames"] == clip.frames
    assert os.sep not in subject_key(clip.subject) and subject_key(clip.subject) not in (".", "..")
    (tmp_path / f".{subject_key(clip.subject)}.12345.tmp.source.json").touch()


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("letter", ["\n", "\r\n", "\x1b[31m", "\0", "\x07"])
def test_a_name_or_label_with_a_control_character_is_one_problem_and_the_others_go_on(tmp_path, place, letter):
    frames(tmp_path / "a")
    frames(tmp_path / "b")
    bad = ["c1", "s1", "joy", "a"]
    bad[place] = f"x{letter}y"
    index = people(tmp_path, [bad, ["c2", "s2", "joy", "b"]])
    assert [clip.problem == "" for clip in index.clips] == [False, True]
    (problem,) = index.problems
    assert problem.row == 2 and problem.field == HEADER[place] and "control character" in problem.problem
    assert all((c.clip + c.subject + c.label).isprintable() for c in index.clips) and problem.problem.isprintable()


def test_names_of_files_that_are_no_utf8_are_read(tmp_path):
    folder = os.fsencode(tmp_path) + b"/a"
    os.mkdir(folder)
    for name in (b"\xff1.png", b"\xff2.png"):
        with open(folder + b"/" + name, "wb") as file:
            file.write(encoded(".png"))
    from merflow.footage.fingerprints import content_digest, footage, stat_digest

    files = footage([{"frames": str(tmp_path / "a")}])
    assert len(files) == 2 and stat_digest(files) and content_digest(files)
    assert len(list(grey_frames(str(tmp_path / "a")))) == 2
    write_table([{"clip": files[0]}], tmp_path / "t.csv", ["clip"])
    assert "udcff1.png" in read_table(tmp_path / "t.csv", ["clip"]).loc[0, "clip"]


# --- Tables -----------------------------------------------------------------------------------------------------------

CELLS = st.text(st.sampled_from("=+-@'\t\r1.eE ax"), max_size=6)


@given(CELLS)
def test_no_cell_of_ours_is_a_formula_and_each_is_read_back_as_it_was(text):
    written = escape_formula(text)
    assert unescape_formula(written) == text
    number = re.fullmatch(r"[+-]?[\d.eE+-]*", written) is not None
    assert not written.startswith(("=", "@", "\t", "\r")) and (number or not written.startswith(("+", "-")))


@given(st.lists(CELLS.filter(lambda text: "\r" not in text), min_size=1, max_size=5), st.lists(st.integers(-5, 5)))
def test_tables_are_read_back_as_they_were_written(tmp_path_factory, labels, numbers):
    file = tmp_path_factory.mktemp("table") / "t.csv"
    write_table([{"label": label, "n": -0.5} for label in labels], file, ["label"])
    table = read_table(file, ["label"])
    assert table["label"].tolist() == labels and table["n"].tolist() == [-0.5] * len(labels)


def test_numbers_and_names_of_real_datasets_stay_as_they_are():
    for text in (
        "-1",
        "+1",
        "-0.5",
        "1e-5",
        "-1e-5",
        "S01-01-001",
        "006_1_2",
        "sub01/EP02_01f",
        "-",
        "4+7",
        "'",
        "'90s",
        "",
    ):
        assert escape_formula(text) == text
    assert escape_formula("=1+1") == "'=1+1" and escape_formula("-cmd") == "'-cmd" and escape_formula(-1) == -1


# --- The report -------------------------------------------------------------------------------------------------------

ATTACKS = [
    "<script>alert(1)</script>", "$\\frac{a$", "-->", "]]>", '"><img src=x onerror=alert(1)>', "</title></svg>", "$x^$",
]  # fmt: skip


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen, self.attributes = set(), set()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}


@pytest.mark.parametrize("name", ATTACKS)
def test_names_are_text_in_every_drawing(name):
    rows = [{"name": name, "value": 0.5, "low": 0.4, "high": 0.6, "floor": False}]
    course = pd.DataFrame({"epoch": [1, 2], "split": "train", "loss": 1.0, "accuracy": 0.5, "run": 1})
    for svg in (figures.forest(name, rows, "a"), figures.curves(name, course, "b")):
        tags = Tags()
        tags.feed(svg)
        assert not tags.seen & {"script", "img"} and "onerror" not in tags.attributes
        assert svg.count("</svg>") == 1 and svg.endswith("</svg>\n") or svg.rstrip().endswith("</svg>")
        assert name[: figures._LONGEST - 1].split("<")[0].split('"')[0].split(">")[0] in svg


# --- Code in data -----------------------------------------------------------------------------------------------------

FORBIDDEN = {
    "pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib", "torch.load", "torch.jit.load",
    "pd.read_pickle", "pandas.read_pickle", "yaml.load", "yaml.unsafe_load", "yaml.full_load",
    "yaml.load_all", "eval", "exec", "os.system",
}  # fmt: skip


def dotted(node):
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def code_runners(source):
    """Everything in Python source that runs or unpickles what it reads."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in FORBIDDEN)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{a.name}" for a in node.names if f"{node.module}.{a.name}" in FORBIDDEN)
            if (node.module or "").split(".")[0] in FORBIDDEN:
                yield node.module
        elif isinstance(node, ast.Call):
            name = dotted(node.func)
            if name in FORBIDDEN:
                yield name
            for word in node.keywords:
                if word.arg in ("allow_pickle", "shell") and getattr(word.value, "value", True):
                    yield f"{name}({word.arg})"


def test_nothing_that_is_read_is_run():
    found = [
        (file.name, what)
        for folder in ("merflow", "workflow", "bench")
        for file in (REPO / folder).rglob("*.py")
        for what in code_runners(file.read_text())
    ]
    assert not found
    bad = "import pickle\nfrom torch import load\ntorch.load(f)\nnp.load(f, allow_pickle=True)\neval(x)\nyaml.load(f)"
    assert len(list(code_runners(bad))) == 6


def test_a_pickle_for_weights_is_one_message_and_is_not_run(tmp_path):
    import torch

    from merflow.preprocessing.frame_scorer.scorer import load_scorer
    from merflow.systems.tsdgcn.graph import build_graph
    from merflow.systems.tsdgcn.pretrain import load_network, outcome

    class Bad:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "was run"),)

    file = tmp_path / "w.safetensors"
    graph = build_graph(16, 4, 0)
    for data in (pickle.dumps(Bad()), b"", b"\xff" * 40, struct.pack("<Q", 2**62) + b"{}"):
        file.write_bytes(data)
        for read in (read_weights, lambda f: load_network(f, graph), outcome, load_scorer):
            with pytest.raises(InputError, match=r"w\.safetensors .*run again"):
                read(file)
    torch.save({"x": torch.zeros(3)}, file)
    with pytest.raises(InputError, match=r"w\.safetensors is no whole safetensors file"):
        read_weights(file)
    assert not (tmp_path / "was run").exists()


@pytest.mark.parametrize("size", [2**42, 2**63 + 5])
def test_a_workbook_whose_directory_lies_about_its_size_is_one_message(tmp_path, size):
    """The 64-bit size of an entry in the directory of an archive; so much is never asked for."""
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
