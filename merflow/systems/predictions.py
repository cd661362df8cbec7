"""Results of trained folds, and the tables that they become: predictions, training accuracy, learning curves."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from merflow.protocols.variants import variant_label
from merflow.storage.tables import (
    ACCURACY_TRAIN,
    CURVES,
    PREDICTIONS,
    TEST_EPOCHS,
    write_table,
    write_table_in_parts,
)
from merflow.systems.samples import Samples, label_text

if TYPE_CHECKING:
    from merflow.systems.saved_models import SavedModel  # It imports torch, which baselines do not need.

Row = dict[str, Any]


class EpochAnswers(NamedTuple):
    """Classes that a network gave the test clips during its training: after ``every`` epochs, twice as many, ...

    ``classes``: numbers of the classes, ``[epochs, clips]``. They never choose anything.
    """

    every: int = 1
    classes: Sequence[Sequence[int]] = ()


def answers(probs: np.ndarray, units: bool) -> np.ndarray:
    """Return the class of probabilities ``[..., classes]``, or whether each action unit is more probable than not."""
    return np.asarray(probs > 0.5 if units else probs.argmax(axis=-1))


class FoldPredictions(NamedTuple):
    """Predictions for some clips (``dataset, subject, clip, truth``): probabilities, float64 ``[clips, classes]``.

    ``units``: whether the classes are action units, which are predicted if they are more probable than not.
    """

    clips: Sequence[Mapping[str, str]]
    probs: np.ndarray
    classes: Sequence[str]
    units: bool = False

    @classmethod
    def of(cls, samples: Samples, indices: np.ndarray, probs: np.ndarray) -> "FoldPredictions":
        """Return the predictions for some clips."""
        clips = [samples.clips_with_truth[index] for index in indices]
        return cls(clips, probs, samples.classes, samples.labels.ndim == 2)

    def rows(self, names: Mapping[str, Any]) -> Iterator[Row]:
        """Yield a row of a table of predictions per clip; ``names`` are its first columns."""
        for clip, probs in zip(self.clips, self.probs, strict=True):
            columns = {f"p_{name}": float(value) for name, value in zip(self.classes, probs, strict=True)}
            predicted = label_text(self.classes, answers(probs, self.units))
            yield {**names, **clip, "predicted": predicted, **columns}


@dataclass(frozen=True)
class FoldResult:
    """A trained and tested fold.

    Attributes:
        repeat: seed of the repeat.
        fold: name of the fold.
        test: predictions for the test clips.
        validation: predictions for the validation clips, by a model that did not train on them.
        train_accuracy: accuracy over the training clips.
        train_clips: their number.
        curve: rows ``stage, epoch, split, loss, accuracy``.
        overrides: settings that were selected inside the fold, by dotted key.
        models: the trained models whose mean is the answer; none for a baseline.
        answers: classes of the test clips during the training of the first model that predicts.
    """

    repeat: int
    fold: str
    test: FoldPredictions
    validation: FoldPredictions
    train_accuracy: float
    train_clips: int
    curve: Sequence[Mapping[str, Any]]
    overrides: Mapping[str, Any]
    models: "Sequence[SavedModel]"
    answers: EpochAnswers = EpochAnswers()

    def prediction_rows(self, experiment: str) -> Iterator[Row]:
        """Rows of ``predictions.csv``."""
        return self.test.rows(self._names(experiment))

    def validation_rows(self, experiment: str) -> Iterator[Row]:
        """Rows of ``validation.csv``."""
        return self.validation.rows(self._names(experiment))

    def test_epoch_rows(self, experiment: str) -> Iterator[Row]:
        """Rows of ``test_epochs.csv``."""
        for index, clip in enumerate(self.test.clips):
            answers = " ".join(str(classes[index]) for classes in self.answers.classes)
            yield {**self._names(experiment), **clip, "every": self.answers.every, "answers": answers}

    def accuracy_row(self, experiment: str) -> Row:
        """The row of ``accuracy_train.csv``."""
        figures = {"stage": "finetune", "accuracy": self.train_accuracy, "n": self.train_clips}
        return self._names(experiment) | figures | {"chosen": variant_label(self.overrides)}

    def curve_rows(self, experiment: str) -> list[Row]:
        """Rows of ``curves.csv``."""
        return [{"experiment": experiment, "repeat": self.repeat, "name": self.fold, **row} for row in self.curve]

    def _names(self, experiment: str) -> Row:
        return {"experiment": experiment, "repeat": self.repeat, "fold": self.fold}


class ResultFiles(NamedTuple):
    """Output files of a training job; a baseline has no curves and no epochs."""

    predictions: Path
    accuracy: Path
    curves: Path | None = None
    validation: Path | None = None
    test_epochs: Path | None = None

    @classmethod
    def of(cls, output: Any) -> "ResultFiles":
        """Return the tables among the named outputs of a rule."""
        return cls(**{table: Path(output[table]) for table in cls._fields if table in output.keys()})  # noqa: SIM118


def write_results(results: Sequence[FoldResult], experiment: str, files: ResultFiles) -> None:
    """Write the tables of some folds of an experiment; without folds they have a header only."""
    write_table(
        [row for result in results for row in result.prediction_rows(experiment)], files.predictions, PREDICTIONS
    )
    write_table([result.accuracy_row(experiment) for result in results], files.accuracy, ACCURACY_TRAIN)
    if files.curves:
        write_table([row for result in results for row in result.curve_rows(experiment)], files.curves, CURVES)
    if files.validation:
        # Fold by fold: one row per fold and clip is millions of rows for many clips and subjects.
        parts = [result.validation_rows(experiment) for result in results if result.validation.clips]
        write_table_in_parts(parts or [[]], files.validation, PREDICTIONS)
    if files.test_epochs:
        rows = [row for result in results for row in result.test_epoch_rows(experiment)]
        write_table(rows, files.test_epochs, TEST_EPOCHS)
