"""Claims: one writer for the outputs of a job, whoever is killed and whenever."""

import errno
import fcntl
import os
import shutil
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from repository import REPO

from merflow.runtime.claims import claim
from merflow.runtime.script_context import job

JOB = """
import sys, time
from pathlib import Path
from merflow.runtime.claims import claim
folder, name, made_of, seconds, fails = Path(sys.argv[1]), *sys.argv[2:4], float(sys.argv[4]), sys.argv[5] == "fails"
with claim(folder / "job.claim", made_of, [folder / "out"]) as work:
    print("works" if work else "nothing to do", flush=True)
    if work:
        time.sleep(seconds)
        if fails:
            sys.exit(1)
        with open(folder / "writers", "a") as file:
            print(name, file=file)
        (folder / "out").touch()
"""


@pytest.fixture
def start(tmp_path):
    jobs = []

    def begin(name, made_of="same", seconds=0.0, fails=""):
        command = [sys.executable, "-c", JOB, str(tmp_path), name, made_of, str(seconds), fails]
        jobs.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPO))
        return jobs[-1]

    yield begin
    for one in jobs:
        one.kill()
        one.communicate()


def writers(folder):
    return (folder / "writers").read_text().split() if (folder / "writers").exists() else []


def working(one):
    assert one.stdout.readline() == "works\n"
    return one


def test_who_waited_for_the_same_work_has_nothing_to_do(tmp_path, start):
    first = working(start("first", seconds=1.5))
    out, err = start("second").communicate(timeout=30)
    assert out == "nothing to do\n"
    assert f"waiting for process {first.pid} on " in err and "job.claim" in err
    assert writers(tmp_path) == ["first"] and not (tmp_path / "job.claim").exists()


@pytest.mark.parametrize("case", ["other work", "failed", "outputs gone"])
def test_who_waited_works_where_the_first_left_nothing_of_use(tmp_path, start, case):
    first = working(start("first", seconds=1.5, fails="fails" if case == "failed" else ""))
    second = start("second", "other" if case == "other work" else "same")
    if case == "outputs gone":
        assert "waiting" in second.stderr.readline()
        os.kill(second.pid, 19)  # SIGSTOP: it looks after the outputs were taken away
        first.wait(30)
        (tmp_path / "out").unlink()
        os.kill(second.pid, 18)
    assert second.communicate(timeout=30)[0] == "works\n"
    assert writers(tmp_path) == {"failed": ["second"]}.get(case, ["first", "second"])


def test_a_killed_job_holds_nothing(tmp_path, start):
    first = working(start("first", seconds=60))
    first.kill()
    first.wait()
    assert (tmp_path / "job.claim").read_text().startswith(f"process {first.pid} on ")
    out, err = start("second").communicate(timeout=30)
    assert (out, err) == ("works\n", "") and not (tmp_path / "job.claim").exists()


def test_of_many_at_once_one_works_at_a_time(tmp_path, start):
    jobs = [start(str(n), made_of=str(n), seconds=0.05) for n in range(6)]
    assert all(one.communicate(timeout=60)[0] == "works\n" for one in jobs)
    assert sorted(writers(tmp_path)) == [str(n) for n in range(6)]
    same = [start(f"same {n}", made_of="same", seconds=2) for n in range(4)]
    answers = [one.communicate(timeout=60)[0] for one in same]
    assert answers.count("works\n") == 1 and answers.count("nothing to do\n") == 3


def test_a_script_ends_well_without_work_where_an_earlier_job_did_it(tmp_path, start, capsys):
    """`job` claims by what Snakemake gives it; the work of a job of other settings is its own."""
    source, out, log = tmp_path / "in", tmp_path / "out", tmp_path / "logs" / "x.log"
    source.write_text("a")
    log.parent.mkdir()
    given = SimpleNamespace(rule="r", log=[str(log)], input=[str(source)], output=[str(out)], wildcards={}, params={})
    child = os.fork()
    if not child:
        with job(given):
            time.sleep(1.0)
            out.write_text("the orphan's")
        os._exit(0)
    while not (log.with_suffix(".claim").exists() and log.with_suffix(".claim").read_text().startswith("process")):
        time.sleep(0.01)
    with pytest.raises(SystemExit) as ended, job(given):
        out.write_text("never")
    assert ended.value.code == 0 and "done by a job of the killed run" in capsys.readouterr().err
    os.waitpid(child, 0)
    assert out.read_text() == "the orphan's" and "done" in log.read_text()
    assert not log.with_suffix(".claim").exists()
    given.params = {"alpha": 2}
    with job(given):
        out.write_text("own")
    assert out.read_text() == "own"


