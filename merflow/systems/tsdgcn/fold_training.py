"""TSDGCN trained inside each fold: end to end, without a macro set, or pre-trained without the people of the test.

:mod:`merflow.systems.tsdgcn.finetune` trains a head on features that are extracted once. That is not possible where
the networks
themselves depend on the fold: where they go on learning on micro clips (``transfer: end-to-end``), where there is no
macro set to learn from before (``macro: none``), and where the macro set shows the people of the test, who must then
be left out (``pretrain.exclude_test_subjects``). One fold is one job.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from merflow.errors import InputError
from merflow.footage.clip import database
from merflow.learning.checkpoints import Checkpoints
from merflow.learning.fit import Rows, Schedule, class_numbers, fit, repeatable, scores_of
from merflow.learning.losses import make_loss
from merflow.protocols.folds import Fold, hold_out
from merflow.protocols.selection import settled
from merflow.runtime.devices import device
from merflow.storage.disk_arrays import Batches, Centred, DiskArray, centre_arrays
from merflow.storage.hdf5 import open_h5
from merflow.storage.weights import write_weights
from merflow.systems.tsdgcn.finetune import Samples, fold_answers, fold_data, fold_of, fuse, write_answers
from merflow.systems.tsdgcn.graph import Graph
from merflow.systems.tsdgcn.heads import WEIGHTS, Head, RepeatData, SavedHead, train_heads
from merflow.systems.tsdgcn.pretrain import load_network, macro_images
from merflow.systems.tsdgcn.sgcn import HIDDEN, SGCN
from merflow.systems.tsdgcn.signals import ROWS_PER_FLOW, flow_signal, grey_signal

log = logging.getLogger(__name__)


class EndToEnd(nn.Module):
    """One or two SGCNs and the fused head (Eq. 4 and 5) as one network."""

    def __init__(self, networks: Sequence[nn.Module], head: nn.Module, images: int):
        """Join trained or untrained parts; ``images``: pictures side by side in a row (2 for ``fusion: concat``)."""
        super().__init__()
        self.networks, self.head, self.images = nn.ModuleList(networks), head, images

    def forward(self, x: Tensor) -> Tensor:
        """``[rows, images * pixels]`` to class scores ``[rows, classes]``."""
        features = [one.features(part) for part in x.chunk(self.images, dim=1) for one in self.networks]
        return self.head(torch.cat(features, dim=1))


def train_fold(
    caches: Sequence[Path],
    graphs: Sequence[Path],
    weights: Sequence[Path],
    macro: Path | None,
    *,
    predictions: Path,
    accuracy_train: Path,
    curves: Path,
    settings: Mapping[str, Any],
    seed: int,
    fold: str,
    code: str = "",
    validation: Path | None = None,
    model: Path | None = None,
) -> None:
    """Train and test the networks of one fold of one repeat.

    Its checkpoints lie in ``checkpoints`` beside ``predictions`` until the tables are there.

    Args:
        caches: micro datasets.
        graphs: graph of each network.
        weights: pre-trained networks, in the order of ``graphs``; empty where the fold pre-trains or nothing does.
        macro: cache of the macro set, if the fold pre-trains its own networks.
        predictions: output, a row per test clip; empty if no clip of the fold came through.
        accuracy_train: output.
        curves: output.
        settings: as of :func:`merflow.systems.tsdgcn.finetune.finetune`, with ``transfer`` (frozen or end-to-end),
            ``signal``, ``pretrain`` and ``network_seeds`` (of each network).
        seed: the repeat.
        fold: name of the fold.
        code: digest of the code; a checkpoint of another one is not taken up.
        validation: if given, output: as ``predictions``, of the clips that chose the epoch.
        model: if given, output: what the fold has learnt (:func:`save_fold`).

    Raises:
        InputError: caches, graphs and weights do not belong together, or pre-training is left without people.
    """
    plans = [Graph.load(graph) for graph in graphs]
    samples = load_signals(caches, plans[0].side, settings)
    found = fold_of(samples, settings, seed, fold)
    about = json.dumps({**settings, "code": code, "seed": seed, "fold": fold}, sort_keys=True)
    made_of = samples.rows.digest, samples.labels, found[1].parts if found else None, [plan.digest for plan in plans]
    checkpoints = Checkpoints(predictions.parent / "checkpoints", about, device().type, *made_of)
    answers, learnt = [], None
    if found is None:
        log.warning("no clip of %s came through; the fold is empty", fold)
    else:
        number, part = found
        names = {"experiment": settings["experiment"], "repeat": seed}
        blind = samples.without_answers(part)
        networks = []
        for place, plan in enumerate(plans):
            own = settings["network_seeds"][place]
            if weights:
                networks.append(load_network(weights[place], plan)[0])
            elif macro is not None:
                tested = {subject.split("/", 1)[1] for subject in np.asarray(samples.subjects)[part.test]}
                networks.append(pretrain_without(macro, plan, tested, settings["pretrain"], (own, number), checkpoints))
            else:
                with repeatable(own, number):
                    networks.append(SGCN(plan, len(samples.classes)))
        centre = not weights and macro is None

        def inner(fold: Fold, seed: tuple[int, ...], varied: Mapping[str, Any]) -> np.ndarray:
            return _train(blind, fold, deepcopy(networks), varied, seed, centre, checkpoints).test

        given = samples.subjects, blind.labels, settings, settings["head"]["validation"]
        part, settings, chosen = settled(part, (seed, number), *given, inner)
        learnt = _train(blind, part, networks, settings, (seed, number), centre, checkpoints)
        known = learnt.known, part.training_labels(samples.labels)[0]
        held = part.validation, learnt.held
        answers.append(fold_answers(samples, part, learnt.test, known, learnt.curve, names, chosen, held))
    if model:
        save_fold(learnt, model)
    write_answers(answers, predictions, accuracy_train, curves, validation)
    checkpoints.remove()


class Learnt(NamedTuple):
    """What one fold has learnt.

    Attributes:
        test: probabilities of the test clips, ``[clips, classes]``.
        known: of the clips that trained.
        held: of the clips that chose the epoch.
        curve: rows ``epoch, split, loss, accuracy``.
        networks: the SGCNs.
        head: a head on their features, with its standardisation; or the head that was trained with them.
        centred: mean picture and divisor of the images, where they were centred.
    """

    test: np.ndarray
    known: np.ndarray
    held: np.ndarray
    curve: list[dict[str, Any]]
    networks: Sequence[nn.Module]
    head: SavedHead | Head
    centred: Centred | None


def save_fold(learnt: Learnt | None, path: Path) -> None:
    """Write what a fold has learnt as safetensors; a file without arrays for a fold without clips.

    Arrays: ``networks.{place}.*`` of each SGCN (its graph lies in its own file), ``head.*`` as of
    :class:`merflow.systems.tsdgcn.heads.SavedHead` (without ``mean`` and ``scale`` where the SGCNs were trained with
    it), and ``centre.mean, centre.divisor`` (:class:`merflow.storage.disk_arrays.Centred`). Metadata: ``network,
    branch``.
    """
    if learnt is None:
        write_weights({}, path, {"network": "none"})
        return
    found = {
        f"networks.{place}.{name}": tensor
        for place, one in enumerate(learnt.networks)
        for name, tensor in one.state_dict().items()
    }
    metadata = {"network": "end-to-end"}
    if isinstance(learnt.head, SavedHead):
        found |= {f"head.{name}": torch.from_numpy(array) for name, array in learnt.head.arrays.items()}
        metadata = {"network": "sgcn-heads", "branch": json.dumps(learnt.head.branch.tolist())}
    else:
        found |= {f"head.{name}": weight for name, weight in zip(WEIGHTS, learnt.head.parameters(), strict=True)}
    found |= centre_arrays(learnt.centred)
    write_weights({name: tensor.detach().cpu() for name, tensor in found.items()}, path, metadata)


def _train(
    samples: Samples,
    part: Fold,
    networks: Sequence[nn.Module],
    settings: Mapping[str, Any],
    seed: tuple[int, ...],
    centre: bool,
    checkpoints: Checkpoints | None = None,
) -> Learnt:
    """Train on a fold; networks may be changed.

    ``centre``: the images are centred by those that train, as no pre-training has set their scale.
    """
    train_labels, validation_labels = part.training_labels(samples.labels)
    centred = Centred(samples.rows, part.train) if centre else None
    if centred:
        samples = replace(samples, rows=centred)
    images = samples.rows.shape[2] // networks[0].order.numel()
    if settings["transfer"] == "frozen":
        samples = replace(samples, rows=_features(networks, samples.rows, images))
        own = fold_data(samples, part, seed)
        classes = len(samples.classes)
        course = RepeatData([own], samples.branch, [settings["loss"]])
        (((head,),),) = train_heads([course], classes, settings["head"])
        test, known, held = map(head.probabilities, (samples.rows[part.test], own.rows, own.held_rows))
        saved = SavedHead.of(head, samples.branch, seed[0], part.name)
        return Learnt(test, known, held, head.training.curve, networks, saved, centred)
    own, count = settings["head"], samples.rows.shape[1]
    place = device()

    def signals(chosen: np.ndarray) -> Batches:
        return Batches(samples.rows, chosen, samples.rows.shape[2:], place, rows=True)

    def as_rows(chosen: np.ndarray, labels: np.ndarray) -> Rows:
        return Rows(signals(chosen), torch.from_numpy(np.repeat(labels, count)).to(place))

    with repeatable(*seed):
        head = Head(HIDDEN * len(networks) * images, own["hidden"], len(samples.classes), own["dropout"])
        model = EndToEnd(networks, head, images).to(place)
        course = fit(
            model,
            make_loss(settings["loss"], len(samples.classes)),
            as_rows(part.train, train_labels),
            as_rows(part.validation, validation_labels) if len(validation_labels) else None,
            Schedule.of(own),
            part.name,
            checkpoints,
        )

        def chances(chosen: np.ndarray) -> np.ndarray:
            scores = scores_of(model, signals(chosen), own["batch"]).double().softmax(dim=1)
            return scores.reshape(len(chosen), count, -1).mean(dim=1).cpu().numpy()

        test, known = chances(part.test), chances(part.train)
        held = chances(part.validation) if len(part.validation) else np.zeros((0, len(samples.classes)))
        return Learnt(test, known, held, course.curve, networks, head, centred)


@torch.no_grad()
def _features(networks: Sequence[nn.Module], rows: DiskArray | Centred, images: int) -> DiskArray:
    """Outputs of the fully connected layers (X^fc of Eq. 4), float32 ``[clips, rows, features]``, on the disk."""
    flat = Batches(rows, np.arange(len(rows)), rows.shape[2:], device(), rows=True)
    for one in networks:
        one.to(device()).eval()

    def clips() -> Iterator[np.ndarray]:
        waiting = np.zeros((0, 0), np.float32)
        for part in flat.split(64):
            pictures = part.chunk(images, dim=1)
            found = torch.cat([one.features(x) for x in pictures for one in networks], dim=1).cpu().numpy()
            waiting = np.concatenate([waiting, found]) if len(waiting) else found
            whole = len(waiting) // rows.shape[1]
            yield from waiting[: whole * rows.shape[1]].reshape(whole, rows.shape[1], -1)
            waiting = waiting[whole * rows.shape[1] :]

    return DiskArray(clips())


def pretrain_without(
    macro: Path,
    plan: Graph,
    tested: set[str],
    settings: Mapping[str, Any],
    seed: tuple[int, int],
    checkpoints: Checkpoints | None = None,
) -> nn.Module:
    """An SGCN pre-trained on the macro images of all people but some (``exclude_test_subjects``).

    Args:
        macro: cache of the macro set.
        plan: graph.
        tested: subjects without their dataset; a macro subject of the same name is the same person.
        settings: the block ``pretrain``.
        seed: seed of weights, batches, dropout and of the validation subjects.
        checkpoints: as of :func:`merflow.learning.fit.fit`.

    Raises:
        InputError: nobody or one class is left.
    """
    images, labels, subjects, classes = macro_images(macro, plan.side, settings["frames"])
    kept = np.array([subject.split("/", 1)[1] not in tested for subject in subjects])
    if len(set(labels[kept])) < 2:
        raise InputError(
            f"{macro}: without {', '.join(sorted(tested))} fewer than 2 classes are left to pre-train on; "
            "give more macro subjects, or set pretrain.exclude_test_subjects: false"
        )
    log.info("%d of %d macro images are not of %s", kept.sum(), len(kept), ", ".join(sorted(tested)))
    places, y = np.flatnonzero(kept), torch.from_numpy(labels[kept]).to(device())
    train, held = hold_out(subjects[kept], labels[kept], share=settings["validation"], seed=seed)

    def rows(chosen: np.ndarray) -> Rows:
        return Rows(Batches(images, places[chosen], images.shape[2:], device()), y[chosen])

    with repeatable(*seed):
        model = SGCN(plan, len(classes), dropout=settings["dropout"]).to(device())
        validation = rows(held) if len(held) else None
        training, schedule = rows(train), Schedule.of(settings)
        fit(model, functional.cross_entropy, training, validation, schedule, plan.name, checkpoints)
    return model


def load_signals(caches: Sequence[Path], side: int, settings: Mapping[str, Any]) -> Samples:
    """Read labelled clips as signals on a graph; ``rows`` are ``[clips, rows, pixels]`` (side by side for ``concat``).

    Args:
        caches: micro datasets.
        side: side of the graph.
        settings: ``datasets, classes, branches, fusion, signal`` and, where they are not those of the caches,
            ``labels``.

    Raises:
        InputError: a cache lacks what a branch needs, or the caches differ in their numbers of key-frames.
    """
    classes, clips, labels, places = list(settings["classes"]), [], [], {}
    for path, name in zip(caches, settings["datasets"], strict=True):
        with open_h5(path) as file:
            ids, people, own = (file[column].asstr()[:] for column in ("clip", "subject", "label"))
            if relabelled := settings.get("labels", {}).get(name):
                own = np.array([relabelled.get(clip, "") for clip in ids], dtype=object)
            kept = np.flatnonzero(np.isin(own, classes))
            for key, source in (("spatial", "spatial"), ("temporal", "flow")):
                if key in settings["branches"] and not file[source].shape[1]:
                    raise InputError(f"{path} holds nothing for the {key} branch; leave {key} out of `branches`")
            places[path] = kept
            clips += [
                {"dataset": database(people[n], name), "subject": people[n], "clip": ids[n], "truth": str(own[n])}
                for n in kept
            ]
            labels.append(class_numbers(own[kept], classes, path))
    if not clips:
        raise InputError(f"no clip of {', '.join(map(str, caches))} has one of the labels {', '.join(classes)}")
    branches: list[np.ndarray] = []
    try:
        rows = DiskArray(_signals(places, side, settings, branches))
    except ValueError as error:
        raise InputError(
            "the caches differ in their numbers of key-frames; prepare all datasets in the same way"
        ) from error
    return Samples(clips, rows, branches[0], np.concatenate(labels), classes)


def _signals(
    places: Mapping[Path, np.ndarray], side: int, settings: Mapping[str, Any], branches: list[np.ndarray]
) -> Iterator[np.ndarray]:
    """Signals of the clips at some places of some caches, fused, ``[rows, pixels]``; the branch of each row is kept."""
    for path, kept in places.items():
        with open_h5(path) as file:
            for place in kept:
                fused, branch = clip_signals(file, place, side, settings)
                branches[:] = [branch]
                yield fused


def clip_signals(
    source: Mapping[str, Any], place: int, side: int, settings: Mapping[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Signals of one clip on a graph, fused.

    Args:
        source: ``spatial, flow`` by name: an open cache, or arrays.
        place: of the clip.
        side: of the graph.
        settings: ``branches, fusion, signal``.

    Returns:
        float32 ``[rows, pixels]``, side by side for ``concat``, and the branch of each row.
    """
    signals = {}
    if "spatial" in settings["branches"]:
        signals["spatial"] = grey_signal(source["spatial"][place], side)
    if "temporal" in settings["branches"]:
        signals["temporal"] = flow_signal(source["flow"][place][None], side, settings["signal"])[0]
    flat = {key: signals[key].reshape(1, len(signals[key]), -1) for key in settings["branches"]}
    fused, branch = fuse(flat, settings["fusion"], ROWS_PER_FLOW[settings["signal"]])
    return fused[0], branch
