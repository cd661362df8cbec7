"""Malicious or odd input: sizes beyond memory, names with special characters, code in data."""

import ast
import csv
import os
import pickle
import re
import struct
import zlib
from html.parser import HTMLParser

import cv2
import numpy as np
import pandas as pd
import pytest
from dataset_trees import dataset_settings, of_few_people
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import rc_context
from repository import REPO
from stage_settings import align_settings

from merflow.datasets.index import index_dataset, write_index
from merflow.errors import ClipError, InputError
from merflow.footage.clip import Clip
from merflow.footage.frames import grey_frames
from merflow.footage.images import image_size, read_grey
from merflow.preprocessing.faces import align_clip
from merflow.report.sections.curves import curves_svg
from merflow.report.sections.results import forest_svg
from merflow.report.svg import LONGEST, STYLE
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
def test_image_size_equals_decoded_size(suffix, shape):
    assert image_size(encoded(suffix, shape)) == shape[::-1]


def test_image_size_of_less_common_variants():
    assert image_size(encoded(".webp", parameters=LOSSLESS)) == (47, 31)
    assert image_size(encoded(".jpg", parameters=PROGRESSIVE)) == (47, 31)
    jpeg = encoded(".jpg")
    late = jpeg[:2] + (b"\xff\xe1" + struct.pack(">H", 60_002) + bytes(60_000)) * 3 + jpeg[2:]
    assert image_size(late) == (47, 31)
    assert image_size(b"P5\n# made by hand\n 47\n# and\n31\n255\n") == (47, 31)
    assert image_size(b"P4\n#\r9000 9000\n10 10\n") == (9000, 9000), "as OpenCV ends a comment"
    assert image_size(encoded(".png") + b"made by a camera, 2026") == (47, 31), "its end is IEND"
    assert image_size(b"\0" * 600) is None and image_size(b"") is None


