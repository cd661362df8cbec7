"""The cache of ready-made flow images: order, faces of any size, shorter clips, and images that cannot be used."""

import dataset_files
import h5py
import numpy as np
import pandas as pd
import pytest

from merflow.errors import InputError
from merflow.preprocessing.ready_made_flow import import_flow_images


def write(folder, name, *shape, value=0):
    """Write an image of some shape, one grey level for all of it."""
    dataset_files.save(folder / name, np.full(shape, value, np.uint8))
    return str(folder / name)


def clip(folder, name, values, faces=(), apex=0, side=28):
    """A row of the index with a flow image of each value; faces are already files."""
    flows = [write(folder, f"{name} {n}.png", side, side, 3, value=value) for n, value in enumerate(values)]
    row = {"clip": name, "subject": f"d/{name}", "label": "x", "kind": "micro", "problem": ""}
    return row | {"flows": flows, "faces": list(faces), "apex": apex}


def gather(folder, clips, face_size=0, **changes):
    """The cache as arrays and attributes, and the quality table."""
    values = {"dataset": "d", "preparation": "p", "channels": None, "scaling": None, "classes": ["x"], "code": "c"}
    cache, quality = folder / "cache.h5", folder / "quality.csv"
    import_flow_images(clips, cache, quality, face_size=face_size, **values | changes)
    with h5py.File(cache) as file:
        arrays = {name: file[name][:] for name in ("spatial", "flow", "apex_index")}
        return arrays, dict(file.attrs), pd.read_csv(quality, keep_default_na=False)


def test_images_are_in_order_and_apex_is_kept(tmp_path):
    arrays, *_ = gather(
        tmp_path, [clip(tmp_path, "a", (10, 20, 30), apex=1), clip(tmp_path, "b", (40, 50, 60), apex=2)]
    )
    assert arrays["flow"].shape == (2, 3, 3, 28, 28) and arrays["spatial"].shape == (2, 0, 28, 28)
    expected = np.array([[10, 20, 30], [40, 50, 60]]) / 255
    np.testing.assert_allclose(arrays["flow"].mean((2, 3, 4), dtype=float), expected, atol=1e-4)
    assert arrays["apex_index"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("values", "apex", "repeated", "place"),
    [
        ((10,), 0, [10] * 5, 0),
        ((10, 20), 1, [10, 10, 10, 20, 20], 3),
        ((10, 20, 30), 1, [10, 10, 20, 30, 30], 2),
        ((10, 20, 30, 40), 3, [10, 20, 30, 30, 40], 4),
    ],
)
def test_images_of_shorter_clip_are_repeated(tmp_path, values, apex, repeated, place):
    faces = [write(tmp_path, f"face {value}.png", 30, 30, value=value) for value in (1, 2, 3, 4, 5)]
    rows = [clip(tmp_path, "a", range(5), faces), clip(tmp_path, "b", values, faces[: len(values)], apex)]
    arrays, *_ = gather(tmp_path, rows, face_size=30)
    np.testing.assert_allclose(arrays["flow"][1].mean((1, 2, 3), dtype=float) * 255, repeated, atol=0.02)
    assert arrays["spatial"][1].mean((1, 2)).tolist() == [value // 10 for value in repeated]
    assert arrays["apex_index"][1] == place


def test_faces_of_any_size_and_colour_have_one_size(tmp_path):
    faces = [
        write(tmp_path, "grey.png", 40, 40, value=90),
        write(tmp_path, "colour.jpg", 170, 139, 3, value=90),
        write(tmp_path, "alpha.png", 300, 300, 4, value=90),
    ]
    arrays, attributes, _ = gather(tmp_path, [clip(tmp_path, "a", (1, 2, 3), faces)], face_size=64)
    assert arrays["spatial"].shape == (1, 3, 64, 64) and arrays["spatial"].dtype == np.uint8
    assert np.abs(arrays["spatial"].astype(int) - 90).max() <= 1
    assert attributes["size"] == 28 and attributes["face_size"] == 64


def test_face_is_averaged_over_areas(tmp_path):
    face = np.random.default_rng(0).integers(0, 256, (120, 120)).astype(np.uint8)
    dataset_files.save(tmp_path / "face.png", face)
    arrays, *_ = gather(tmp_path, [clip(tmp_path, "a", (1,), [str(tmp_path / "face.png")])], face_size=40)
    expected = face.reshape(40, 3, 40, 3).mean((1, 3))
    np.testing.assert_allclose(arrays["spatial"][0, 0], expected, atol=0.51)


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (lambda folder, row: write(folder, "a 1.png", 28, 30, 3), "a 1.png is 30x28; a flow image is square"),
        (lambda folder, row: write(folder, "a 1.png", 28, 28), "a 1.png is uint8, 1 channels; a flow image has three"),
        (lambda folder, row: write(folder, "a 1.png", 32, 32, 3), "a 1.png is 32x32, most of the dataset are 28x28"),
        (lambda folder, row: (folder / "a 1.png").write_bytes(b"x"), "a 1.png is not an image that can be decoded"),
        (lambda folder, row: (folder / "face.png").write_bytes(b"x"), "face.png is not an image that can be decoded"),
    ],
)
def test_clip_with_unusable_image_is_named_and_left_out(tmp_path, capsys, broken, says):
    face = write(tmp_path, "face.png", 40, 40)
    rows = [clip(tmp_path, name, (1, 2), [face, face]) for name in "ab"]
    rows[1]["faces"] = [write(tmp_path, "other.png", 40, 40)] * 2
    broken(tmp_path, rows[0])
    arrays, _, quality = gather(tmp_path, rows, face_size=40)
    assert len(arrays["flow"]) == 1 and quality["status"].tolist() == ["failed", "ok"]
    assert says in quality["reason"][0] and says in capsys.readouterr().err
    with pytest.raises(InputError, match="on_problem: stop"):
        gather(tmp_path, rows, face_size=40, stop=True)


def test_single_images_make_one_flow_and_no_faces(tmp_path):
    rows = [clip(tmp_path, "a", (10,)), clip(tmp_path, "b", (20,)), clip(tmp_path, "c", (30,), side=30)]
    arrays, attributes, quality = gather(tmp_path, rows)
    assert arrays["flow"].shape == (2, 1, 3, 28, 28) and arrays["spatial"].shape == (2, 0, 28, 28)
    assert "face_size" not in attributes and arrays["apex_index"].tolist() == [0, 0]
    assert quality["reason"].tolist() == ["", "", "the image is 30x30, most of the dataset are 28x28"]
