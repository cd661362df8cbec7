"""The frame scorer of adaptive key-frames: its training clips, its training, and the scores of a subject's frames.

It is trained on onset, apex and offset only. Of two frames between onset and apex, the later one shows more of the
expression; of two between apex and offset, the earlier one. The scorer learns to rank frames accordingly; it needs
neither emotion labels nor measured motion. It runs on the CPU, in seconds, with bit-identical results.
"""

import copy
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from merflow.errors import InputError
from merflow.learning.fit import repeatable
from merflow.preprocessing.frame_scorer.network import SIDE, FrameScorer
from merflow.preprocessing.frame_scorer.small_frames import small_frames
from merflow.preprocessing.geometry import stored_geometry
from merflow.protocols.folds import hold_out
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
"""Maximum number of epochs, epochs without a better validation loss before stopping, steps per epoch, clips per step,
frames per clip, learning rate of Adam, and fraction of the subjects that are held out for validation."""
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
"""Largest change of a clip's contrast (fraction) and brightness (grey levels); of a frame's light (fraction), position
(pixels of 64), angle (degrees) and size (fraction); largest blur (pixels) and noise (grey levels, standard deviation)
of a clip. Half of the clips are mirrored. It adds to synthetic clips the variation that filmed clips have."""
MAX_FRAMES = 40
"""Frames of a training clip; from a longer one this number is taken, equally spaced, and its apex."""

_VALIDATION_FRAMES = 12  # Frames of a validation clip.
_NETWORK = "key-frame scorer"
_BATCH = 64  # Frames that are scored together.


@dataclass(frozen=True)
class TrainingClip:
    """A clip with an annotated apex, without a label."""

    subject: str
    frames: np.ndarray
    """float16 ``[T, SIDE, SIDE]``, grey levels, the onset first."""
    apex: int


Batch = tuple[Tensor, Tensor, Tensor]
"""Onset and frames, float32 ``[clips, 1 + n, SIDE, SIDE]``; indices of the frames in their clips ``[clips, n]``;
indices of the apexes ``[clips]``."""


def _moving_clips(file: h5py.File) -> Iterator[tuple[h5py.Group, np.ndarray]]:
    """Yield each aligned clip with more than one frame, and its small frames."""
    for group in file.values():
        if group.attrs["status"] == "ok" and group.attrs["kind"] != "still":
            yield group, small_frames(group["frames"][()], stored_geometry(file, group))


def read_training_clips(faces: Sequence[str | Path], dataset: str) -> list[TrainingClip]:
    """Return the clips of a dataset that have an annotated apex after their onset; arguments as :func:`train_scorer`.

    Raises:
        InputError: such clips exist of fewer than two subjects.
    """
    clips = []
    for path in faces:
        with open_h5(path) as file:
            for group, frames in _moving_clips(file):
                apex = np.flatnonzero(group["frame_numbers"][()] == int(group.attrs["apex"]))
                if not len(apex) or not apex[0]:
                    continue
                indices = np.linspace(0, len(frames) - 1, min(len(frames), MAX_FRAMES)).round().astype(int)
                indices = np.union1d(indices, apex)
                kept = frames[indices].astype(np.float16)
                clips.append(TrainingClip(str(group.attrs["subject"]), kept, int(np.searchsorted(indices, apex[0]))))
    subjects = sorted({clip.subject for clip in clips})
    if len(subjects) < 2:
        raise InputError(
            "the key-frame scorer is trained on clips with an annotated apex of at least 2 subjects; dataset "
            f"{dataset} has {len(clips)} aligned ones, of {', '.join(subjects) or 'no subject'}; name another dataset "
            "in keyframes.learn_from, or null"
        )
    return clips


def train_scorer(faces: Sequence[str | Path], weights: str | Path, dataset: str, seed: int = 0) -> dict[str, Any]:
    """Train a scorer to rank the frames of a dataset's clips, and write it.

    Pairwise logistic loss (Burges et al.: Learning to rank using gradient descent, ICML 2005) over all pairs of sampled
    frames that lie on one side of the apex. The epoch is chosen on held-out subjects.

    Args:
        faces: output of :func:`merflow.preprocessing.faces.align_subject` for every subject.
        weights: output, safetensors; metadata ``network, dataset, learnt_from`` (digest of frames and apexes),
            ``subjects``, ``settings, seed, outcome``.
        dataset: name of the dataset.
        seed: of the weights, the samples and the choice of validation subjects.

    Returns:
        The outcome: ``epoch, loss, accuracy`` (fraction of correctly ordered validation pairs), ``n_train``,
        ``n_validation`` (clips), ``subjects_validation``.

    Raises:
        InputError: as :func:`read_training_clips`.
    """
    clips = read_training_clips(faces, dataset)
    train, validation = hold_out([clip.subject for clip in clips], share=TRAINING["validation"], seed=seed)
    log.info("%s: %d training clips, %d validation clips", dataset, len(train), len(validation))
    with repeatable(seed):
        model, result = _fit([clips[n] for n in train], [clips[n] for n in validation], np.random.default_rng(seed))
    result |= {"n_train": len(train), "n_validation": len(validation)}
    result["subjects_validation"] = sorted({clips[n].subject for n in validation})
    metadata = {
        "network": _NETWORK,
        "dataset": dataset,
        "learnt_from": training_digest(clips),
        "subjects": json.dumps(sorted({clip.subject for clip in clips})),
        "settings": json.dumps(TRAINING | {"augmentation": AUGMENTATION}, sort_keys=True),
        "seed": str(seed),
        "outcome": json.dumps(result, sort_keys=True),
    }
    write_weights(model.state_dict(), weights, metadata)
    log.info("best epoch %d: %.1f%% of the validation pairs in order", result["epoch"], 100 * result["accuracy"])
    return result