def test_a_job_that_fails_leaves_no_claim_and_no_word_of_being_done(tmp_path):
    log = tmp_path / "x.log"
    given = SimpleNamespace(rule="r", log=[str(log)], input=[], output=[str(tmp_path / "o")], wildcards={}, params={})
    with pytest.raises(ZeroDivisionError), job(given):
        raise ZeroDivisionError
    assert not log.with_suffix(".claim").exists()
    with claim(log.with_suffix(".claim"), "x", []) as work:
        assert work


def test_a_claim_that_was_removed_on_another_machine_is_claimed_anew(tmp_path, monkeypatch):
    """NFS says ESTALE of an open file that is gone; here it is one with a name, so the second look must be new."""
    looks, fstat = [], os.fstat

    def look(number):
        looks.append(os.readlink(f"/proc/self/fd/{number}"))
        if len(looks) == 1:
            os.unlink(looks[0])
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return fstat(number)

    monkeypatch.setattr("merflow.runtime.claims.os.fstat", look)
    with claim(tmp_path / "job.claim", "same", [tmp_path / "out"]) as work:
        assert work and (tmp_path / "job.claim").read_text().startswith(f"process {os.getpid()} on ")
    assert looks == [str(tmp_path / "job.claim")] * 2 and not (tmp_path / "job.claim").exists()


def test_a_wait_for_the_lock_that_fails_is_an_error_and_no_leave_to_write(tmp_path, monkeypatch):
    def refuse(file, how):
        raise BlockingIOError if how & fcntl.LOCK_NB else OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("merflow.runtime.claims.fcntl.flock", refuse)
    with pytest.raises(OSError, match="[Ll]ock"), claim(tmp_path / "job.claim", "same", [tmp_path / "out"]):
        (tmp_path / "out").write_text("beside another one")
    assert not (tmp_path / "out").exists()


def test_what_a_job_without_its_driver_has_made_is_taken_where_the_outputs_were_removed(tmp_path):
    """Snakemake removes what its killed driver did not see end, files and folders, before the job runs again."""
    claimed, out, folder = tmp_path / "logs" / "job.claim", tmp_path / "out.csv", tmp_path / "frames"

    def work(made_of, gone=True):
        with claim(claimed, made_of, [out, folder], lambda: gone) as wanted:
            if wanted:
                out.write_text(f"of {made_of}")
                (folder / "a").mkdir(parents=True, exist_ok=True)
                (folder / "a" / "1.png").write_text(f"of {made_of}")
            return wanted

    def removed():
        out.unlink()
        shutil.rmtree(folder)

    assert work("same")
    made = out.stat().st_ino, out.stat().st_mtime_ns
    removed()
    assert not work("same", gone=False)
    assert (out.stat().st_ino, out.stat().st_mtime_ns) == made and (folder / "a" / "1.png").read_text() == "of same"
    assert list(claimed.parent.iterdir()) == []
    removed()
    assert work("same") and work("same", gone=False) is False, "still there: nothing to do either"
    assert work("same") and (removed() or work("other", gone=False)), "of other things it is not taken"
    assert out.read_text() == "of other" and list(claimed.parent.iterdir()) == []
    assert work("same") and (removed() or shutil.rmtree(claimed.with_suffix(".kept")) or work("same", gone=False))


FORKS = """
import os, sys, time
from pathlib import Path
from merflow.runtime.claims import claim
with claim(Path(sys.argv[1]) / "job.claim", "same", []):
    if not os.fork():
        time.sleep(60)
    print("works", flush=True)
    time.sleep(60)
"""


def test_a_worker_that_outlives_its_killed_job_holds_nothing(tmp_path, start):
    """A pool of forked processes: the kernel frees a lock when the last who has it is gone."""
    command = [sys.executable, "-c", FORKS, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPO, start_new_session=True) as first:
        working(first)
        first.kill()
        first.wait()
        try:
            assert start("second").communicate(timeout=20)[0] == "works\n"
        finally:
            os.killpg(first.pid, 9)


def test_a_job_removes_what_killed_ones_left_of_its_outputs_and_nothing_else(tmp_path):
    output = tmp_path / "a [1].csv"
    mine, other = tmp_path / ".a [1].77.tmp.csv", tmp_path / ".b.77.tmp.csv"
    for file in (mine, other):
        file.write_text("half")
    log = tmp_path / "x.log"
    given = SimpleNamespace(rule="r", log=[str(log)], input=["gone"], output=[str(output)], wildcards={}, params={})
    with job(given):
        assert not mine.exists() and other.exists()
    assert "done" in log.read_text(), "an input that is not there is for the work to say"
