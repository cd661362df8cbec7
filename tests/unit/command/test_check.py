"""What `merflow check` says of a study, and what it expects a run to cost."""

from collections import Counter
from pathlib import Path

import people
import pytest
import yaml
from click.testing import CliRunner
from repository import REPO
from videos import waves, write_video

from merflow.command import check as module
from merflow.command.app import main
from merflow.command.cost import JOB, count_frames, disk_bytes, job_seconds
from merflow.footage.clip import Clip
from merflow.study.load import load_config
from merflow.study.plan import plan_study

JOBS = Counter({"align_faces": 2, "train_clip_network": 1, "write_report": 1})


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A folder with four clips of two people, and the study mine.yaml."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "planned_jobs", lambda config: JOBS)
    for clip in ("a", "b", "c", "d"):
        write_video(tmp_path / f"{clip}.avi", waves(9))
    table(tmp_path)
    settings = {"study": "mine", "datasets": {"people": {"layout": "manifest", "root": ".", "kind": "micro"}}}
    settings["experiments"] = {"ststnet": {"system": "ststnet", "micro": "people", "seeds": [0, 1]}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(settings))
    return tmp_path


def table(folder, **changes):
    clips = {"a": ("s1", "happy"), "b": ("s1", "sad"), "c": ("s2", "happy"), "d": ("s2", "sad")}
    rows = [[clip, *who, changes.get(clip, f"{clip}.avi"), "", "", "", ""] for clip, who in clips.items()]
    people.write_manifest(folder, rows)


def check(*arguments):
    done = CliRunner().invoke(main, ["check", "mine.yaml", *arguments])
    return done.exit_code, done.output


def test_counts_clips_frames_and_jobs(study):
    code, output = check("--cores", "4")
    assert code == 0, output
    assert "people: 4 clips of 2 people, 36 frames" in output and "on 4 cores" in output
    assert [line.split()[1] for line in output.splitlines() if line.strip().startswith(("faces", "all "))] == ["2", "4"]
    assert not (study / "results").exists()


def test_says_what_is_wrong_with_each_row(study):
    table(study, b="gone.avi", d="damaged.avi")
    (study / "damaged.avi").write_bytes(b"no video")
    code, output = check()
    assert code == 0
    assert "1 of 4 clips cannot be used" in output and "row 3" in output and "gone.avi" in output
    assert "d: video damaged.avi cannot be opened" in output


def test_study_that_cannot_run_is_an_error_with_the_problems_of_its_clips(study):
    table(study, c="gone.avi", d="gone.avi")
    code, output = check()
    assert code == 1 and "row 4" in output and "loso needs 2 subjects" in output and "Traceback" not in output


def test_cores_do_not_shorten_what_runs_in_series(capsys):
    jobs = Counter({"align_faces": 100, "build_cache": 1, "write_report": 1})
    for cores, minutes in ((2, 51), (1000, 3)):
        module.show_cost(jobs, dict.fromkeys(jobs, 60.0), cores)
        assert f"about {minutes} min on {cores} cores" in capsys.readouterr().out


def test_nothing_to_do(study, monkeypatch):
    monkeypatch.setattr(module, "planned_jobs", lambda config: Counter())
    assert "no job to do" in check()[1]


def test_jobs_are_those_of_a_dry_run(tmp_path, monkeypatch):
    """Of a study without training, so that Snakemake plans it fast."""
    monkeypatch.chdir(tmp_path)
    settings = {"study": "two", "demo": {"subjects": 4}, "datasets": {"p": {"layout": "demo"}}, "floors": []}
    settings["experiments"] = {"svm": {"system": "linear-svm", "micro": "p"}}
    (tmp_path / "two.yaml").write_text(yaml.safe_dump(settings))
    jobs = module.planned_jobs("two.yaml")
    assert jobs["align_faces"] == jobs["make_demo"] == 2 and jobs["run_floor"] == jobs["write_report"] == 1
    assert not {"all", "total"} & set(jobs) and not (tmp_path / "results").exists()


def clip(frames, **numbers):
    return Clip(str(frames), "s1", "happy", "micro", str(frames), **numbers)


