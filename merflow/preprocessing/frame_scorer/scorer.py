"""The scorer behind adaptive key-frames: what it learns from, how it learns, and the scores of a subject's frames.

It learns from onset, apex and offset alone. Of two frames between onset and apex the later one shows more of the
expression, of two between apex and offset the earlier one: that is what the three words mean. So it ranks frames, and
needs neither an emotion label nor a measured motion. It runs on the CPU, in seconds, and gives the same bits there.
"""

import copy
import json
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import h5py
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from merflow.errors import InputError
from merflow.learning.fit import repeatable
from merflow.preprocessing.frame_scorer.network import PLACE, SIDE, FrameScorer, eyes_left_out, head_and_light
from merflow.protocols.folds import hold_out
from merflow.storage.disk_arrays import ArrayInFile
from merflow.storage.hdf5 import open_h5
from merflow.storage.tables import FRAME_SCORES, write_table
from merflow.storage.weights import read_weights, write_weights

log = logging.getLogger(__name__)

TRAINING: dict[str, Any] = {
    "epochs": 12,
    "patience": 3,
    "steps": 8,
    "clips": 16,
    "frames": 5,
    "learning_rate": 0.002,
    "validation": 0.2,
}
"""Epochs at most, epochs without a better validation loss until it stops, steps of an epoch, clips of a step, frames of
each of them, Adam's rate, and the share of the people who choose the epoch."""
AUGMENTATION: dict[str, float] = {
    "contrast": 0.4,
    "brightness": 30.0,
    "light": 0.02,
    "shift": 0.25,
    "turn": 0.3,
    "zoom": 0.004,
    "blur": 1.0,
    "noise": 2.0,
}
"""Widest change of a clip's contrast (share) and brightness (grey levels); of a frame's light (share), place (pixels of
64), angle (degrees) and size (share); widest blur (pixels) and noise (grey levels, standard deviation) of a clip. Half
of the clips are mirrored. Drawn people are cleaner than filmed ones: this is what filmed ones have besides."""
LONGEST = 40
"""Frames of a clip that the scorer learns from; of a longer one as many, equally spaced, and its apex."""

_STEADYING = 3  # Steps of least squares; the third moves a head that drifts by two pixels by under a hundredth.
_JUDGED = 12  # Frames of a validation clip.
_NETWORK = "key-frame scorer"
_AT_ONCE = 64  # Frames that are scored together.


@dataclass(frozen=True)
class Material:
    """A clip to learn from. There is no label in it.

    Attributes:
        subject: who is seen.
        frames: float16 ``[T, SIDE, SIDE]``, grey levels, the onset first; they wait on the disk.
        apex: place of the apex among them.
    """

    subject: str
    frames: np.ndarray | ArrayInFile
    apex: int


