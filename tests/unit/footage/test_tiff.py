"""The pages of a TIFF file are the frames of a clip."""

import struct
import tracemalloc

import cv2
import numpy as np
import pytest
from PIL import Image

from merflow.errors import ClipError
from merflow.footage.bit_depth import largest_values
from merflow.footage.clip import Clip
from merflow.footage.frames import FrameList, grey_frames
from merflow.footage.tiff import TiffFile, page_count

GREY = np.random.default_rng(0).integers(0, 256, (20, 30), np.uint8)


def deep(image, bits):
    return image.astype(np.uint16) << (bits - 8) | 1


def big_tiff(file, images, order=">"):
    """Write a BigTIFF file of grey images, uncompressed."""
    data = (b"MM" if order == ">" else b"II") + struct.pack(f"{order}HHHQ", 43, 8, 0, 16)
    for number, image in enumerate(images):
        height, width = image.shape
        values = {
            256: (3, width),
            257: (3, height),
            258: (3, 8),
            259: (3, 1),
            262: (3, 1),
            277: (3, 1),
            278: (3, height),
        }
        pixels = len(data) + 8 + 20 * (len(values) + 2) + 8
        values |= {273: (16, pixels), 279: (16, image.size)}
        data += struct.pack(f"{order}Q", len(values))
        for tag, (kind, value) in sorted(values.items()):
            field = struct.pack(f"{order}H", value) if kind == 3 else struct.pack(f"{order}Q", value)
            data += struct.pack(f"{order}HHQ", tag, kind, 1) + field.ljust(8, b"\0")
        follows = pixels + image.size if number + 1 < len(images) else 0
        data += struct.pack(f"{order}Q", follows) + image.tobytes()
    file.write_bytes(data)


@pytest.mark.parametrize("pages", [1, 2])
@pytest.mark.parametrize("pixels", [np.uint8, np.uint16])
def test_tiff_in_which_white_is_zero_is_inverted(tmp_path, pixels, pages):
    """As the same picture written with black as zero."""
    values = GREY.astype(pixels) << (8 * np.dtype(pixels).itemsize - 8)
    file = tmp_path / "1.tif"
    cv2.imwritemulti(str(file), [~values] * pages, [cv2.IMWRITE_TIFF_COMPRESSION, 1])
    data = file.read_bytes()
    black_is_zero, white_is_zero = struct.pack("<HHII", 262, 3, 1, 1), struct.pack("<HHII", 262, 3, 1, 0)
    assert data.count(black_is_zero) == pages
    file.write_bytes(data.replace(black_is_zero, white_is_zero))
    frames = [frame for _, frame in grey_frames(str(file))]
    np.testing.assert_array_equal(frames, [GREY] * pages)


def test_pages_of_a_tiff_file_are_frames(tmp_path):
    """Named alone or the only image of its folder; a file of one page is one frame with the number of its name."""
    pages = [deep(np.roll(GREY, number, 1), 16) for number in range(12)]
    (tmp_path / "clip").mkdir()
    movie = tmp_path / "clip" / "movie7.tiff"
    cv2.imwritemulti(str(movie), pages)
    for source in (str(movie), str(tmp_path / "clip")):
        frames = FrameList(source)
        assert (len(frames), frames.first, frames.last, 11 in frames) == (12, 0, 11, True)
        read = dict(grey_frames(source, 3, 11))
        assert list(read) == list(range(3, 12))
        for number, frame in read.items():
            np.testing.assert_array_equal(frame, np.roll(GREY, number, 1))
    assert largest_values([Clip("c", "s", "", "micro", str(movie), 2, 3, 4)]) == {"c": int(pages[2].max())}
    cv2.imwrite(str(movie), GREY)
    assert list(dict(grey_frames(str(movie)))) == [7]


