"""Spotting systems on tracks whose expressions are known: fitting, intervals, and stored state."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from stage_settings import spotting_settings

from merflow.errors import InputError
from merflow.evaluation.interval_matching import matches
from merflow.inference.curves import peaks
from merflow.inference.motion_track import FEATURES, MACRO, MICRO, Candidate, MotionCurve, MotionTrack
from merflow.inference.spotters import learned
from merflow.inference.spotters.learned import LearnedSpotter
from merflow.inference.spotters.peaks import PeakSpotter
from merflow.inference.spotters.registry import SPOTTERS, load_spotter, save_spotter
from merflow.inference.spotters.search import SearchSpotter
from merflow.inference.spotters.spotter import Detection, LabelledVideo, fit_threshold, suppress


@dataclass(frozen=True)
class True_:
    onset: int
    apex: int
    offset: int
    kind: str


SIGNED = {
    name: sign for name, sign in (("left mouth corner right before", -1.0), ("left mouth corner right after", -1.0))
}


def video(seed, fps=30, seconds=40, features=tuple(SIGNED), unlabelled=0):
    """A video with micro- and macro-expressions, whose curve and features are bumps; some bumps have no label."""
    chance, frames = np.random.default_rng(seed), fps * seconds
    times, motion, macro = np.arange(frames), 0.1 + 0.02 * chance.random(frames), 0.1 + 0.02 * chance.random(frames)
    values = 0.02 * chance.standard_normal((frames, len(FEATURES))).astype(np.float32)
    intervals, candidates = [], {MICRO: [], MACRO: []}
    for place in range(1, seconds // 4):
        kind = MICRO if place % 3 else MACRO
        half = round(fps * (0.18 if kind == MICRO else 0.9))
        apex = place * 4 * fps + int(chance.integers(-fps // 2, fps // 2))
        height = float(chance.uniform(0.6, 1.0))
        bump = np.where(abs(times - apex) <= half, 0.5 + 0.5 * np.cos(np.pi * (times - apex) / half), 0) * height
        curve = motion if kind == MICRO else macro
        curve += bump
        candidates[kind].append(Candidate(apex - half, apex, apex + half, height, False))
        if place > unlabelled:
            intervals.append(True_(apex - half, apex, apex + half, kind))
            for name in features:
                values[:, FEATURES.index(name)] += SIGNED.get(name, 1) * bump.astype(np.float32)
    for apex in chance.integers(0, frames, 6).tolist():
        candidates[MICRO].append(Candidate(apex, apex + 3, apex + 9, 0.2, False))
    track = MotionTrack(fps, frames, 0, frames - 1, 64, 64)
    for kind, curve in ((MICRO, motion), (MACRO, macro)):
        reference = 0.2 if kind == MICRO else 1.0
        track.curves[kind] = MotionCurve(reference, 1, times.tolist(), curve.tolist(), [0.0] * frames, candidates[kind])
    track.features = list(values)
    return LabelledVideo(track, f"person {seed}", intervals)


def f1(spotter, videos):
    hits = labels = spotted = 0
    for each in videos:
        for kind in (MICRO, MACRO):
            true = [(i.onset, i.offset) for i in each.intervals if i.kind == kind]
            found = [(d.onset, d.offset) for d in spotter.detections(each.track) if d.accepted and d.kind == kind]
            hits, labels, spotted = hits + len(matches(true, found)), labels + len(true), spotted + len(found)
    return 2 * hits / (labels + spotted)


@pytest.fixture(scope="module")
def training():
    return [video(seed) for seed in range(3)]


@pytest.fixture(scope="module")
def fitted(training):
    """Each system, fitted on the training videos; the network trains for a short time only."""
    spotters = {name: make(spotting_settings(), 0) for name, make in SPOTTERS.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learned, "_EPOCHS", 5)
        patch.setattr(learned, "_BATCH", 4)
        for spotter in spotters.values():
            spotter.fit(training)
    return spotters


@pytest.mark.parametrize(("name", "least"), [("search", 0.95), ("learned", 0.7), ("peaks", 0.3)])
def test_fitted_spotter_finds_expressions_of_other_people(fitted, name, least, tmp_path):
    spotter, others = fitted[name], [video(seed) for seed in (10, 11)]
    assert f1(spotter, others) >= least
    save_spotter(spotter, tmp_path / "spotter.safetensors")
    again = load_spotter(tmp_path / "spotter.safetensors", spotting_settings())
    track = others[0].track
    found = spotter.detections(track)
    assert again.detections(track) == found == sorted(found, key=lambda each: each.onset)
    assert all(0 <= each.onset <= each.apex <= each.offset < track.frames for each in found)


def test_apex_of_learned_is_the_largest_motion_of_the_interval(fitted):
    each = video(10)
    errors = []
    for found in fitted["learned"].detections(each.track):
        curve = np.array(each.track.curves[found.kind].motion)
        assert curve[found.apex] == curve[found.onset : found.offset + 1].max()
        errors += [abs(true.apex - found.apex) for true in each.intervals if true.onset <= found.apex <= true.offset]
    assert len(errors) >= 5 and np.median(errors) <= 1


def test_learned_depends_on_the_seed_alone(training, monkeypatch):
    monkeypatch.setattr(learned, "_EPOCHS", 1)
    monkeypatch.setattr(learned, "_BATCH", 2)
    found = []
    for seed in (0, 0, 1):
        spotter = LearnedSpotter(seed)
        spotter.fit(training[:1])
        found.append(spotter._probs(learned._inputs(training[1].track)))
    assert (found[0] == found[1]).all() and not (found[0] == found[2]).all()


def test_search_keeps_to_the_limit_of_false_alarms():
    """Half of the bumps have no label: the highest F1 would accept them, at over three a minute."""
    videos = [video(seed, unlabelled=5) for seed in range(3)]
    spotter = SearchSpotter(spotting_settings())
    spotter.fit(videos)
    for kind in (MICRO, MACRO):
        alarms = 0
        for each in videos:
            found = [d for d in spotter.detections(each.track) if d.accepted and d.kind == kind]
            true = [(i.onset, i.offset) for i in each.intervals if i.kind == kind]
            alarms += len(found) - len(matches(true, [(d.onset, d.offset) for d in found]))
        assert alarms / (3 * 40 / 60) <= 1.5


def test_limit_is_not_shared_with_a_kind_that_nobody_shows():
    videos = [video(seed, unlabelled=5) for seed in range(3)]
    micro = [replace(each, intervals=[i for i in each.intervals if i.kind == MICRO]) for each in videos]
    of_both, of_one = SearchSpotter(spotting_settings()), SearchSpotter(spotting_settings())
    of_both.fit(videos)
    of_one.fit(micro)
    assert of_one.thresholds[MICRO] < of_both.thresholds[MICRO] and of_one.thresholds[MACRO] == np.inf


def test_search_without_fit_accepts_what_the_settings_accept(training):
    found = SearchSpotter(spotting_settings()).detections(training[0].track)
    strong = [each for each in found if each.kind == MICRO and each.accepted]
    assert strong and all(each.score >= 1 for each in strong)
    assert [each.accepted for each in found] == [each.score >= 1 for each in found]


@pytest.mark.parametrize("name", ["search", "peaks"])
def test_kind_without_label_is_not_spotted(training, name):
    micro = [replace(each, intervals=[i for i in each.intervals if i.kind == MICRO]) for each in training]
    spotter = SPOTTERS[name](spotting_settings(), 0)
    spotter.fit(micro)
    assert {each.kind for each in spotter.detections(training[0].track) if each.accepted} == {MICRO}


# --- The published rule -----------------------------------------------------------------------------------------------


def test_peaks_follow_the_published_rule():
    """k' is half the mean length, p one of the grid; recomputed here frame by frame."""
    names = [name for name in FEATURES if name.endswith("after") and "eye" not in name and "head" not in name]
    videos = [video(seed, features=names) for seed in range(2)]
    spotter = PeakSpotter()
    spotter.fit(videos)
    lengths = [i.offset - i.onset + 1 for each in videos for i in each.intervals if i.kind == MICRO]
    half = np.mean(lengths) / 2
    assert spotter.half[MICRO] * 30 == pytest.approx(half)
    track = videos[0].track
    values = np.array(track.features)
    regions = sorted({name.rsplit(" ", 2)[0] for name in names})
    curve = np.mean(
        [
            np.hypot(*(values[:, FEATURES.index(f"{region} {axis} after")] for axis in ("right", "down")))
            for region in regions
        ],
        axis=0,
    )
    width = round(2 * half)
    low, high = -(width // 2), width - width // 2
    averaged = np.array([np.mean(np.take(curve, np.arange(n + low, n + high), mode="clip")) for n in range(len(curve))])
    least = averaged.mean() + spotter.thresholds[MICRO] * (averaged.max() - averaged.mean())
    expected = [n for n in peaks(averaged, least, int(np.ceil(half)))]
    found = [each for each in spotter.detections(track) if each.kind == MICRO and each.accepted]
    assert [each.apex for each in found] == [n + 3 for n in expected], "the middle of the flow from n to 0.2 s later"
    assert all(abs(each.apex - half - each.onset) <= 0.5 for each in found[1:-1])


def test_peakless_video_yields_no_detection(training):
    spotter = PeakSpotter()
    spotter.fit(training)
    flat = video(20).track
    flat.features = [np.zeros(len(FEATURES), np.float32)] * flat.frames
    assert spotter.detections(flat) == []
    flat.features, flat.micro.centres = [], []
    assert spotter.detections(flat) == []


# --- Thresholds and intervals -----------------------------------------------------------------------------------------


def test_fit_threshold_gives_the_highest_f1(training):
    each = training[0]
    chance = np.random.default_rng(5)
    true = [i for i in each.intervals if i.kind == MICRO]
    found = [Detection(i.onset, i.apex, i.offset, MICRO, float(chance.random())) for i in true]
    found += [Detection(n, n + 2, n + 8, MICRO, float(0.8 * chance.random())) for n in range(0, 900, 60)]
    fitted = fit_threshold([each], [found], MICRO)

    def at(least):
        kept = [(d.onset, d.offset) for d in found if d.score >= least]
        return 2 * len(matches([(i.onset, i.offset) for i in true], kept)) / (len(kept) + len(true))

    assert fitted.f1 == pytest.approx(at(fitted.threshold)) == pytest.approx(max(at(d.score) for d in found))
    limited = fit_threshold([each], [found], MICRO, most_false_alarms=1.0)
    assert limited.false_alarms <= 1 and limited.f1 <= fitted.f1
    assert fit_threshold([each], [[]], MICRO).threshold == np.inf
    weak = [Detection(n, n + 2, n + 300, MICRO, 0.5 * float(chance.random())) for n in range(0, 900)]
    strong = [replace(detection, score=0.6 + 0.1 * n) for n, detection in enumerate(found[: len(true)])]
    assert fit_threshold([each], [weak + strong], MICRO).f1 == 1, "a few hits among many candidates are found"


def test_suppress_keeps_the_best_of_overlapping():
    found = [Detection(0, 5, 10, MICRO, 0.5), Detection(1, 6, 11, MICRO, 0.9), Detection(20, 25, 30, MICRO, 0.1)]
    assert [each.score for each in suppress(found)] == [0.9, 0.1]


def test_mirror_is_its_own_inverse():
    order, factor = learned._mirror()
    assert (order[order] == np.arange(len(order))).all() and (factor * factor[order] == 1).all()
    names = learned.CHANNELS
    corner = names.index("left mouth corner right before")
    assert names[order[corner]] == "right mouth corner right before" and factor[corner] == -1
    assert factor[names.index("nose down after")] == 1 == factor[names.index("micro motion")]


def test_load_of_other_file(tmp_path):
    save_spotter(PeakSpotter(), tmp_path / "spotter.safetensors")
    assert load_spotter(tmp_path / "spotter.safetensors", spotting_settings()).name == "peaks"
    (tmp_path / "bad.safetensors").write_bytes(b"0" * 100)
    with pytest.raises(InputError, match=r"bad\.safetensors is not a complete"):
        load_spotter(tmp_path / "bad.safetensors", spotting_settings())
