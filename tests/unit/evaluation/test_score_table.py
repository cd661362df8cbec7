"""``python -m merflow.score``: the numbers, and one message where a file cannot be scored."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from sklearn.metrics import f1_score

from merflow.evaluation.metrics import bootstrap_subjects, score
from merflow.evaluation.score_table import main, score_file

REPO = Path(__file__).parents[3]
ROWS = pd.DataFrame(
    {
        "dataset": ["x"] * 6 + ["y"] * 4,
        "subject": ["x/1", "x/1", "x/2", "x/2", "x/3", "x/3", "y/1", "y/1", "y/2", "y/2"],
        "clip": [f"c{i}" for i in range(10)],
        "truth": list("abcabc") + list("abab"),
        "predicted": list("abcaac") + list("bbaa"),
    }
)


def command(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "merflow.score", *map(str, arguments)],
        cwd=REPO,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "predictions.csv"
    ROWS.to_csv(path, index=False)
    return path


def test_command_prints_every_dataset_and_all(table):
    done = command(table)
    assert done.returncode == 0 and not done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["scope", "accuracy", "UF1", "UAR", "clips", "subjects", "repeats"]
    assert [line.split()[0] for line in lines[1:4]] == ["pooled", "dataset:x", "dataset:y"]
    expected = score(ROWS["truth"], ROWS["predicted"], list("abc"))
    low, high = bootstrap_subjects(ROWS, list("abc"))["uf1"]
    assert f"{expected['uf1']:.4f} [{low:.3f}, {high:.3f}]" in lines[1]
    assert "dataset:y: no true clip of c; left out of UF1 and UAR" in done.stdout


def test_command_prints_json(table):
    done = command(table, "--json")
    assert done.returncode == 0
    pooled, first, second = json.loads(done.stdout)
    assert pooled["uf1"] == pytest.approx(score(ROWS["truth"], ROWS["predicted"], list("abc"))["uf1"])
    assert pooled["confusion"] == [[3, 1, 0], [2, 2, 0], [0, 0, 2]]
    assert (pooled["n_clips"], pooled["n_subjects"], first["n_clips"]) == (10, 5, 6)
    assert second["absent"] == ["c"] and second["recall"]["c"] is None


def test_command_fails_with_one_message(tmp_path):
    done = command(tmp_path / "absent.csv")
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.splitlines() == [f"merflow.score: {tmp_path / 'absent.csv'} does not exist"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "is empty (0 bytes)"),
        ("truth,label\na,b\n", "column predicted missing; row 1, its header, has: truth, label"),
        ("truth,predicted\n", "no row below its header"),
        ("truth,predicted\na,b\na,\n", "row 3: column predicted is empty"),
        ("truth,predicted,subject\na,b,\n", "row 2: column subject is empty"),
        ("truth,predicted,clip\na,b,c1\na,b,c1\n", "row 3: clip c1 occurs twice"),
        ("truth,predicted,clip,repeat\na,a,c1,0\nb,a,c1,1\n", "clip c1 has different true labels"),
        ("truth,predicted,subject,repeat\na,a,1,0\nb,a,1,\n", "row 3: column repeat is empty"),
        ("truth,predicted\nc1,a,a\nc2,b,b\n", "row 2 has 'a' beyond the last of 2 named columns"),
        ("truth,predicted\n\na,b\n\na,\n", "row 5: column predicted is empty"),
    ],
)
def test_problems_of_the_table_are_named(tmp_path, capsys, text, message):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    assert main([str(path)]) == 1
    output = capsys.readouterr()
    assert message in output.err and str(path) in output.err and "Traceback" not in output.err and not output.out


def test_binary_file_is_an_error(tmp_path, capsys):
    path = tmp_path / "bad.csv"
    path.write_bytes(bytes(range(256)) * 10)
    assert main([str(path)]) == 1
    assert str(path) in capsys.readouterr().err


def test_two_columns_are_enough_and_have_no_interval(tmp_path, capsys):
    path = tmp_path / "small.csv"
    ROWS[["truth", "predicted"]].to_csv(path, index=False)
    assert main([str(path)]) == 0
    output = capsys.readouterr().out
    assert f"{score(ROWS['truth'], ROWS['predicted'], list('abc'))['uar']:.4f}" in output
    assert "[" not in output and "dataset" not in output


def test_classes_may_be_given(table, capsys):
    assert main([str(table), "--classes", "c,b,a,d"]) == 0
    assert "pooled: no true clip of d" in capsys.readouterr().out
    assert main([str(table), "--classes", "a,b"]) == 1
    assert "row 4 (clip c2): truth is 'c'; expected one of a, b" in capsys.readouterr().err


@pytest.mark.parametrize("classes", ["a,b,b", "a,b,"])
def test_classes_must_be_different_names(table, capsys, classes):
    with pytest.raises(SystemExit):
        main([str(table), "--classes", classes])
    assert "different names" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    [
        b"truth,predicted\r\nhappy,happy\r\nsad,happy\r\n",
        b"\xef\xbb\xbftruth,predicted\nhappy,happy\n\nsad,happy\n",
        b"truth, predicted, more\nhappy, happy,1\nsad, happy ,2\n",
        b"truth;predicted\nhappy;happy\nsad;happy\n",
        b"sep=;\r\ntruth;predicted\r\nhappy;happy\r\nsad;happy\r\n",
        "truth\tpredicted\nhappy\thappy\nsad\thappy\n".encode("utf-16"),
    ],
    ids=["Windows", "BOM and an empty line", "blanks", "semicolons", "sep=", "tabs in UTF-16"],
)
def test_table_format_does_not_change_scores(tmp_path, content):
    (tmp_path / "table.csv").write_bytes(content)
    (result,) = score_file(tmp_path / "table.csv")
    assert result["classes"] == ["happy", "sad"] and result["accuracy"] == 0.5


def test_clip_name_may_occur_for_two_people(tmp_path):
    (tmp_path / "table.csv").write_text("truth,predicted,subject,clip\na,a,sub01,EP01\nb,b,sub02,EP01\n")
    (result,) = score_file(tmp_path / "table.csv")
    assert (result["n_clips"], result["accuracy"]) == (2, 1)


def test_one_class_is_scored_without_a_warning(tmp_path):
    (tmp_path / "table.csv").write_text("truth,predicted\na,a\na,a\n")
    done = command(tmp_path / "table.csv")
    assert done.returncode == 0 and not done.stderr


def test_folds_give_their_mean_f1_beside_the_pooled_value(tmp_path, capsys):
    table = ROWS.assign(fold=ROWS["subject"])
    table.to_csv(tmp_path / "table.csv", index=False)
    pooled = score_file(tmp_path / "table.csv")[0]
    each = [f1_score(t["truth"], t["predicted"], average="macro") for _, t in table.groupby("fold")]
    assert pooled["fold_f1"] == pytest.approx(sum(each) / len(each)) != pytest.approx(pooled["uf1"])
    assert main([str(tmp_path / "table.csv")]) == 0
    assert f"mean F1 of the folds: {pooled['fold_f1']:.4f}" in capsys.readouterr().out


def test_experiments_are_scored_apart_and_repeats_averaged(tmp_path):
    worse = ROWS.assign(predicted="a")
    rows = [ROWS.assign(experiment="one", repeat=0), worse.assign(experiment="one", repeat=1)]
    path = tmp_path / "predictions.csv"
    pd.concat([*rows, worse.assign(experiment="two", repeat=0)]).to_csv(path, index=False)
    pooled = {r["experiment"]: r for r in score_file(path) if r["scope"] == "pooled"}
    good, poor = (score(t["truth"], t["predicted"], list("abc"))["uar"] for t in (ROWS, worse))
    assert pooled["one"]["uar"] == pytest.approx((good + poor) / 2)
    assert pooled["two"]["uar"] == pytest.approx(poor)
    assert (pooled["one"]["repeats"], pooled["one"]["n_clips"]) == (2, 10)


def test_numbers_serve_as_labels_and_subjects(tmp_path):
    path = tmp_path / "numbers.csv"
    pd.DataFrame({"subject": ["007", "7", "8"], "truth": [0, 1, 1], "predicted": [0, 1, 0]}).to_csv(path, index=False)
    (result,) = score_file(path)
    assert result["classes"] == ["0", "1"] and result["n_subjects"] == 3
    path.write_text("truth,predicted\n0,0.0\n1,1.0\n10,10.\n")
    assert score_file(path)[0]["accuracy"] == 1


def test_class_that_is_only_predicted_lowers_recall(tmp_path):
    path = tmp_path / "predictions.csv"
    pd.DataFrame({"truth": ["a", "a", "b"], "predicted": ["a", "c", "b"]}).to_csv(path, index=False)
    (result,) = score_file(path)
    assert result["absent"] == ["c"] and result["uar"] == pytest.approx(0.75)
