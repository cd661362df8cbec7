"""A small network over the motion of a face, trained per fold: inside which expressions is each time?

It reads the motion curves and the mean flow of face regions at equal steps of 1/30 s and sees two seconds on either
side. Its answers become intervals: around each peak, the times at which it is still probable.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from merflow.inference.curves import peaks
from merflow.inference.motion_track import FEATURES, LONGEST, MACRO, MICRO, SHORTEST, MotionTrack
from merflow.inference.spotters.spotter import KINDS, Detection, Fitted, LabelledVideo, accept, fit_threshold, suppress
from merflow.learning.fit import repeatable

STEP = 1 / 30
"""Seconds from one input of the network to the next."""
CURVES = (f"{MICRO} motion", f"{MICRO} lids", f"{MACRO} motion", f"{MACRO} lids")
CHANNELS = [*FEATURES, *CURVES]
"""Names of the inputs."""

_WIDTH, _DILATIONS, _KERNEL = 32, (1, 2, 4, 8, 16), 5
_DROPOUT = 0.2
_EPOCHS, _LEARNING_RATE, _DECAY = 20, 3e-3, 1e-3
_WINDOW, _BATCH = 300, 8  # Inputs of a training window, and windows of a step.
_LEAST_STEPS = 10  # Of an epoch.
_MOST_WEIGHT = 20.0  # Of times inside an expression, which are rare.
_GAIN = 0.25  # Standard deviation of the logarithm of a random gain of the inputs.
_INNER_FOLDS = 2
_FLOOR = 0.02
_SHARES = (0.3, 0.5, 0.7)  # Of its peak that the probability keeps inside an interval.
_OVERLAPS = (0.1, 0.3, 0.5)  # Of two intervals from which the lower one is suppressed.


class SpottingNetwork(nn.Module):
    """Dilated convolutions over time with residuals; a logit per time and kind."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(len(CHANNELS), _WIDTH, 1)
        self.layers = nn.ModuleList(
            nn.Conv1d(_WIDTH, _WIDTH, _KERNEL, dilation=step, padding=step * (_KERNEL // 2)) for step in _DILATIONS
        )
        self.dropout = nn.Dropout(_DROPOUT)
        self.last = nn.Conv1d(_WIDTH, len(KINDS), 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [n, kinds, times] of inputs [n, channels, times]."""
        x = self.first(x)
        for layer in self.layers:
            x = x + self.dropout(torch.relu(layer(x)))
        return self.last(torch.relu(x))  # type: ignore[no-any-return]


class LearnedSpotter:
    """The network, the scale of its inputs, and per kind how its answers become intervals."""

    name: ClassVar[str] = "learned"

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.network = SpottingNetwork()
        self.scale = torch.ones(len(CHANNELS))
        self.rules: dict[str, dict[str, float]] = {}
        self.thresholds: dict[str, float] = {}

    def fit(self, videos: Sequence[LabelledVideo]) -> None:
        """Train on all videos; the rules are fitted on answers for training people that a network did not see."""
        inputs = [_inputs(video.track) for video in videos]
        people = sorted({video.subject for video in videos})
        folds = min(_INNER_FOLDS, len(people))
        probs: list[np.ndarray] = [np.zeros(0)] * len(videos)
        for fold in range(folds):
            left_out = set(people[fold::folds])
            rest = [n for n, video in enumerate(videos) if video.subject not in left_out or folds == 1]
            self._train([videos[n] for n in rest], [inputs[n] for n in rest], fold + 1)
            for n, video in enumerate(videos):
                if video.subject in left_out:
                    probs[n] = self._probs(inputs[n])
        self.rules, self.thresholds = {}, {}
        for index, kind in enumerate(KINDS):
            if any(interval.kind == kind for video in videos for interval in video.intervals):
                self._fit_rules(videos, inputs, [each[index] for each in probs], kind)
        self._train(videos, inputs, 0)

    def _fit_rules(
        self, videos: Sequence[LabelledVideo], inputs: Sequence[np.ndarray], probs: Sequence[np.ndarray], kind: str
    ) -> None:
        best = Fitted(np.inf, -1.0, 0.0)
        for share in _SHARES:
            for most_overlap in _OVERLAPS:
                rules = {"share": share, "most_overlap": most_overlap}
                detections = [
                    _intervals(video.track, x, p, kind, rules)
                    for video, x, p in zip(videos, inputs, probs, strict=True)
                ]
                fitted = fit_threshold(videos, detections, kind)
                if fitted.f1 > best.f1:
                    best, self.rules[kind] = fitted, rules
        self.thresholds[kind] = best.threshold

    def _train(self, videos: Sequence[LabelledVideo], inputs: Sequence[np.ndarray], stream: int) -> None:
        together = np.concatenate(inputs, axis=1)
        self.scale = torch.from_numpy(np.maximum(together.std(axis=1), 1e-3).astype(np.float32))
        targets = [_targets(video, x.shape[1]) for video, x in zip(videos, inputs, strict=True)]
        pairs = [
            (torch.from_numpy(x) / self.scale[:, None], torch.from_numpy(y))
            for x, y in zip(inputs, targets, strict=True)
        ]
        share = np.concatenate(targets, axis=1).mean(axis=1)
        weight = torch.from_numpy(np.clip((1 - share) / np.maximum(share, 1e-6), 1, _MOST_WEIGHT).astype(np.float32))
        loss = nn.BCEWithLogitsLoss(pos_weight=weight[:, None], reduction="none")
        steps = max(_LEAST_STEPS, together.shape[1] // (_WINDOW * _BATCH))
        with repeatable(self.seed, stream):
            chance = np.random.default_rng((self.seed, stream))
            self.network = SpottingNetwork()
            optimizer = torch.optim.AdamW(self.network.parameters(), _LEARNING_RATE, weight_decay=_DECAY)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _EPOCHS * steps)
            self.network.train()
            for _ in range(_EPOCHS * steps):
                x, y, valid = _windows(pairs, chance)
                optimizer.zero_grad()
                errors = loss(self.network(x), y) * valid
                (errors.sum() / valid.sum() / len(KINDS)).backward()
                optimizer.step()
                schedule.step()
        self.network.eval()

    def _probs(self, inputs: np.ndarray) -> np.ndarray:
        """Return the probability of being inside an expression, float64 [kinds, times]."""
        with torch.inference_mode():
            logits = self.network((torch.from_numpy(inputs) / self.scale[:, None])[None])
        return torch.sigmoid(logits)[0].double().numpy()

    def detections(self, track: MotionTrack) -> list[Detection]:
        """Return an interval for each peak of the network's answers."""
        inputs = _inputs(track)
        probs = self._probs(inputs)
        detections = [
            each
            for index, kind in enumerate(KINDS)
            if kind in self.rules
            for each in _intervals(track, inputs, probs[index], kind, self.rules[kind])
        ]
        return accept(detections, self.thresholds)

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return rules and thresholds, and the network with its scale."""
        tensors = {**self.network.state_dict(), "scale": self.scale}
        return {"rules": self.rules, "thresholds": self.thresholds}, tensors

    def restore(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Take over rules, thresholds and network."""
        self.rules, self.thresholds = state["rules"], state["thresholds"]
        self.scale = tensors["scale"]
        self.network.load_state_dict({name: tensor for name, tensor in tensors.items() if name != "scale"})
        self.network.eval()


def _times(track: MotionTrack) -> np.ndarray:
    """Return the frame numbers of the network's inputs, float64 [times]; they need not be whole."""
    return np.arange(track.first, track.last + 1e-9, track.fps * STEP)


def _inputs(track: MotionTrack) -> np.ndarray:
    """Return the inputs of the network, float32 [channels, times]; 0 where there is no face."""
    times = _times(track)
    rows = np.zeros((len(CHANNELS), len(times)), np.float32)
    features = np.array(track.features).reshape(-1, len(FEATURES))
    series: dict[str, ArrayLike] = dict(zip(FEATURES, features.T, strict=True))
    centres = dict.fromkeys(FEATURES, track.micro.centres)
    for kind, curve in track.curves.items():
        series |= {f"{kind} motion": curve.motion, f"{kind} lids": curve.lids}
        centres |= {f"{kind} motion": curve.centres, f"{kind} lids": curve.centres}
    for channel, name in enumerate(CHANNELS):
        if name in series and len(centres[name]):
            rows[channel] = np.interp(times, centres[name], np.nan_to_num(series[name]))
    return rows


def _targets(video: LabelledVideo, count: int) -> np.ndarray:
    """Return 1 at times inside an expression, float32 [kinds, times]."""
    times = _times(video.track)[:count]
    inside = np.zeros((len(KINDS), count), np.float32)
    for interval in video.intervals:
        inside[KINDS.index(interval.kind)] += (times >= interval.onset) & (times <= interval.offset)
    return np.minimum(inside, 1)


def _mirror() -> tuple[np.ndarray, np.ndarray]:
    """Return the channel that each one comes from in a mirrored face, and the factor of its value."""
    order, factor = [], []
    for channel, name in enumerate(CHANNELS):
        region, _, rest = name.partition(" ")
        other = {"left": "right", "right": "left"}.get(region)
        order.append(CHANNELS.index(f"{other} {rest}") if other and channel < len(FEATURES) else channel)
        sideways = name.split()[-2] == "right" and name not in CURVES
        factor.append(-1.0 if sideways or name.startswith("head turn") else 1.0)
    return np.array(order), np.array(factor, np.float32)


def _windows(pairs: Sequence[tuple[Tensor, Tensor]], chance: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return random windows of the videos: inputs, targets, and 1 at times inside the video, [batch, 1, times]."""
    lengths = np.array([x.shape[1] for x, _ in pairs], float)
    order, factor = (torch.from_numpy(each) for each in _mirror())
    x, y = torch.zeros(_BATCH, len(CHANNELS), _WINDOW), torch.zeros(_BATCH, len(KINDS), _WINDOW)
    valid = torch.zeros(_BATCH, 1, _WINDOW)
    for n, number in enumerate(chance.choice(len(pairs), _BATCH, p=lengths / lengths.sum())):
        inputs, targets = pairs[number]
        start = int(chance.integers(0, max(1, inputs.shape[1] - _WINDOW + 1)))
        part = inputs[:, start : start + _WINDOW] * float(np.exp(_GAIN * chance.standard_normal()))
        if chance.random() < 0.5:
            part = part[order] * factor[:, None]
        length = part.shape[1]
        x[n, :, :length], y[n, :, :length], valid[n, :, :length] = part, targets[:, start : start + length], 1
    return x, y, valid


def _intervals(
    track: MotionTrack, inputs: np.ndarray, probs: np.ndarray, kind: str, rules: dict[str, float]
) -> list[Detection]:
    """Return the intervals around the peaks of a probability; the score is its height.

    ``inputs``: those of the network, float32 [channels, times]; ``probs``: of one ``kind``, float64 [times].
    The apex is where the face is farthest from its position before and after: the greatest motion of the interval.
    """
    times, detections = _times(track), []
    motion = inputs[CHANNELS.index(f"{kind} motion")]
    shortest, longest = SHORTEST[kind] / STEP, round(LONGEST[kind] / STEP)
    for peak in peaks(probs, _FLOOR, max(1, round(shortest))):
        least = rules["share"] * probs[peak]
        onset = offset = peak
        while onset > 0 and probs[onset - 1] >= least and offset - onset < longest:
            onset -= 1
        while offset < len(probs) - 1 and probs[offset + 1] >= least and offset - onset < longest:
            offset += 1
        if offset - onset >= shortest:
            apex = onset + int(np.argmax(motion[onset : offset + 1]))
            first, middle, last = (round(float(times[place])) for place in (onset, apex, offset))
            detections.append(Detection(first, middle, last, kind, float(probs[peak])))
    return suppress(detections, rules["most_overlap"])
