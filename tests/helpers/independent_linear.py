"""The linear systems by other solvers: flow images read from a cache, leave-one-subject-out, predictions."""

from pathlib import Path

import cv2
import h5py
import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

SOLVERS = {
    "linear-svm": SVC(kernel="linear", C=1e-3, class_weight="balanced", random_state=11),
    "softmax": LogisticRegression(C=1e-3, class_weight="balanced", solver="newton-cg", random_state=11),
}
"""libsvm sets one class against another, with another loss than merflow's linear SVM."""


def independent_predictions(cache: Path, system: str, side: int = 28) -> tuple[np.ndarray, np.ndarray]:
    """Return the true and the predicted labels of all clips; ``side`` is that of the flow images, pixels."""
    with h5py.File(cache) as file:
        labels, subjects = file["label"].asstr()[:], file["subject"].asstr()[:]
        fields = [file["flow"][n, apex].astype(np.float32) for n, apex in enumerate(file["apex_index"])]
    images = [cv2.resize(field.transpose(1, 2, 0), (side, side), interpolation=cv2.INTER_AREA) for field in fields]
    rows, predicted = np.stack(images).reshape(len(labels), -1), labels.copy()
    for train, test in LeaveOneGroupOut().split(rows, labels, subjects):
        model = make_pipeline(StandardScaler(), clone(SOLVERS[system]))
        predicted[test] = model.fit(rows[train], labels[train]).predict(rows[test])
    return labels, predicted
