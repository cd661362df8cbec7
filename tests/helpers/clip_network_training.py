"""One fold of a network on clips, trained in seconds."""

from flow_caches import CLASSES
from training_jobs import train_clip_networks

from merflow.storage.tables import PREDICTIONS, read_table

NETWORK = {"epoch_choice": "validation", "weight_decay": 0.0, "validation": 0.2}


FAST = {
    "ststnet": {"epochs": 60, "patience": 20, "learning_rate": 2e-3, "batch": 256, "dropout": 0.5},
    "off-apexnet": {"epochs": 30, "patience": 10, "learning_rate": 3e-4, "batch": 256, "dropout": 0.0},
    "msjfn": {"epochs": 8, "patience": 8, "learning_rate": 3e-3, "side": 28, "width": 4},
    "mersiamc3d": {"epochs": 8, "patience": 8, "learning_rate": 3e-3, "side": 16, "width": 4, "prior_epochs": 2},
}


def train(caches, system, folder, fold, seed=0, changes=None, code="", **settings):
    folder.mkdir(parents=True, exist_ok=True)
    files = {"predictions": folder / "p.csv", "accuracy_train": folder / "a.csv", "curves": folder / "c.csv"}
    files["test_epochs"] = folder / "e.csv"
    job = {"experiment": "net", "system": system, "protocol": "loso", "classes": CLASSES, **settings}
    job["network"] = NETWORK | FAST[system] | (changes or {})
    train_clip_networks(caches, **files, settings=job, seed=seed, folds=[fold], code=code)
    return read_table(files["predictions"], PREDICTIONS), files


def probs_of(table):
    return table[[f"p_{name}" for name in CLASSES]].to_numpy(float)
