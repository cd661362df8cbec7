"""Images of more than 8 bits are scaled by the bits in use."""

from dataclasses import replace

import cv2
import h5py
import numpy as np
import pytest
from stage_settings import align_settings
from still_clip import still_clip

from merflow.errors import ClipError
from merflow.footage.bit_depth import BIT_DEPTHS, bits_in_use, largest_values
from merflow.footage.clip import Clip
from merflow.footage.frames import grey_frames
from merflow.footage.images import read_grey
from merflow.preprocessing.faces import align_subject

GREY = np.random.default_rng(0).integers(0, 256, (20, 30), np.uint8)


def deep(image, bits):
    """The image as a camera of ``bits`` bits gives it; its top 8 bits are the image."""
    return image.astype(np.uint16) << (bits - 8) | 1


def written(folder, images, name="{}.png"):
    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        cv2.imwrite(str(folder / name.format(number)), image)
    return Clip(folder.name, "s", "", "micro", str(folder))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("bits", BIT_DEPTHS)
def test_deep_images_are_scaled_by_bits_in_use(tmp_path, bits, suffix):
    bright = GREY.copy()
    bright[0, 0] = 255
    clip = written(tmp_path / "c", [deep(GREY, bits), deep(bright, bits)], "{}" + suffix)
    largest = largest_values([clip])
    assert largest == {"c": int(deep(bright, bits).max())} and bits_in_use(largest) == bits
    frames = [frame for _, frame in grey_frames(clip.frames, bit_depth=bits)]
    np.testing.assert_array_equal(frames, [GREY | (bits == 8), bright | (bits == 8)])
    assert frames[0].dtype == np.uint8


def test_bit_depth_is_one_for_all_clips_of_a_subject(tmp_path):
    """A dark clip is not brightened; clips of 8 bits, videos and bad clips have no part in it."""
    dark = written(tmp_path / "dark", [deep(GREY // 8, 12)])
    bright = written(tmp_path / "bright", [deep(GREY, 12)])
    others = [written(tmp_path / "eight", [GREY]), Clip("v", "s", "", "micro", "v.mp4"), replace(dark, problem="bad")]
    assert bits_in_use(largest_values([dark])) < 12
    assert bits_in_use(largest_values([dark, bright, *others])) == 12
    assert largest_values(others) == {} and bits_in_use({}) == 16


def test_largest_values_are_those_from_onset_to_offset(tmp_path):
    clip = written(tmp_path / "c", [deep(np.full_like(GREY, 10 * number), 16) for number in range(5)])
    (tmp_path / "c" / "2.png").write_bytes(b"damaged")
    assert largest_values([replace(clip, onset=1, offset=3)]) == {"c": (30 << 8) + 1}


def test_values_above_the_bit_depth_are_white_and_float_is_refused(tmp_path):
    cv2.imwrite(str(tmp_path / "1.png"), np.array([[4095, 4096, 65535]], np.uint16))
    [(_, grey)] = grey_frames(str(tmp_path / "1.png"), bit_depth=12)
    assert grey.tolist() == [[255, 255, 255]]
    cv2.imwrite(str(tmp_path / "2.tif"), GREY.astype(np.float32))
    with pytest.raises(ClipError, match=r"2.tif"):
        read_grey(tmp_path / "2.tif")


@pytest.mark.parametrize("depths", [(8, 8, 12), (12, 12, 8)])
def test_images_of_two_depths_are_refused(tmp_path, depths):
    """Each would be scaled by itself; clips that take one depth each from the folder are read."""
    images = [GREY if bits == 8 else deep(GREY, bits) for bits in depths]
    clip = written(tmp_path / "c", images, "f{}.png")
    bits = "16 bits, those before 8" if depths[0] == 8 else "8 bits, those before 16"
    with pytest.raises(ClipError, match=rf"frame 2 \(.*f2\.png\) has {bits}; save all images"):
        list(grey_frames(clip.frames, bit_depth=12))
    for first, last in ((0, 1), (2, 2)):
        assert all((frame == GREY).all() for _, frame in grey_frames(clip.frames, first, last, bit_depth=12))


def test_align_subject_records_bit_depth(tmp_path):
    """Crops and landmarks of 12-bit images are those of the same images of 8 bits; the dataset's value overrides."""
    picture = cv2.resize(still_clip(0, 8, noise=0.0, drift=0.0)[0], (240, 240), interpolation=cv2.INTER_AREA)
    clips = [written(tmp_path / "eight", [picture] * 2), written(tmp_path / "twelve", [deep(picture, 12)] * 2)]
    align_subject(clips, tmp_path / "faces.h5", align_settings())
    with h5py.File(tmp_path / "faces.h5") as file:
        eight, twelve = file["eight"], file["twelve"]
        np.testing.assert_array_equal(eight["frames"], twelve["frames"])
        assert "bit_depth" not in eight.attrs and eight.attrs["notes"] == ""
        largest = int(deep(picture, 12).max())
        assert twelve.attrs["bit_depth"] == 12
        assert twelve.attrs["notes"] == f"images of 16 bits, of which 12 are used; largest value {largest}"
    align_subject(clips, tmp_path / "faces.h5", align_settings(), bit_depth=14)
    with h5py.File(tmp_path / "faces.h5") as file:
        assert file["twelve"].attrs["bit_depth"] == 14 and file["twelve"]["frames"][0].max() < 64


def test_twelve_bit_camera_of_a_public_report(cases_folder, tmp_path):
    clips = [
        Clip(name, "p/s1", "x", "micro", str(cases_folder / "deep12" / name), fps=200.0) for name in ("eight", "deep12")
    ]
    align_subject(clips, tmp_path / "faces.h5", align_settings())
    with h5py.File(tmp_path / "faces.h5") as file:
        eight, twelve = (file[clip.clip] for clip in clips)
        assert twelve.attrs["status"] == "ok" and twelve.attrs["bit_depth"] == 12
        np.testing.assert_allclose(eight.attrs["landmarks"], twelve.attrs["landmarks"], atol=1)
        assert np.abs(eight["frames"][()].astype(int) - twelve["frames"][()]).mean() < 1