def training_digest(clips: Sequence[TrainingClip]) -> str:
    """Return twelve hexadecimal digits that identify all training data of a scorer."""
    total = sha256()
    for clip in clips:
        total.update(f"{clip.subject} {clip.frames.shape} {clip.apex} ".encode() + clip.frames.tobytes())
    return total.hexdigest()[:12]


def _fit(
    train: Sequence[TrainingClip], validation: Sequence[TrainingClip], random: np.random.Generator
) -> tuple[FrameScorer, dict[str, Any]]:
    """Return the scorer with the weights of its best epoch, and ``epoch, loss, accuracy`` of that epoch."""
    model = FrameScorer()
    validation_clips = [_validation_clip(clip) for clip in validation]
    optimiser = torch.optim.Adam(model.parameters(), lr=TRAINING["learning_rate"], fused=True)
    best: dict[str, Any] = {"epoch": 0, "loss": float("inf"), "accuracy": 0.0}
    best_state = copy.deepcopy(model.state_dict())
    for epoch in range(1, TRAINING["epochs"] + 1):
        model.train()
        losses = []
        for _ in range(TRAINING["steps"]):
            value, _ = _ranking_loss(model, _sample(train, random))
            optimiser.zero_grad()
            value.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            losses.append(value.item())
        if not np.isfinite(losses).all():
            raise InputError(
                f"the key-frame scorer diverged in epoch {epoch} (loss {np.mean(losses)}): its clips contain values "
                "that are not finite, or learning_rate in merflow.preprocessing.frame_scorer.scorer.TRAINING is too "
                "large"
            )
        result = _validate(model, validation_clips)
        log.info(
            "epoch %d of %d: train loss %.3f, validation loss %.3f, %.1f%% of pairs in order",
            epoch, TRAINING["epochs"], np.mean(losses), result["loss"], 100 * result["accuracy"],
        )  # fmt: skip
        if result["loss"] < best["loss"]:
            best, best_state = {"epoch": epoch} | result, copy.deepcopy(model.state_dict())
        if epoch - best["epoch"] >= TRAINING["patience"]:
            break
    model.load_state_dict(best_state)
    return model.eval(), best


def _sample(clips: Sequence[TrainingClip], random: np.random.Generator) -> Batch:
    """Sample clips and frames of them, and augment them."""
    images, indices = [], []
    chosen = [clips[n] for n in random.integers(len(clips), size=TRAINING["clips"])]
    for clip in chosen:
        # A short clip repeats frames, which form no pair.
        length, count = len(clip.frames), TRAINING["frames"]
        sampled = np.sort(random.choice(length, count, replace=length < count))
        images.append(clip.frames[np.concatenate([[0], sampled])].astype(np.float32))
        indices.append(sampled)
    apexes = torch.tensor([clip.apex for clip in chosen])
    return augmented(torch.from_numpy(np.stack(images))), torch.from_numpy(np.stack(indices)), apexes