def png(width, height, rows):
    """A grey PNG that states a size and has ``rows`` rows of zeros."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(rows * (width + 1)), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_image_of_20000_px_is_refused_before_decoding(tmp_path, monkeypatch):
    (tmp_path / "1.png").write_bytes(png(20_000, 20_000, 10))
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ClipError, match=r"1\.png is 20000x20000; at most 8192x8192 is read"):
        read_grey(tmp_path / "1.png")


def test_image_with_more_data_than_stated_is_read(tmp_path):
    (tmp_path / "1.png").write_bytes(png(40, 30, 1_000_000))
    assert read_grey(tmp_path / "1.png").shape == (30, 40)


@pytest.mark.parametrize("chunk", [b"IDAT", b"IEND"])
def test_png_chunk_of_gigabytes_is_refused_before_decoding(tmp_path, monkeypatch, chunk):
    """OpenCV allocates as much memory as a chunk of a PNG claims: 2.4 GB for 188 bytes."""
    good = png(40, 30, 30)
    (tmp_path / "1.png").write_bytes(good)
    assert read_grey(tmp_path / "1.png").shape == (30, 40)
    place = good.index(chunk) - 4
    (tmp_path / "1.png").write_bytes(good[:place] + b"\x96" + good[place + 1 :])
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ClipError, match=r"1\.png is not an image that can be decoded"):
        read_grey(tmp_path / "1.png")


def test_file_too_large_for_any_image_is_not_read(tmp_path):
    with (tmp_path / "1.png").open("wb") as file:
        file.truncate(10_000_000_000)  # Without a block on the disk.
    with pytest.raises(ClipError, match=r"1\.png has 10000 MB; an image has at most 537 MB"):
        read_grey(tmp_path / "1.png")


def test_opencv_error_is_a_clip_error(tmp_path, monkeypatch):
    def asserts(*_):
        raise cv2.error("(-215:Assertion failed) pixels <= CV_IO_MAX_IMAGE_PIXELS")

    (tmp_path / "1.png").write_bytes(encoded(".png"))
    monkeypatch.setattr(cv2, "imdecode", asserts)
    with pytest.raises(ClipError, match=r"1\.png is not an image that can be decoded"):
        read_grey(tmp_path / "1.png")


@pytest.mark.parametrize("align", ["detect", "auto", "none"])
def test_frames_of_one_pixel_are_reason(tmp_path, align):
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((1, 1), np.uint8))
    clip = Clip("c", "d/s", "", "micro", str(tmp_path), align=align)
    with pytest.raises(ClipError, match="are 1x1; a face needs 16 px"):
        align_clip(clip, align_settings())


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
    return of_few_people(index_dataset("people", dataset_settings(layout="manifest", root=str(root))))


def frames(folder):
    folder.mkdir(parents=True)
    for number in (1, 2, 3):
        (folder / f"{number}.png").write_bytes(b"x")


@pytest.mark.parametrize("name", NASTY)
def test_nasty_name_is_accepted_everywhere(tmp_path, name):
    from merflow.study.data import subject_filename

    folder = tmp_path / "people" / name.replace("/", "_").replace("..", "__")
    frames(folder)
    row = [name, name, name, folder.name]
    index = people(tmp_path / "people", [row])
    (clip,) = index.clips
    assert (clip.problem, clip.clip, clip.subject, clip.label) == ("", name, f"people/{name}", name)
    write_index(index, tmp_path / "clips.csv", tmp_path / "problems.csv")
    table = read_table(tmp_path / "clips.csv", CLIPS)
    assert table.loc[0, "clip"] == name and table.loc[0, "frames"] == clip.frames
    assert os.sep not in subject_filename(clip.subject) and subject_filename(clip.subject) not in (".", "..")
    (tmp_path / f".{subject_filename(clip.subject)}.12345.tmp.source.json").touch()


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("letter", ["\n", "\r\n", "\x1b[31m", "\0", "\x07"])
def test_control_character_in_name_or_label_leaves_clip_out(tmp_path, place, letter):
    frames(tmp_path / "a")
    frames(tmp_path / "b")
    bad = ["c1", "s1", "joy", "a"]
    bad[place] = f"x{letter}y"
    index = people(tmp_path, [bad, ["c2", "s2", "joy", "b"]])
    assert [clip.problem == "" for clip in index.clips] == [False, True]
    (problem,) = index.problems
    assert problem.row == 2 and problem.field == HEADER[place] and "control character" in problem.problem
    assert all((c.clip + c.subject + c.label).isprintable() for c in index.clips) and problem.problem.isprintable()


def test_file_names_with_invalid_utf8_are_read(tmp_path):
    folder = os.fsencode(tmp_path) + b"/a"
    os.mkdir(folder)
    for name in (b"\xff1.png", b"\xff2.png"):
        with open(folder + b"/" + name, "wb") as file:
            file.write(encoded(".png"))
    from merflow.footage.fingerprints import content_digest, footage_files, stat_digest

    files = footage_files([{"frames": str(tmp_path / "a")}])
    assert len(files) == 2 and stat_digest(files) and content_digest(files)
    assert len(list(grey_frames(str(tmp_path / "a")))) == 2
    write_table([{"clip": files[0]}], tmp_path / "t.csv", ["clip"])
    assert "udcff1.png" in read_table(tmp_path / "t.csv", ["clip"]).loc[0, "clip"]


# --- Tables -----------------------------------------------------------------------------------------------------------

CELLS = st.text(st.sampled_from("=+-@'\t\r1.eE ax"), max_size=6)


@given(CELLS)
def test_formulas_in_cells_are_escaped_and_read_back(text):
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
@rc_context(STYLE)
def test_names_are_text_in_every_drawing(name):
    rows = [{"experiment": name, "value": 0.5, "ci_low": 0.4, "ci_high": 0.6, "floor": False}]
    course = pd.DataFrame({"epoch": [1, 2], "split": "train", "loss": 1.0, "accuracy": 0.5, "run": 1})
    for svg in (forest_svg(name, rows, "a"), curves_svg(name, course, "b")):
        tags = Tags()
        tags.feed(svg)
        assert not tags.seen & {"script", "img"} and "onerror" not in tags.attributes
        assert svg.count("</svg>") == 1 and svg.endswith("</svg>\n") or svg.rstrip().endswith("</svg>")
        assert name[: LONGEST - 1].split("<")[0].split('"')[0].split(">")[0] in svg


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
    """Yield everything in Python source that executes or unpickles data."""
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


def test_no_data_file_is_executed():
    runners = [
        (file.name, what)
        for folder in ("merflow", "workflow", "bench")
        for file in (REPO / folder).rglob("*.py")
        for what in code_runners(file.read_text())
    ]
    assert not runners
    bad = "import pickle\nfrom torch import load\ntorch.load(f)\nnp.load(f, allow_pickle=True)\neval(x)\nyaml.load(f)"
    assert len(list(code_runners(bad))) == 6


def test_pickle_as_weights_is_refused_and_not_run(tmp_path):
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
    with pytest.raises(InputError, match=r"w\.safetensors is not a complete safetensors file"):
        read_weights(file)
    assert not (tmp_path / "was run").exists()
