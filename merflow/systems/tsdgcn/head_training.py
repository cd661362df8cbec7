"""Training of the heads of all folds of a repeat.

Training one head at a time is dominated by call overhead: the matrices are small, and a study trains thousands of
heads. The heads of several folds therefore train as one network whose weights have a leading axis of heads.
"""

import logging
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from merflow.errors import ConfigError
from merflow.learning.fit import Training, repeatable
from merflow.learning.losses import class_weights, right, row_losses
from merflow.learning.settings import LossSettings
from merflow.systems.samples import FoldData
from merflow.systems.settings import HeadSettings
from merflow.systems.tsdgcn.heads import Head, Standardizer, TrainedHead

log = logging.getLogger(__name__)

BATCH_BYTES = 2**28
"""Most bytes of standardised training rows of the folds that train together; a single fold may have more."""


def train_heads(
    rows: np.ndarray,
    branch: np.ndarray,
    folds: Sequence[FoldData],
    loss: LossSettings,
    classes: int,
    settings: HeadSettings,
    whole_clips: bool = False,
) -> list[TrainedHead]:
    """Train a head for each fold of one repeat.

    A head has the same bits whatever else a study trains: only the folds of this call train together.

    Args:
        rows: float32 ``[clips, rows, features]``.
        branch: int64 ``[rows]``: rows with the same number share their standardisation.
        folds: training and validation clips, and the seed of each head.
        loss: what each head minimises.
        classes: number of classes.
        settings: settings of the heads.
        whole_clips: whether all rows of a clip are one sample (``fusion: clip``); otherwise each row is one, with the
            class of its clip.

    Raises:
        ConfigError: the loss does not fit the classes, or a training diverged; the message names the fold.
    """
    batches: dict[tuple[int, bool], list[int]] = {}
    for index, fold in enumerate(folds):
        steps = math.ceil(len(fold.train) * (1 if whole_clips else rows.shape[1]) / settings.batch)
        batches.setdefault((steps, bool(len(fold.validation))), []).append(index)
    trained: dict[int, TrainedHead] = {}
    for (steps, _), indices in batches.items():
        size = steps * settings.batch * rows.shape[2] * (rows.shape[1] if whole_clips else 1)
        most = max(1, BATCH_BYTES // (4 * size))
        for start in range(0, len(indices), most):
            together = indices[start : start + most]
            with repeatable(0):
                batch_folds = [folds[index] for index in together]
                heads = HeadBatchTrainer(rows, branch, batch_folds, loss, classes, settings, whole_clips).train()
            trained |= zip(together, heads, strict=True)
            log.info("%d of %d heads are trained", len(trained), len(folds))
    return [trained[index] for index in range(len(folds))]


class HeadBatchTrainer:
    """Trains one head per fold, all at once: every weight has a leading axis of heads.

    The total loss is the sum of the losses of the heads. The gradient of a head depends on its own loss only, and Adam
    works element by element, so each head trains as :func:`merflow.learning.fit.fit` would train it alone: with its own
    weights, batches and dropout from its own seed, and its own best epoch. Heads whose patience is exhausted leave the
    batch. The folds must have the same number of steps per epoch, and all or none of them validation clips; their last
    batches are padded to one length.
    """

    def __init__(
        self,
        rows: np.ndarray,
        branch: np.ndarray,
        folds: Sequence[FoldData],
        loss: LossSettings,
        classes: int,
        settings: HeadSettings,
        whole_clips: bool,
    ) -> None:
        """Standardise the rows of each fold and draw the initial weights of its head; see :func:`train_heads`."""
        self.folds, self.loss, self.settings = folds, loss, settings
        self.together = rows.shape[1] if whole_clips else 1  # rows of a sample
        samples = rows.shape[1] // self.together  # of a clip
        self.class_weights = torch.stack([class_weights(loss, fold.train_labels, classes) for fold in folds])
        self.standardizers = [Standardizer.fit(rows, fold.train, branch) for fold in folds]
        # A feature that does not vary in training (half of them do not, after ReLU) has no gradient without weight
        # decay: its weights stay as drawn, and it matters for validation clips only.
        varies = np.any([standardizer.varies for standardizer in self.standardizers], axis=0)
        self.trained = np.flatnonzero(varies | (settings.weight_decay > 0))
        untrained = np.setdiff1d(np.arange(rows.shape[2]), self.trained)
        self.heads: list[Head] = []
        self.generators: list[torch.Generator] = []
        for fold in folds:
            with repeatable(*fold.seed):
                self.heads.append(Head(rows.shape[2], settings.hidden, classes, settings.dropout, self.together))
                self.generators.append(torch.Generator().set_state(torch.get_rng_state()))

        parameters = zip(*(head.parameters() for head in self.heads), strict=True)
        weight_1, *others = (torch.stack(list(weights)).detach() for weights in parameters)
        self.weights = [weight.requires_grad_() for weight in (weight_1[..., self.trained].contiguous(), *others)]
        self.averages, self.squares = ([torch.zeros_like(weight) for weight in self.weights] for _ in range(2))
        self.steps = [torch.zeros(()) for _ in self.weights]
        self.all_steps = settings.epochs * math.ceil(len(folds[0].train) * samples / settings.batch)

        train, validation = [fold.train for fold in folds], [fold.validation for fold in folds]
        self.x = self._stack_rows(rows, train, self.trained)
        self.y, self.lengths = _stack_labels([fold.train_labels for fold in folds], samples)
        self.val_x = self._stack_rows(rows, validation, self.trained)
        self.val_y, self.val_lengths = _stack_labels([fold.validation_labels for fold in folds], samples)
        self.val_untrained = weight_1[..., untrained] @ self._stack_rows(rows, validation, untrained).flatten(1, 2).mT
        test = [fold.test for fold in folds]
        self.test_x = self._stack_rows(rows, test, self.trained)
        self.test_untrained = weight_1[..., untrained] @ self._stack_rows(rows, test, untrained).flatten(1, 2).mT

        self.active = torch.arange(len(folds))
        self.best_epoch = torch.zeros(len(folds), dtype=torch.int64)
        self.smallest_loss = torch.full((len(folds),), math.inf)
        self.curves: list[list[dict[str, Any]]] = [[] for _ in folds]
        self.answers: list[list[list[int]]] = [[] for _ in folds]

    def _stack_rows(self, rows: np.ndarray, clips: Sequence[np.ndarray], features: np.ndarray) -> Tensor:
        """Return standardised rows of some clips of each fold, padded with 0, ``[folds, samples, rows, features]``."""
        each = rows.shape[1]
        stacked = torch.zeros(len(clips), max(map(len, clips)), each, len(features))
        for x, indices, standardizer in zip(stacked, clips, self.standardizers, strict=True):
            for row in range(each):
                mean, scale = standardizer.mean[row, features], standardizer.scale[row, features]
                x[: len(indices), row] = torch.from_numpy((rows[indices, row][:, features] - mean) / scale)
        return stacked.view(len(clips), stacked.shape[1] * each // self.together, self.together, len(features))

    def train(self) -> list[TrainedHead]:
        """Train until every head has had its last epoch; return the heads with the weights of their best epochs."""
        for epoch in range(1, self.settings.epochs + 1):
            self._train_epoch(epoch)
            with torch.no_grad():
                self._keep_best(epoch)
                if self.test_x.shape[1] and epoch % self.settings.answers_every == 0:
                    self._keep_answers()
                self._remove(epoch - self.best_epoch[self.active] >= self.settings.patience)
            if not len(self.active):
                break
        best = self.best_epoch.tolist()
        if 0 in best:
            raise _diverged(self.folds[best.index(0)], ": the loss of the validation clips was not a number")
        trainings = map(Training, best, self.curves, self.answers)
        units = self.y.ndim == 3
        parts = zip(self.heads, self.standardizers, trainings, strict=True)
        return [TrainedHead(head.eval(), standardizer, training, units) for head, standardizer, training in parts]

    def _train_epoch(self, epoch: int) -> None:
        order, dropout = self._draw_epoch()
        lengths = self.lengths[self.active]
        present = (torch.arange(order.shape[1]) < lengths[:, None]).float()
        y = self.y[self.active[:, None], order]
        order += self.active[:, None] * order.shape[1]
        total, correct = torch.zeros(2, len(self.active))
        for start in range(0, order.shape[1], self.settings.batch):
            batch = slice(start, start + self.settings.batch)
            indices, counted = order[:, batch], present[:, batch]
            x = self.x.flatten(0, 1).index_select(0, indices.flatten()).view(*indices.shape, *self.x.shape[2:])
            scores = self._scores(x, dropout=dropout[:, batch].mT)
            losses = row_losses(scores, y[:, batch], self.class_weights[self.active], self.loss) * counted
            self._step((losses.sum(dim=1) / counted.sum(dim=1)).sum())
            total += losses.detach().sum(dim=1)
            correct += (right(scores, y[:, batch]) * counted).sum(dim=1)
        self._add_to_curves(epoch, "train", total / lengths, correct / lengths)

    def _draw_epoch(self) -> tuple[Tensor, Tensor]:
        """Draw the order of each head's samples, ``[heads, samples]``, and their factors of dropout."""
        order = torch.zeros(len(self.active), self.y.shape[1], dtype=torch.int64)
        uniform = torch.ones(*order.shape, self.together * self.settings.hidden)
        for index, head in enumerate(self.active.tolist()):
            length, generator = int(self.lengths[head]), self.generators[head]
            order[index, :length] = torch.randperm(length, generator=generator)
            if self.settings.dropout:
                uniform[index, :length] = torch.rand(length, uniform.shape[2], generator=generator)
        return order, uniform.ge_(self.settings.dropout).div_(1 - self.settings.dropout)

    def _scores(self, x: Tensor, untrained: Tensor | float = 0.0, dropout: Tensor | float = 1.0) -> Tensor:
        """Map ``[heads, samples, rows, features]`` of the trained features to scores ``[heads, samples, classes]``.

        ``untrained``: what the other features add to the hidden layer, ``[heads, hidden, samples * rows]``;
        ``dropout``: factors, ``[heads, rows * hidden, samples]``.
        """
        weight_1, bias_1, weight_2, bias_2 = self.weights
        hidden = torch.baddbmm(bias_1[..., None] + untrained, weight_1, x.flatten(1, 2).mT).relu()
        if self.together > 1:
            by_row = hidden.view(*hidden.shape[:2], -1, self.together)
            hidden = by_row.permute(0, 3, 1, 2).flatten(1, 2)
        hidden = hidden * dropout
        return torch.baddbmm(bias_2[..., None], weight_2, hidden).mT.contiguous()

    def _step(self, loss: Tensor) -> None:
        """Update the weights by one step of Adam."""
        # Fused Adam expects gradients in the memory layout of the weights.
        gradients = [gradient.contiguous() for gradient in torch.autograd.grad(loss, self.weights)]
        with torch.no_grad():
            adam(  # What torch.optim.Adam calls; here its state must shrink when heads leave.
                *(self.weights, gradients, self.averages, self.squares, [], self.steps),
                lr=self.settings.rate(int(self.steps[0].item()), self.all_steps),
                weight_decay=self.settings.weight_decay,
                beta1=0.9,
                beta2=0.999,
                eps=1e-8,
                amsgrad=False,
                maximize=False,
                fused=True,
            )

    def _keep_best(self, epoch: int) -> None:
        """Copy the weights of heads whose validation loss is the smallest so far; of all without validation clips.

        If the schedule averages, a share of the weights is copied.
        """
        better = torch.ones(len(self.active), dtype=torch.bool)
        if self.val_y.shape[1]:
            y, lengths = self.val_y[self.active], self.val_lengths[self.active]
            present = torch.arange(y.shape[1]) < lengths[:, None]
            scores = self._scores(self.val_x[self.active], self.val_untrained[self.active])
            losses = row_losses(scores, y, self.class_weights[self.active], self.loss) * present
            losses = losses.sum(dim=1) / lengths
            correct = (right(scores, y) * present).sum(dim=1).float()
            self._add_to_curves(epoch, "validation", losses, correct / lengths)
            better = losses < self.smallest_loss[self.active]
            self.smallest_loss[self.active[better]] = losses[better]
        self.best_epoch[self.active[better]] = epoch
        share = self.settings.share(epoch)
        for index in better.nonzero()[:, 0].tolist():
            weight_1, *others = self.heads[self.active[index]].parameters()
            weight_1[:, self.trained] = torch.lerp(weight_1[:, self.trained], self.weights[0][index], share)
            for best, weight in zip(others, self.weights[1:], strict=True):
                best.lerp_(weight[index], share)

    def _keep_answers(self) -> None:
        """Keep the classes of the test clips: those of the mean probabilities of their rows."""
        scores = self._scores(self.test_x[self.active], self.test_untrained[self.active])
        clips = scores.view(len(scores), -1, len(self.standardizers[0].mean) // self.together, scores.shape[2])
        classes = clips.double().softmax(dim=3).mean(dim=2).argmax(dim=2)
        for head, of_head in zip(self.active.tolist(), classes.tolist(), strict=True):
            self.answers[head].append(of_head[: len(self.folds[head].test)])

    def _remove(self, finished: Tensor) -> None:
        """Remove finished heads from the batch."""
        if finished.any():
            self.active = self.active[~finished]
            self.weights = [weight[~finished].requires_grad_() for weight in self.weights]
            self.averages = [average[~finished] for average in self.averages]
            self.squares = [square[~finished] for square in self.squares]

    def _add_to_curves(self, epoch: int, split: str, losses: Tensor, accuracies: Tensor) -> None:
        for head, loss, accuracy in zip(self.active.tolist(), losses.tolist(), accuracies.tolist(), strict=True):
            if split == "train" and not math.isfinite(loss):
                raise _diverged(self.folds[head], f" in epoch {epoch} (loss {loss})")
            self.curves[head].append({"epoch": epoch, "split": split, "loss": loss, "accuracy": accuracy})


def _stack_labels(labels: Sequence[np.ndarray], each: int) -> tuple[Tensor, Tensor]:
    """Return the classes of the samples of each fold, padded, and their number; a clip has ``each`` samples."""
    rows = [torch.from_numpy(classes).repeat_interleave(each, dim=0) for classes in labels]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.tensor([len(row) for row in rows])


def _diverged(fold: FoldData, how: str) -> ConfigError:
    name = f"fold {fold.name}: " if fold.name else ""
    return ConfigError(f"{name}training diverged{how}; choose a smaller learning_rate")
