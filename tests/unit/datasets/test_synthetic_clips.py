"""Synthetic clips on disk: the same bytes on every run, with noise, light and drift as configured."""

from dataclasses import replace

import cv2
import h5py
import numpy as np
import pytest
from still_clip import still_clip
from synthetic_people import SHORT, drawn_person

from merflow.datasets.synthetic import render
from merflow.datasets.synthetic.plan import plan_subject
from merflow.datasets.synthetic.truth import Motion, pose_matrix, true_flow
from merflow.storage.files import safe_filename


@pytest.fixture(scope="session")
def filmed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "s01"
    render.make_subject("demo", "s01", SHORT, folder)
    return folder


# --- clips on disk ----------------------------------------------------------------------------------------------------


def test_clips_and_truth_lie_on_disk(filmed):
    planned = plan_subject("s01", SHORT)
    assert {path.name for path in filmed.iterdir()} == {"truth.h5", *(performance.clip for performance in planned)}
    with h5py.File(filmed / "truth.h5") as file:
        for performance in planned:
            files = sorted((filmed / performance.clip).iterdir())
            assert [path.name for path in files] == [f"{number:04d}.jpg" for number in range(20)]
            assert cv2.imread(str(files[0])).shape == (480, 480, 3)
            group = file[safe_filename(performance.clip)]
            assert (group["field"].shape, group["field"].dtype) == ((480, 480, 2), np.float32)
            assert np.array_equal(group["envelope"], performance.envelope)
            assert (group["rigid"].shape, group["rigid"].dtype) == ((20, 4), np.float64)
            attributes = dict(group.attrs)
            assert [attributes[name] for name in ("clip", "emotion", "onset", "apex", "offset")] == [
                performance.clip, performance.emotion, performance.onset, performance.apex, performance.offset,
            ]  # fmt: skip
            assert attributes["amplitude_px"] == performance.amplitude_px
            assert attributes["noise"] == 2.0
            assert np.abs(true_flow(Motion.read(group), performance.apex, performance.onset)).max() > 0.5


def test_same_settings_render_same_bytes(filmed, tmp_path):
    render.make_subject("other", "s01", replace(SHORT, subjects=3), tmp_path / "s01")
    files = sorted(path.relative_to(filmed) for path in filmed.rglob("*") if path.is_file())
    assert len(files) == 41
    for file in files:
        assert (tmp_path / "s01" / file).read_bytes() == (filmed / file).read_bytes()


def test_subject_folder_is_written_atomically(tmp_path, monkeypatch):
    folder = tmp_path / "s01"
    folder.mkdir()
    (folder / "old").touch()
    short = replace(SHORT, emotions=("fear",), frames=8)
    with monkeypatch.context() as broken:

        def fail(*_):
            raise OSError("disk full")

        broken.setattr(render, "_write_truth", fail)
        with pytest.raises(OSError, match="disk full"):
            render.make_subject("demo", "s01", short, folder)
    assert [path.name for path in tmp_path.iterdir()] == ["s01"]
    assert [path.name for path in folder.iterdir()] == ["old"]
    render.make_subject("demo", "s01", short, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["s01_fear_1", "truth.h5"]


def test_noise_light_and_drift_are_as_large_as_asked():
    performance = plan_subject("s01", SHORT)[0]
    motion = render.clip_motion(drawn_person(12), performance, SHORT)

    def grey(**options):
        frames = render.render_frames(drawn_person(12), motion, performance, **options)
        return np.stack([cv2.cvtColor(f, cv2.COLOR_BGR2GRAY) for f in frames]).astype(float)

    plain = grey(noise=0, light=False)
    noise = grey(noise=2.0, light=False) - plain
    assert np.std(noise[:, 100:400, 100:400]) == pytest.approx(2.0, rel=0.05)
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.02
    gain = grey(noise=0, light=True).mean(axis=(1, 2)) / plain.mean(axis=(1, 2))
    assert gain[0] == pytest.approx(1, abs=1e-3)
    assert 0.002 < np.ptp(gain) < 0.08
    still = render.clip_motion(drawn_person(12), performance, replace(SHORT, drift=0))
    assert np.ptp(still.rigid, axis=0).max() == 0
    assert 0.05 < np.ptp(motion.rigid[:, :2], axis=0).max() < 4
    assert np.abs(motion.rigid[:, 3] - 1).max() < 0.01


def test_still_face_does_nothing_but_shake():
    assert len(np.unique(np.stack(still_clip(2, 4, noise=0, drift=0, light=False)), axis=0)) == 1
    shaken = still_clip(2, 12)
    assert len(shaken) == 12
    assert (shaken[0].shape, shaken[0].dtype) == ((480, 480), np.uint8)
    shift, _ = cv2.phaseCorrelate(*(frame.astype(np.float32) for frame in (shaken[0], shaken[-1])))
    assert np.hypot(*shift) > 0.05


def test_poses_turn_about_middle_of_frame():
    matrix = pose_matrix(np.array([3.0, -2.0, np.pi / 2, 2.0]), (480, 480))
    assert matrix @ [239.5, 239.5, 1] == pytest.approx([242.5, 237.5])
    assert matrix @ [240.5, 239.5, 1] == pytest.approx([242.5, 239.5])  # right becomes down
