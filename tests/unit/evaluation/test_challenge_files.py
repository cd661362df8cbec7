"""Detections in the columns of the challenges."""

import pandas as pd
import pytest

from merflow.evaluation.challenge_files import main
from merflow.evaluation.spotting_scores import score_intervals

ROWS = [
    ("x", "cas", "spNO.1/a", "cas/spNO.1", "spNO.1", 30, 35, 44, "micro", 0.5, "negative"),
    ("x", "cas", "spNO.1/a", "cas/spNO.1", "spNO.1", 5, 20, 60, "macro", 0.9, "positive"),
    ("x", "samm", "006_1", "samm/006", "006", 10, 20, 40, "micro", 0.7, "surprise"),
]
COLUMNS = ["experiment", "dataset", "video", "subject", "fold", "onset", "apex", "offset", "kind", "score", "label"]


@pytest.fixture
def detections(tmp_path):
    path = tmp_path / "detections.csv"
    pd.DataFrame(ROWS, columns=COLUMNS).to_csv(path, index=False)
    return path


def written(path, *arguments):
    output = path.with_name("pred.csv")
    assert main([str(path), str(output), *arguments]) == 0
    return output.read_text()


def test_spotting_has_both_kinds(detections):
    assert written(detections, "--dataset", "cas") == (
        "vid,pred_onset,pred_offset,type\nspNO.1_a,5,60,mae\nspNO.1_a,30,44,me\n"
    )


def test_spot_then_recognise_has_micro_expressions_with_emotion(detections):
    arguments = ("--task", "spot-then-recognise", "--dataset")
    assert written(detections, *arguments, "cas") == "subject,video,onset,offset,emotion\nspNO.1,a,30,44,negative\n"
    assert written(detections, *arguments, "samm") == "subject,video,onset,offset,emotion\n006,006_1,10,40,surprise\n"


def test_nothing_spotted_is_an_empty_file(detections):
    pd.DataFrame(columns=COLUMNS).to_csv(detections, index=False)
    assert written(detections, "--dataset", "cas") == "vid,pred_onset,pred_offset,type\n"
    assert written(detections, "--dataset", "cas", "--task", "spot-then-recognise").count("\n") == 1


def test_the_scorer_reads_what_is_written(detections, tmp_path):
    written(detections, "--dataset", "samm")
    truth = tmp_path / "truth.csv"
    truth.write_text("vid,onset,offset,type\n006_1,12,40,me\n")
    assert [row["tp"] for row in score_intervals(tmp_path / "pred.csv", truth)] == [1]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "has several values of dataset: cas, samm; choose one with --dataset"),
        (["--dataset", "smic"], "has no dataset 'smic'; there are: cas, samm"),
        (["--dataset", "cas", "--experiment", "y"], "has no experiment 'y'; there are: x"),
    ],
)
def test_one_message_says_what_to_choose(detections, capsys, arguments, message):
    assert main([str(detections), "out.csv", *arguments]) == 1
    assert message in capsys.readouterr().err


def test_recognition_needs_labels(detections, capsys):
    pd.DataFrame(ROWS, columns=COLUMNS).assign(label="").to_csv(detections, index=False)
    arguments = ["--task", "spot-then-recognise", "--dataset", "cas"]
    assert main([str(detections), "out.csv", *arguments]) == 1
    assert "has no labels" in capsys.readouterr().err
