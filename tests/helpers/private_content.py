"""Find faces, frames, arrays, annotations and paths of a machine in files that are to be published."""

import base64
import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from zipfile import ZipFile

MAGIC = {
    "JPEG": b"\xff\xd8\xff",
    "PNG": b"\x89PNG",
    "GIF": b"GIF8",
    "BMP": b"BM",
    "TIFF": b"II*\0",
    "TIFF of Motorola": b"MM\0*",
    "RIFF (WebP, AVI)": b"RIFF",
    "Matroska": b"\x1aE\xdf\xa3",
    "HDF5": b"\x89HDF",
    "NumPy": b"\x93NUMPY",
    "pickle": b"\x80\x04",
    "zip": b"PK\3\4",
    "gzip": b"\x1f\x8b",
}
ANNOTATIONS = {"onset", "apex", "offset", "frame", "frames", "fps", "action_units", "apex_annotated", "apex_spotted"}
"""Columns of the tables of clips and key-frames."""
URI = re.compile(rb"data:([\w/+.-]+);base64,([\w+/=]+)")


def zip_content(path) -> dict[str, bytes]:
    """The files of an archive by name."""
    with ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def private_content(files: Mapping[str, bytes], paths: Sequence[str] = ()) -> list[str]:
    """What must not be published, one line each; ``paths``: beginnings of paths of the user's machine."""
    return [f"{name}: {what}" for name, content in files.items() for what in _in_file(name, content, paths)]


def _in_file(name: str, content: bytes, paths: Sequence[str]) -> Iterator[str]:
    yield from (kind for kind, magic in MAGIC.items() if content.startswith(magic))
    if content[4:8] == b"ftyp":
        yield "MP4"
    for kind, data in URI.findall(content):
        if kind not in (b"image/svg+xml", b"text/csv"):
            yield f"data URI of {kind.decode()}"
        suffix = kind.decode().rpartition("/")[2].removesuffix("+xml")
        yield from _in_file(f"{name} {suffix}.{suffix}", base64.b64decode(data), paths)
    try:
        text = URI.sub(b"", content).decode()
    except UnicodeDecodeError:
        yield "no text"
        return
    if re.search(r"<(img|image|video|canvas)\b", text):
        yield "picture in a page"
    yield from (f"path {path}" for path in paths if path in text)
    if name.endswith(".csv"):
        header = next(csv.reader(io.StringIO(text)))
        yield from (f"column {column}" for column in header if column in ANNOTATIONS or column.startswith("source_"))