def test_frames_are_counted_without_decoding(tmp_path):
    video = tmp_path / "v.avi"
    write_video(video, waves(7))
    (tmp_path / "images").mkdir()
    for number in range(5):
        (tmp_path / "images" / f"{number}.png").touch()
    assert count_frames([clip(video)]) == (7, [])
    assert count_frames([clip(tmp_path / "images")]) == (5, [])
    assert count_frames([clip(tmp_path / "images", onset=1, offset=3), clip(video)]) == (3 + 7, [])
    assert count_frames([clip(tmp_path / "undrawn.mp4", onset=1, offset=3)]) == (3, [])


def plan(**changes):
    overlay = {"study": "x", "datasets": {"people": {"layout": "demo", "kind": "micro"}}} | changes
    overlay.setdefault("experiments", {"ststnet": {"system": "ststnet", "micro": "people"}})
    return plan_study(load_config(Path(REPO, "config.yaml"), overlay))


def test_cost_grows_with_frames_and_epochs():
    few, many = job_seconds(plan(), {"people": 1000}), job_seconds(plan(), {"people": 2000})
    for rule in ("align_faces", "select_keyframes"):
        assert many[rule] - JOB == pytest.approx(2 * (few[rule] - JOB)) and few[rule] > JOB
    assert many["compute_flow"] == few["compute_flow"], "one field for each key-frame"
    short = job_seconds(plan(network={"epochs": 10}), {"people": 1000})["train_clip_network"]
    long = job_seconds(plan(network={"epochs": 20}), {"people": 1000})["train_clip_network"]
    assert long - JOB == pytest.approx(2 * (short - JOB))
    fixed = plan(network={"epochs": 200, "patience": 1, "epoch_choice": "fixed"})
    assert job_seconds(fixed, {"people": 1000})["train_clip_network"] - JOB == pytest.approx(10 * (long - JOB))
    assert disk_bytes(plan(), {"people": 2000}) > disk_bytes(plan(), {"people": 1000}) > 1000 * 128**2


def test_cost_of_pretraining():
    people = {"people": {"layout": "demo", "kind": "micro"}, "posed": {"layout": "demo", "kind": "macro"}}

    def seconds(**pretrain):
        block = {"epochs": 60, "patience": 10} | pretrain
        experiments = {"tsdgcn": {"system": "tsdgcn", "micro": "people", "macro": "posed", "pretrain": block}}
        found = job_seconds(plan(datasets=people, experiments=experiments), dict.fromkeys(people, 1000))
        return {rule: found[rule] - JOB for rule in ("pretrain_sgcn", "pretrain_pair", "train_fold") if rule in found}

    alone = seconds()["pretrain_sgcn"]
    assert seconds(together=True) == {"pretrain_pair": pytest.approx(2 * alone)}, "both networks in one job"
    assert seconds(frames="all") == {"pretrain_sgcn": pytest.approx(5 / 3 * alone)}, "five key-frames, not three"
    assert seconds(validation=0) == {"pretrain_sgcn": pytest.approx(2 * alone)}, "nothing stops it after 30 epochs"
    stopped, whole = (seconds(exclude_test_subjects=True, validation=share)["train_fold"] for share in (0.2, 0))
    assert whole - stopped >= 2 * alone, "both networks in every fold"


def test_cost_of_networks_in_the_fold():
    def seconds(side=28, **changes):
        experiment = {"system": "tsdgcn", "micro": "people", "macro": "none", "graphs": ["8+2"]} | changes
        found = plan(graph={"side": side}, experiments={"tsdgcn": {"branches": ["temporal"]} | experiment})
        return job_seconds(found, {"people": 1000})["train_fold"] - JOB

    assert seconds(side=56) == pytest.approx(4 * seconds())
    assert seconds(graphs=["8+2", "4+0"]) == pytest.approx(2 * seconds())
    assert seconds(branches=["spatial", "temporal"]) == pytest.approx(2 * seconds())
    assert seconds(temporal={"signal": "u+v"}) == pytest.approx(2 * seconds())