def test_tiff_page_larger_than_allowed_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("merflow.footage.images.MAX_SIDE", 40)
    cv2.imwritemulti(str(tmp_path / "m.tif"), [GREY, np.zeros((20, 41), np.uint8)])
    with pytest.raises(ClipError, match="is 41x20; at most 40x40"):
        list(grey_frames(str(tmp_path / "m.tif")))


def test_several_tiff_files_of_pages_are_no_clip(tmp_path):
    for number in range(3):
        cv2.imwritemulti(str(tmp_path / f"stack{number}.tif"), [GREY] * 4)
    with pytest.raises(ClipError, match=r"stack0\.tif is a TIFF file of 4 pages, a clip of its own; separate it"):
        list(grey_frames(str(tmp_path)))
    cv2.imwrite(str(tmp_path / "stack0.tif"), GREY)
    with pytest.raises(ClipError, match=r"stack1\.tif is a TIFF file of 4 pages"):
        list(grey_frames(str(tmp_path)))


@pytest.mark.parametrize("order", ["<", ">"])
def test_pages_of_big_tiff(tmp_path, order):
    pages = [np.roll(GREY, number) for number in range(9)]
    big_tiff(tmp_path / "m.tif", pages, order)
    np.testing.assert_array_equal([page for _, page in grey_frames(str(tmp_path / "m.tif"))], pages)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_deflate", "packbits"])
@pytest.mark.parametrize("mode", ["L", "RGB", "I;16", "P"])
def test_pages_are_those_of_pillow(tmp_path, compression, mode):
    pages = [Image.fromarray(np.roll(GREY, number, 1)).convert(mode) for number in range(5)]
    pages[0].save(tmp_path / "m.tif", save_all=True, append_images=pages[1:], compression=compression)
    read = [page for _, page in grey_frames(str(tmp_path / "m.tif"), bit_depth=8)]
    assert len(read) == 5
    for page, image in zip(read, pages, strict=True):
        np.testing.assert_array_equal(page, image.convert("L"))


def test_thumbnail_is_no_page(tmp_path):
    small = Image.fromarray(GREY).resize((8, 6))
    small.encoderinfo = {"tiffinfo": {254: 1}}
    Image.fromarray(GREY).save(tmp_path / "7.tif", save_all=True, append_images=[small])
    assert page_count(tmp_path / "7.tif") == 1
    assert list(dict(grey_frames(str(tmp_path / "7.tif")))) == [7]


def test_tiff_file_that_is_cut_off_is_a_problem(tmp_path):
    big_tiff(tmp_path / "m.tif", [GREY] * 9)
    (tmp_path / "m.tif").write_bytes((tmp_path / "m.tif").read_bytes()[:-2000])
    with pytest.raises(ClipError, match=r"m\.tif is cut off after page [56]; copy it again"):
        list(grey_frames(str(tmp_path / "m.tif")))


def test_chain_of_pages_that_turns_back_ends(tmp_path):
    big_tiff(tmp_path / "m.tif", [GREY] * 3)
    data = bytearray((tmp_path / "m.tif").read_bytes())
    data[16 + 8 + 180 : 16 + 8 + 188] = struct.pack(">Q", 16)
    (tmp_path / "m.tif").write_bytes(data)
    assert len(TiffFile(tmp_path / "m.tif").pages) == 1


def test_stack_is_read_page_by_page(tmp_path, monkeypatch):
    """No page is read twice, whole files are not held, and the limit of an image's file is not that of a stack's."""
    monkeypatch.setattr("merflow.footage.images.MAX_BYTES", 1000)
    pages = [np.full((500, 800), number, np.uint8) for number in range(60)]
    big_tiff(tmp_path / "m.tif", pages)
    opened = []
    monkeypatch.setattr(TiffFile, "_walk", lambda self, walk=TiffFile._walk: opened.append(1) or walk(self))
    tracemalloc.start()
    assert [int(page[0, 0]) for _, page in grey_frames(str(tmp_path / "m.tif"))] == list(range(60))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * pages[0].nbytes and len(opened) <= 1
