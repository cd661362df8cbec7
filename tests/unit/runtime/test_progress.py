"""How far a study is, told from the logs that its jobs write."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional

from merflow.errors import InputError
from merflow.learning.fit import Rows, Schedule, fit
from merflow.runtime.progress import progress
from merflow.runtime.script_context import script_context


class Stopped(BaseException):
    """Stands for a kill: the job writes nothing after it."""


def fold(folder, name, seed=0, epochs=3, ends="done", stage=""):
    """A job of a fold, as a rule's script runs one; the log is that of the real training loop."""
    log = folder / f"logs/fold/study/net/{seed}/{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    given = {"rule": "train_clip_network", "log": [str(log)], "wildcards": {"fold": name}}
    given = SimpleNamespace(**given, input=[], output=[], params={})
    with script_context(given):
        rows = Rows(torch.zeros(4, 2), torch.tensor([0, 1, 0, 1]))
        fit(nn.Linear(2, 2), functional.cross_entropy, rows, None, Schedule(epochs, 1, 1e-3, 0.0, 4), name + stage)
        if ends == "fails":
            raise InputError("the cache is broken")
        if ends == "killed":
            raise Stopped


def test_every_fold_is_counted_and_those_at_work_are_shown(tmp_path, capsys):
    fold(tmp_path, "demo%2Fs01")
    fold(tmp_path, "demo%2Fs02")
    with pytest.raises(SystemExit):
        fold(tmp_path, "demo%2Fs03", ends="fails")
    with pytest.raises(Stopped):
        fold(tmp_path, "demo%2Fs04", seed=7, epochs=5, ends="killed", stage=", pairs")
    told = progress(tmp_path / "study").splitlines()
    assert told[0] == "net: folds: 2 done, 1 at work, 1 failed"
    assert told[1] == "  seed 0, demo/s03: failed: see its log"
    assert told[2] == "  seed 7, demo/s04: pairs, epoch 5 of 5, at most 0 s left"
    assert len(told) == 3


def test_a_study_that_has_not_begun(tmp_path):
    with pytest.raises(InputError, match="no network of this study has begun to train"):
        progress(tmp_path / "study")