def small_frames(frames: np.ndarray, geometry: Sequence[float]) -> np.ndarray:
    """Crops as the scorer sees them: small, the eyes at their place, the head held as it is at onset.

    Each frame is moved by the similarity that least squares find between it and the onset (Lucas and Kanade 1981, with
    a change of light beside it). What is not found here, the network takes off to the first order.

    Args:
        frames: uint8 [T, S, S], the onset first.
        geometry: where the eyes are: side of the crop in inter-ocular distances, their height and the place of the
            point between them, as parts of the side; they come to
            :data:`merflow.preprocessing.frame_scorer.network.PLACE`.

    Returns:
        float32 [T, SIDE, SIDE], grey levels, free of aliasing; beyond the crop its border is repeated.
    """
    size = frames.shape[-1]
    crop, down, across = geometry
    scale = SIDE / PLACE[0] * crop / size
    target = np.array([PLACE[2], PLACE[1]]) * SIDE - 0.5
    source = np.array([across, down]) * size - 0.5
    back = np.vstack([np.column_stack([np.eye(2) / scale, source - target / scale]), [0, 0, 1]])  # Small to crop.
    sigma = 0.5 * np.sqrt(max(scale**-2 - 1, 0.0))

    def taken(frame: np.ndarray, pose: np.ndarray) -> np.ndarray:
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(frame, (back @ pose)[:2], (SIDE, SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE)

    small = np.empty((len(frames), SIDE, SIDE), np.float32)
    seen = eyes_left_out().numpy()
    for place, frame in enumerate(frames):
        frame = frame.astype(np.float32)
        if sigma > 0.2:
            frame = cv2.GaussianBlur(frame, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
        pose = np.eye(3)
        small[place] = taken(frame, pose)
        if not place:
            causes = head_and_light(torch.from_numpy(small[:1] - small[0].mean()))[0].double().numpy()
            solved = np.linalg.pinv(causes)
            continue
        for _ in range(_STEADYING):
            pose = pose @ _moved(*(solved @ ((small[place] - small[0]) * seen).ravel())[:4])
            small[place] = taken(frame, pose)
    return small


def _moved(right: float, down: float, turn: float, zoom: float) -> np.ndarray:
    """The way back of a small motion, 3x3, in pixels of the small picture; turn and zoom as its edge moves."""
    middle = (SIDE - 1) / 2
    rate = np.array([[zoom, -turn], [turn, zoom]]) / middle
    linear = np.eye(2) - rate
    shift = rate @ [middle, middle] - [right, down]
    return np.vstack([np.column_stack([linear, shift]), [0, 0, 1]])


def _moving(file: h5py.File) -> Iterator[tuple[h5py.Group, np.ndarray]]:
    """Each aligned clip with more than one frame, and its small frames."""
    settings = json.loads(str(file.attrs["settings"]))
    usual = (settings["crop"], settings["eye_height"], 0.5)
    for group in file.values():
        if group.attrs["status"] == "ok" and group.attrs["kind"] != "still":
            yield group, small_frames(group["frames"][()], group.attrs.get("geometry", usual))


def read_material(faces: Sequence[str | Path], dataset: str) -> list[Material]:
    """The clips of a dataset that have an annotated apex after their onset.

    Args:
        faces: output of :func:`merflow.preprocessing.faces.align_subject` for every subject.
        dataset: its name, for the message.

    Raises:
        InputError: there are such clips of fewer than two people.
    """
    found, waiting = [], tempfile.TemporaryFile()  # noqa: SIM115
    for path in faces:
        with open_h5(path) as file:
            for group, frames in _moving(file):
                apex = np.flatnonzero(group["frame_numbers"][()] == int(group.attrs["apex"]))
                if not len(apex) or not apex[0]:
                    continue
                places = np.linspace(0, len(frames) - 1, min(len(frames), LONGEST)).round().astype(int)
                places = np.union1d(places, apex)
                own = ArrayInFile.of(frames[places].astype(np.float16), waiting)
                found.append(Material(str(group.attrs["subject"]), own, int(np.searchsorted(places, apex[0]))))
    people = sorted({clip.subject for clip in found})
    if len(people) < 2:
        raise InputError(
            f"the key-frame scorer learns from clips with an annotated apex of at least 2 people; of dataset {dataset} "
            f"{len(found)} came through alignment, of {', '.join(people) or 'nobody'}; name another dataset in "
            "keyframes.learn_from, or null"
        )
    return found


def train_scorer(faces: Sequence[str | Path], weights: str | Path, dataset: str, seed: int = 0) -> dict[str, Any]:
    """Learn to rank the frames of a dataset's clips, and write the scorer.

    Pairwise logistic loss (Burges et al.: Learning to rank using gradient descent, ICML 2005) over all pairs of drawn
    frames that lie on one side of the apex. A part of the people trains nothing and chooses the epoch.

    Args:
        faces: as in :func:`read_material`.
        weights: output, safetensors; metadata ``network, dataset, learnt_from`` (digest of frames and apexes),
            ``subjects`` (who was seen), ``settings, seed, outcome``.
        dataset: name of the dataset.
        seed: of weights, draws and of the people who choose the epoch.

    Returns:
        The outcome: ``epoch, loss, accuracy`` (share of pairs of the validation people in their order), ``n_train``,
        ``n_validation`` (clips), ``subjects_validation``.

    Raises:
        InputError: as :func:`read_material`.
    """
    clips = read_material(faces, dataset)
    train, held = hold_out([clip.subject for clip in clips], share=TRAINING["validation"], seed=seed)
    log.info("%s: %d clips train, %d choose the epoch", dataset, len(train), len(held))
    with repeatable(seed):
        model, result = _fit([clips[n] for n in train], [clips[n] for n in held], np.random.default_rng(seed))
    result |= {"n_train": len(train), "n_validation": len(held)}
    result["subjects_validation"] = sorted({clips[n].subject for n in held})
    metadata = {
        "network": _NETWORK,
        "dataset": dataset,
        "learnt_from": material_digest(clips),
        "subjects": json.dumps(sorted({clip.subject for clip in clips})),
        "settings": json.dumps(TRAINING | {"augmentation": AUGMENTATION}, sort_keys=True),
        "seed": str(seed),
        "outcome": json.dumps(result, sort_keys=True),
    }
    write_weights(model.state_dict(), weights, metadata)
    log.info("kept epoch %d: %.1f%% of the validation pairs in order", result["epoch"], 100 * result["accuracy"])
    return result


def material_digest(clips: Sequence[Material]) -> str:
    """Twelve hexadecimal digits of everything that the scorer learns from."""
    total = sha256()
    for clip in clips:
        total.update(f"{clip.subject} {clip.frames.shape} {clip.apex} ".encode() + clip.frames[:].tobytes())
    return total.hexdigest()[:12]


def _fit(
    train: Sequence[Material], held: Sequence[Material], chance: np.random.Generator
) -> tuple[FrameScorer, dict[str, Any]]:
    """The scorer with the weights of its best epoch, and ``epoch, loss, accuracy`` of it."""
    model = FrameScorer()
    waiting = tempfile.TemporaryFile()  # noqa: SIM115
    judges = [_asked(clip, waiting) for clip in held]
    optimiser = torch.optim.Adam(model.parameters(), lr=TRAINING["learning_rate"], fused=True)
    best: dict[str, Any] = {"epoch": 0, "loss": float("inf"), "accuracy": 0.0}
    kept = copy.deepcopy(model.state_dict())
    for epoch in range(1, TRAINING["epochs"] + 1):
        model.train()
        losses = []
        for _ in range(TRAINING["steps"]):
            pictures, places, apexes = _drawn(train, chance)
            pictures = augmented(pictures)
            value, _ = _ranked(model(pictures[:, 0], pictures[:, 1:]), places, apexes)
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            losses.append(value.item())
        if not np.isfinite(losses).all():
            raise InputError(
                f"the key-frame scorer diverged in epoch {epoch} (loss {np.mean(losses)}): its clips hold numbers that "
                "are none, or merflow.preprocessing.frame_scorer.scorer.TRAINING has too large a learning_rate"
            )
        judged = _judged(model, judges)
        told = np.mean(losses), judged["loss"], 100 * judged["accuracy"]
        log.info("epoch %d of %d: train loss %.3f, validation loss %.3f, %.1f%% of pairs in order",
                 epoch, TRAINING["epochs"], *told)  # fmt: skip
        if judged["loss"] < best["loss"]:
            best, kept = {"epoch": epoch} | judged, copy.deepcopy(model.state_dict())
        if epoch - best["epoch"] >= TRAINING["patience"]:
            break
    model.load_state_dict(kept)
    return model.eval(), best


def _drawn(clips: Sequence[Material], chance: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Frames of one step: the onset and some of each clip ``[clips, 1 + frames, SIDE, SIDE]``, places, apexes."""
    pictures, places = [], []
    chosen = [clips[n] for n in chance.integers(len(clips), size=TRAINING["clips"])]
    for clip in chosen:
        # A short clip gives a frame twice, which makes no pair.
        have, wanted = len(clip.frames), TRAINING["frames"]
        own = np.sort(chance.choice(have, wanted, replace=have < wanted))
        pictures.append(clip.frames[np.concatenate([[0], own])].astype(np.float32))
        places.append(own)
    apexes = torch.tensor([clip.apex for clip in chosen])
    return torch.from_numpy(np.stack(pictures)), torch.from_numpy(np.stack(places)), apexes


def _ranked(scores: Tensor, places: Tensor, apexes: Tensor) -> tuple[Tensor, Tensor]:
    """Mean logistic loss over the pairs whose order is known, and the share of them in their order.

    Args:
        scores: ``[clips, frames]``.
        places: of the frames in their clips, ``[clips, frames]``.
        apexes: ``[clips]``.
    """
    one, other, apex = places[:, :, None], places[:, None, :], apexes[:, None, None]
    higher = ((one < other) & (other <= apex)) | ((one > other) & (other >= apex))  # The other frame, that is.
    steps = (scores[:, None, :] - scores[:, :, None])[higher]
    return functional.softplus(-steps).mean(), (steps > 0).float().mean()


def _asked(clip: Material, waiting: BinaryIO) -> tuple[ArrayInFile, Tensor, Tensor]:
    """Some frames of a validation clip, changed once like those that train, with their places and the apex."""
    places = np.unique(np.append(np.linspace(0, len(clip.frames) - 1, _JUDGED).round().astype(int), clip.apex))
    pictures = torch.from_numpy(clip.frames[np.append(0, places)].astype(np.float32))
    stored = ArrayInFile.of(augmented(pictures[None]).numpy(), waiting)
    return stored, torch.from_numpy(places)[None], torch.tensor([clip.apex])


@torch.no_grad()
def _judged(model: FrameScorer, clips: Sequence[tuple[ArrayInFile, Tensor, Tensor]]) -> dict[str, float]:
    """``loss`` and ``accuracy`` on the clips of :func:`_asked`; each counts the same."""
    model.eval()
    found = []
    for stored, places, apex in clips:
        pictures = torch.from_numpy(stored[:])
        found.append(torch.stack(_ranked(model(pictures[:, 0], pictures[:, 1:]), places, apex)))
    loss, accuracy = torch.stack(found).double().mean(dim=0).tolist()
    return {"loss": loss, "accuracy": accuracy}


def augmented(pictures: Tensor) -> Tensor:
    """Pictures as another camera, another light and a less steady head would give them (:data:`AUGMENTATION`).

    Args:
        pictures: onset and frames of each clip, float32 ``[clips, frames, SIDE, SIDE]``; random numbers come from
            torch's generator.
    """
    clips, count = pictures.shape[:2]
    a = AUGMENTATION

    def around(widest: float, *shape: int) -> Tensor:
        return widest * (2 * torch.rand(*shape) - 1)

    pictures = torch.where(torch.rand(clips, 1, 1, 1) < 0.5, pictures.flip(-1), pictures)
    middle = pictures[:, :1].mean((2, 3), keepdim=True)
    pictures = (pictures - middle) * (1 + around(a["contrast"], clips, 1, 1, 1)) + middle
    pictures = (pictures + around(a["brightness"], clips, 1, 1, 1)) * (1 + around(a["light"], clips, count, 1, 1))
    angle, zoom = around(np.radians(a["turn"]), clips * count), 1 + around(a["zoom"], clips * count)
    cosine, sine = zoom * angle.cos(), zoom * angle.sin()
    shift = around(2 * a["shift"] / SIDE, 2, clips * count)
    pose = torch.stack([torch.stack([cosine, -sine, shift[0]], 1), torch.stack([sine, cosine, shift[1]], 1)], 1)
    flat = pictures.reshape(-1, 1, SIDE, SIDE)
    grid = functional.affine_grid(pose, list(flat.shape), align_corners=False)
    flat = functional.grid_sample(flat, grid, padding_mode="border", align_corners=False)
    pictures = _blurred(flat.view(pictures.shape), a["blur"] * torch.rand(clips))
    return pictures + a["noise"] * torch.rand(clips, 1, 1, 1) * torch.randn(pictures.shape)


def _blurred(pictures: Tensor, widths: Tensor) -> Tensor:
    """Pictures ``[clips, frames, SIDE, SIDE]`` under a Gaussian, of its own width for each clip."""
    clips, count = pictures.shape[:2]
    kernel = torch.exp(-(torch.arange(-2.0, 3.0) ** 2) / (2 * widths.clamp_min(0.1)[:, None] ** 2))
    kernel = kernel / kernel.sum(1, keepdim=True)
    flat = functional.pad(pictures.transpose(0, 1), (2, 2, 2, 2), mode="replicate")  # A channel for each clip.
    flat = functional.conv2d(flat, kernel.view(clips, 1, 5, 1), groups=clips)
    return functional.conv2d(flat, kernel.view(clips, 1, 1, 5), groups=clips).transpose(0, 1)


def load_scorer(weights: str | Path) -> tuple[FrameScorer, dict[str, str]]:
    """The scorer of a weights file, in evaluation mode, and the file's metadata.

    Raises:
        InputError: the file is no scorer's.
    """
    try:
        metadata, state = read_weights(weights)
        if metadata.get("network") != _NETWORK:
            raise InputError(f"{weights} holds {metadata.get('network')!r}, not a key-frame scorer; make it anew")
        model = FrameScorer()
        model.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(f"{weights} is not a key-frame scorer: {error}; delete it and run again") from error
    return model.eval(), metadata


@torch.no_grad()
def score_clip(model: FrameScorer, small: np.ndarray) -> np.ndarray:
    """The scores of a clip's frames, above that of its onset.

    Args:
        model: from :func:`load_scorer`.
        small: from :func:`small_frames`, the onset first.

    Returns:
        float64 [T], without a unit; the first is 0.
    """
    pictures = torch.from_numpy(small)
    parts = [model(pictures[:1], part[None])[0] for part in pictures.split(_AT_ONCE)]
    scores = torch.cat(parts).double().numpy()
    return scores - scores[0]


def score_subject(faces: str | Path, weights: str | Path, output: str | Path) -> None:
    """Score all frames of a subject's moving clips and write ``scores/{subject}.csv``: ``clip, frame, score``.

    Args:
        faces: output of :func:`merflow.preprocessing.faces.align_subject`.
        weights: output of :func:`train_scorer`.
        output: CSV file, written whole or not at all; clips that could not be aligned and stills have no rows.
    """
    cv2.setNumThreads(1)
    model, metadata = load_scorer(weights)
    log.info("scorer learnt from %s (%s)", metadata["dataset"], metadata["learnt_from"])
    rows: list[Mapping[str, Any]] = []
    with repeatable(0), open_h5(faces) as file:
        for group, small in _moving(file):
            scores = score_clip(model, small)
            numbers = group["frame_numbers"][()]
            clip = str(group.attrs["clip"])
            log.info("%s: %d frames, highest %.3g at %d", clip, len(scores), scores.max(), numbers[scores.argmax()])
            rows += [
                {"clip": clip, "frame": int(number), "score": float(score)}
                for number, score in zip(numbers, scores, strict=True)
            ]
    write_table(rows, output, FRAME_SCORES)
