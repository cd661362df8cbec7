"""``merflow score predictions.csv truth.csv``: the numbers, and one message where a table cannot be scored."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from merflow.command.app import main
from merflow.errors import InputError
from merflow.evaluation.spotting_scores import score_intervals

REPO = Path(__file__).parents[3]
TRUTH = """video,subject,onset,apex,offset,label,kind
1,a,45,60,85,h,micro
2,a,130,140,160,o,micro
3,b,20,50,75,o,micro
4,c,45,70,95,r,micro
5,d,30,100,140,r,micro
"""
PREDICTIONS = """video,subject,onset,apex,offset,label,kind
1,a,10,40,70,h,micro
2,a,100,140,170,o,micro
3,b,0,50,70,o,micro
4,c,20,60,90,h,micro
5,d,70,100,140,h,micro
"""
VIDEOS = "video,first,last,fps\n" + "".join(f"{n},0,2999,100\n" for n in range(1, 6))


@pytest.fixture
def tables(tmp_path):
    def write(predictions=PREDICTIONS, truth=TRUTH, videos=VIDEOS):
        paths = [tmp_path / name for name in ("predictions.csv", "truth.csv", "videos.csv")]
        for path, text in zip(paths, (predictions, truth, videos), strict=True):
            path.write_text(text)
        return paths

    return write


def test_command_prints_worked_example(tables):
    predictions, truth, videos = tables()
    command = [sys.executable, "-m", "merflow", "score", predictions, truth, "--videos", videos]
    done = subprocess.run(list(map(str, command)), cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr
    header, row, *notes = done.stdout.splitlines()
    assert header.split()[:4] == ["kind", "TP", "FP", "FN"] and header.endswith("STRS")
    assert row.split()[:5] == ["micro", "3", "2", "2", "0.6000"] and " 0.2000 [" in row
    assert any("mean precision" in note for note in notes) and any("over people" in note for note in notes)


def score(*arguments):
    return CliRunner().invoke(main, ["score", *map(str, arguments)])


def test_json_has_every_number(tables):
    predictions, truth, videos = tables()
    done = score(predictions, truth, "--videos", videos, "--json")
    assert done.exit_code == 0
    (row,) = json.loads(done.output)
    assert row["strs"] == pytest.approx(0.2) and row["false_alarms_per_minute"] == pytest.approx(2 / 2.5)
    assert row["apex_error_ms"] == pytest.approx(100 / 3)


def test_without_videos_rates_per_minute_are_left_out(tables):
    predictions, truth, _ = tables()
    done = score(predictions, truth)
    assert done.exit_code == 0 and "false alarms/min" not in done.output


def test_columns_of_the_challenges_are_read(tables):
    spotted = "vid,pred_onset,pred_offset,type\n3,0,70,me\n9,0,70,me\n3,20,75,mae\n"
    true = "video,onset,offset,type\n3,20,75,me\n"
    rows = score_intervals(*tables(spotted, true)[:2])
    assert [(row["kind"], row["tp"], row["fp"], row["fn"]) for row in rows] == [
        ("micro", 1, 1, 0), ("macro", 0, 1, 0), ("all", 1, 2, 0),
    ]  # fmt: skip


def test_experiments_and_datasets_are_scored_apart(tables):
    rows = "experiment,dataset,video,subject,onset,offset\nx,d,3,b,20,75\ny,e,3,b,20,75\n"
    true = "dataset,video,subject,onset,offset\nd,3,b,20,75\ne,3,b,200,275\n"
    scored = {(row["experiment"], row["dataset"]): row["tp"] for row in score_intervals(*tables(rows, true)[:2])}
    assert scored == {("x", "d"): 1, ("x", "e"): 0, ("x", "all"): 1, ("y", "d"): 0, ("y", "e"): 0, ("y", "all"): 0}


def test_notes_say_what_the_public_scorer_leaves_out_or_counts_twice(tables):
    true = "video,subject,onset,offset\n1,a,10,19\n1,a,12,21\n2,b,5,9\n2,b,50,90\n3,c,,\n"
    spotted = "video,subject,onset,offset\n1,a,11,20\n3,c,1,9\n"
    rows = score_intervals(*tables(spotted, true)[:2])
    assert (rows[0]["tp"], rows[0]["fp"], rows[0]["fn"]) == (1, 1, 3)
    assert [note.split(";")[0] for note in rows[0]["notes"]] == [
        "1 false alarms lie in videos without labels",
        "2 labels are of people without any prediction",
        "1 predictions overlap several labels by half",
    ]


def test_only_listed_classes_are_analysed(tables):
    predictions, truth, _ = tables()
    assert score_intervals(predictions, truth, classes=["o"])[0]["f1_analysis"] == 1
    unlabelled = pd.read_csv(predictions).drop(columns="label").to_csv(index=False)
    assert pd.isna(score_intervals(*tables(unlabelled)[:2])[0]["strs"])


@pytest.mark.parametrize(
    "where, old, new, message",
    [
        ("predictions", "1,a,10,40,70", "1,a,10.5,40,70", "predictions.csv, row 2: onset '10.5' is not a frame number"),
        ("predictions", "1,a,10,40,70", "1,a,90,40,70", "row 2: onset 90 comes after offset 70"),
        ("predictions", "1,a,10,40,70", "1,a,,40,70", "row 2: column onset is empty"),
        ("predictions", "1,a,10,40,70", ",a,10,40,70", "row 2: column video is empty"),
        ("predictions", "1,a,10,40,70", "1,,10,40,70", "row 2: column subject is empty"),
        ("predictions", "1,a,10,40,70", "1,b,10,40,70", "video '1' has several subjects: 'b' .*row 2.* and 'a' "),
        ("predictions", "h,micro", "h,mirco", "row 2: kind 'mirco'; allowed: micro, macro, me, mae"),
        ("predictions", "offset", "end", "column offset missing"),
        ("truth", "45,60,85", "45,60,", "truth.csv, row 2: column offset is empty"),
        ("videos", "4,0,2999,100\n", "", "row 5: video '4' is not in .*videos.csv"),
        ("videos", "4,0,2999,100", "4,0,2999,fast", "videos.csv, row 5: fps 'fast' is not a number"),
    ],
)
def test_one_message_says_which_row_is_wrong(tables, where, old, new, message):
    texts = {"predictions": PREDICTIONS, "truth": TRUTH, "videos": VIDEOS}
    assert old in texts[where]
    with pytest.raises(InputError, match=message):
        score_intervals(*tables(**texts | {where: texts[where].replace(old, new, 1)}))


def test_a_video_of_nobody_is_an_error(tables):
    spotted = "video,onset,offset\n1,10,70\n9,10,70\n"
    predictions, truth, _ = tables(spotted)
    done = score(predictions, truth)
    assert done.exit_code == 1
    assert "predictions.csv, row 3: no table says the subject of video '9'" in done.stderr
