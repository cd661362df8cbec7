"""What a run will cost: seconds of a core and space on the disk, from counts of frames, clips and folds.

The unit costs were measured on one core of a cloud machine (AMD EPYC). Another core may be half or twice as fast.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from merflow.errors import ClipError
from merflow.footage.clip import Clip
from merflow.footage.decoding import open_video
from merflow.footage.frames import image_paths, is_video
from merflow.study.config import ExperimentBlock
from merflow.study.plan import Plan
from merflow.study.training import signal_settings
from merflow.systems.settings import ROWS_PER_FLOW

JOB = 3.0
"""Seconds to start a job and its libraries."""
REPORT = 10.0
"""Seconds to draw the figures of a report."""
FRAME = {"make_demo": 0.015, "align_faces": 0.004, "select_keyframes": 0.009}
"""Seconds per frame."""
FIELD = 0.012
"""Seconds per optical flow field of 128 x 128 pixels; proportional to the area."""
CLIP_EPOCH = {"ststnet": 0.0003, "off-apexnet": 0.0003, "msjfn": 0.0035, "mersiamc3d": 0.008}
"""Seconds per training clip and epoch. Systems with an option ``side``: at 56 x 56 pixels; proportional to the area."""
HEAD_EPOCH = 0.00002
"""Seconds per training clip and epoch of TSDGCN's heads, many of which train together."""
IMAGE_EPOCH, FOLD_IMAGE_EPOCH = 0.013, 0.005
"""Seconds per image and epoch on a graph of 64 x 64 pixels, of pre-training and of training in the fold, which has
larger batches; proportional to the area."""
PATIENCES = 3
"""Number of times its patience that a training is expected to last, if its maximum allows it."""
DRAWN_FRAME, MODEL = 57_000, 500_000
"""Bytes of a frame of synthetic people, and of the trained network of a fold."""


def count_frames(clips: Sequence[Clip]) -> tuple[int, list[str]]:
    """Return the number of frames that alignment reads, and why some videos cannot be opened.

    They are the frames from onset to offset; without these, the images of a folder, or what the header of a video says.
    """
    total, unreadable = 0, []
    for clip in clips:
        stated = 0
        if is_video(clip.frames) and Path(clip.frames).is_file():  # Those of synthetic people may not be drawn yet.
            try:
                with open_video(clip.frames) as (container, stream):
                    length = (container.duration or 0) / 1e6  # microseconds
                    stated = stream.frames or round(length * float(stream.average_rate or 0))
            except (ClipError, OSError) as error:
                unreadable.append(f"{clip.clip}: {error}")
        if clip.onset is not None and clip.offset is not None:
            total += clip.offset - clip.onset + 1
        else:
            total += stated or len(image_paths(clip.frames))
    return total, unreadable


def job_seconds(plan: Plan, frames: Mapping[str, int]) -> dict[str, float]:
    """Return the mean seconds of a job, for each rule whose jobs do more than to start.

    Args:
        plan: of the study.
        frames: number of frames of each dataset.
    """
    data, training = plan.data, plan.training
    pairs = [(dataset, data.preparation(prep)) for dataset, prep in training.prepared() if data.has_frames(dataset)]
    people = max(1, sum(len(data.subjects(dataset)) for dataset, _ in pairs))
    total = sum(frames[dataset] for dataset, _ in pairs)
    costs = {rule: JOB + unit * total / people for rule, unit in FRAME.items()} | {"write_report": JOB + REPORT}
    areas = [len(data.index(name).clips) * prep.keyframes.count * (prep.align.size / 128) ** 2 for name, prep in pairs]
    costs["compute_flow"] = JOB + FIELD * sum(areas) / people
    jobs, work = Counter[str](), defaultdict[str, float](float)
    for name in training.experiments.trained_experiments:
        e = training.experiments[name]
        rule = _rule(e)
        if rule:
            jobs[rule] += 1 if rule == "finetune" else sum(len(training.fold_groups(name, seed)) for seed in e.seeds)
            work[rule] += _training(plan, name)
            if e.pretrains and e.pretrain.exclude_test_subjects:
                folds = len(training.experiments.folds(name))
                work[rule] += len(e.seeds) * folds * len(e.graphs) * _pretraining(plan, e)
        if e.shares_weights:
            networks = len(e.seeds) * len(e.graphs)
            pretrain = "pretrain_pair" if e.pretrains_together else "pretrain_sgcn"
            jobs[pretrain] += len(e.seeds) if e.pretrains_together else networks
            work[pretrain] += networks * _pretraining(plan, e)
    return costs | {rule: JOB + work[rule] / jobs[rule] for rule in jobs}


def _rule(e: ExperimentBlock) -> str:
    """The rule that trains an experiment; empty for linear systems, which need no more time than to start."""
    if e.reads_clips:
        return "train_clip_network"
    return "" if not e.uses_graphs else "finetune" if e.shares_features else "train_fold"


def _training(plan: Plan, name: str) -> float:
    """Seconds of all folds and seeds of an experiment."""
    experiments = plan.training.experiments
    e = experiments[name]
    clips = sum(len(experiments.usable_clips_of(name, dataset)) for dataset in e.training_datasets)
    block = e.training
    if not e.uses_graphs:
        cost = CLIP_EPOCH.get(e.system, CLIP_EPOCH["msjfn"]) * (float(e.network_block.get("side", 56)) / 56) ** 2
    elif e.transfer == "frozen":
        cost = HEAD_EPOCH
    else:
        rows = {"spatial": 1, "temporal": ROWS_PER_FLOW[signal_settings(e).signal]}
        images = _images(plan, e, e.datasets[0]) * sum(rows[branch] for branch in e.branches)
        cost = FOLD_IMAGE_EPOCH * (e.graph.side / 64) ** 2 * images * len(e.graphs)
    repeats = len(e.seeds) * len(experiments.folds(name)) * (block.average_seeds or 1)
    stops = block.epoch_choice in ("validation", "refit")
    return repeats * clips * _epochs(block.epochs, block.patience if stops else None) * cost


def _pretraining(plan: Plan, e: ExperimentBlock) -> float:
    """Seconds of the pre-training of one network."""
    images = _images(plan, e, e.macro) if e.pretrain.frames == "all" else 3
    epochs = _epochs(e.pretrain.epochs, e.pretrain.patience if e.pretrain.validation else None)
    return len(plan.data.index(e.macro).clips) * images * epochs * IMAGE_EPOCH * (e.graph.side / 64) ** 2


def _images(plan: Plan, e: ExperimentBlock, dataset: str) -> int:
    """Key-frames or flow images of a clip."""
    return plan.data.images_per_clip(dataset) or plan.data.preparation(e.prep).keyframes.count


def _epochs(most: int | None, patience: int | None) -> int:
    """The expected number of epochs; ``patience`` is None if nothing stops a training early."""
    return min(most or 100, PATIENCES * (patience or 100))


def disk_bytes(plan: Plan, frames: Mapping[str, int]) -> float:
    """Return about how many bytes the results of the study will have."""
    data, total = plan.data, 0.0
    for dataset, name in plan.training.prepared():
        prep, clips = data.preparation(name), len(data.index(dataset).clips)
        drawn = DRAWN_FRAME if data.is_synthetic(dataset) else 0
        pixels = prep.align.size**2
        total += frames[dataset] * (pixels + drawn)
        total += clips * prep.keyframes.count * pixels * (4 + 7)  # flow in float16; in the cache with strain and faces
    experiments = plan.training.experiments
    networks = sum(len(experiments[n].seeds) * len(experiments.folds(n)) for n in experiments.network_experiments)
    return total + networks * MODEL