def _ranking_loss(model: FrameScorer, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the mean logistic loss over the pairs of known order, and the fraction that is ordered correctly."""
    images, indices, apexes = batch
    scores = model(images[:, 0], images[:, 1:])
    first, second, apex = indices[:, :, None], indices[:, None, :], apexes[:, None, None]
    second_higher = ((first < second) & (second <= apex)) | ((first > second) & (second >= apex))
    steps = (scores[:, None, :] - scores[:, :, None])[second_higher]
    return functional.softplus(-steps).mean(), (steps > 0).float().mean()


def _validation_clip(clip: TrainingClip) -> Batch:
    """Return equally spaced frames of a clip and its apex, augmented once like training frames."""
    last = len(clip.frames) - 1
    indices = np.unique(np.append(np.linspace(0, last, _VALIDATION_FRAMES).round().astype(int), clip.apex))
    images = torch.from_numpy(clip.frames[np.append(0, indices)].astype(np.float32))
    return augmented(images[None]), torch.from_numpy(indices)[None], torch.tensor([clip.apex])


@torch.no_grad()
def _validate(model: FrameScorer, clips: Sequence[Batch]) -> dict[str, float]:
    """Return the mean ``loss`` and ``accuracy`` of validation clips, each with equal weight."""
    model.eval()
    results = [torch.stack(_ranking_loss(model, clip)) for clip in clips]
    loss, accuracy = torch.stack(results).double().mean(dim=0).tolist()
    return {"loss": loss, "accuracy": accuracy}


def augmented(images: Tensor) -> Tensor:
    """Return images ``[clips, frames, SIDE, SIDE]`` with random camera, light and head motion, :data:`AUGMENTATION`."""
    clips, count = images.shape[:2]
    a = AUGMENTATION

    def uniform(bound: float, *shape: int) -> Tensor:
        return bound * (2 * torch.rand(*shape) - 1)

    images = torch.where(torch.rand(clips, 1, 1, 1) < 0.5, images.flip(-1), images)
    middle = images[:, :1].mean((2, 3), keepdim=True)
    images = (images - middle) * (1 + uniform(a["contrast"], clips, 1, 1, 1)) + middle
    images = (images + uniform(a["brightness"], clips, 1, 1, 1)) * (1 + uniform(a["light"], clips, count, 1, 1))
    angle, zoom = uniform(np.radians(a["turn"]), clips * count), 1 + uniform(a["zoom"], clips * count)
    cosine, sine = zoom * angle.cos(), zoom * angle.sin()
    shift = uniform(2 * a["shift"] / SIDE, 2, clips * count)
    pose = torch.stack([torch.stack([cosine, -sine, shift[0]], 1), torch.stack([sine, cosine, shift[1]], 1)], 1)
    flat = images.reshape(-1, 1, SIDE, SIDE)
    grid = functional.affine_grid(pose, list(flat.shape), align_corners=False)
    flat = functional.grid_sample(flat, grid, padding_mode="border", align_corners=False)
    images = _blurred(flat.view(images.shape), a["blur"] * torch.rand(clips))
    return images + a["noise"] * torch.rand(clips, 1, 1, 1) * torch.randn(images.shape)


def _blurred(images: Tensor, widths: Tensor) -> Tensor:
    """Blur images ``[clips, frames, SIDE, SIDE]`` by a Gaussian, with one width per clip."""
    clips = len(images)
    kernel = torch.exp(-(torch.arange(-2.0, 3.0) ** 2) / (2 * widths.clamp_min(0.1)[:, None] ** 2))
    kernel = kernel / kernel.sum(1, keepdim=True)
    flat = functional.pad(images.transpose(0, 1), (2, 2, 2, 2), mode="replicate")  # One channel per clip.
    flat = functional.conv2d(flat, kernel.view(clips, 1, 5, 1), groups=clips)
    return functional.conv2d(flat, kernel.view(clips, 1, 1, 5), groups=clips).transpose(0, 1)


def load_scorer(weights: str | Path) -> tuple[FrameScorer, dict[str, str]]:
    """Return the scorer of a weights file, in evaluation mode, and the file's metadata.

    Raises:
        InputError: not a scorer file.
    """
    try:
        metadata, state = read_weights(weights)
        if metadata.get("network") != _NETWORK:
            raise InputError(
                f"{weights} holds {metadata.get('network')!r}, not a key-frame scorer; delete it and run again"
            )
        model = FrameScorer()
        model.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(f"{weights} is not a key-frame scorer: {error}; delete it and run again") from error
    return model.eval(), metadata


@torch.no_grad()
def score_clip(model: FrameScorer, small: np.ndarray) -> np.ndarray:
    """Return the scores of the frames of :func:`small_frames` minus that of the onset, float64 [T], without a unit."""
    images = torch.from_numpy(small)
    batches = [model(images[:1], batch[None])[0] for batch in torch.split(images, _BATCH)]
    scores: np.ndarray = torch.cat(batches).double().numpy()
    return np.asarray(scores - scores[0])


def score_subject(faces: str | Path, weights: str | Path, output: str | Path) -> None:
    """Score all frames of a subject's clips and write ``scores/{subject}.csv``: ``clip, frame, score``.

    Stills and clips that could not be aligned have no rows.
    """
    cv2.setNumThreads(1)
    model, metadata = load_scorer(weights)
    log.info("scorer trained on %s (%s)", metadata["dataset"], metadata["learnt_from"])
    rows: list[Mapping[str, Any]] = []
    with repeatable(0), open_h5(faces) as file:
        for group, small in _moving_clips(file):
            scores = score_clip(model, small)
            numbers = group["frame_numbers"][()]
            clip = str(group.attrs["clip"])
            log.info("%s: %d frames, highest %.3g at %d", clip, len(scores), scores.max(), numbers[scores.argmax()])
            pairs = zip(numbers.tolist(), scores.tolist(), strict=True)
            rows += [{"clip": clip, "frame": number, "score": score} for number, score in pairs]
    write_table(rows, output, FRAME_SCORES)
