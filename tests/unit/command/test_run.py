"""The subcommands that run the workflow: the Snakemake command that they become."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
from click.shell_completion import shell_complete
from click.testing import CliRunner
from repository import REPO
from snakemake.cli import get_argument_parser

from merflow.command import run
from merflow.command.app import main

MINE = "study: mine\ntitle: Mine\n"


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    """A function that runs the command in an empty folder; returns exit code, output and what it became."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MERFLOW_PROGRESS", "")
    (tmp_path / "mine.yaml").write_text(MINE)

    def invoke(*arguments):
        became = []
        monkeypatch.setattr(run.os, "execv", lambda program, command: became.append(command))
        monkeypatch.setattr("merflow.runtime.resume.main", lambda command: became.append(["resume", *command]))
        done = CliRunner().invoke(main, arguments)
        return SimpleNamespace(code=done.exit_code, output=done.output, became=became)

    return invoke


SNAKEFILE = ["--snakefile", str(REPO / "Snakefile")]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["run"], ["--cores", "all"]),
        (["run", "--config", "mine.yaml", "--cores", "3"], ["--cores", "3", "--configfile", "mine.yaml"]),
        (["run", "--dry-run", "-j", "1"], ["--cores", "all", "--dry-run", "-j", "1"]),
        (["run", "--profile", "slurm"], ["--workflow-profile", "slurm"]),
        (["run", "--profile", "slurm", "--cores", "4"], ["--cores", "4", "--workflow-profile", "slurm"]),
        (["export"], ["--cores", "all", "export"]),
        (["predict", "a b.mp4"], ["--cores", "all", "predict", "--config", "clips=a b.mp4"]),
        (["predict", "#2", "--cores", "1"], ["--cores", "1", "predict", "--config", "clips=./#2"]),
    ],
    ids=" ".join,
)
def test_becomes_the_snakemake_command_that_it_prints(invoke, typed, expected):
    done = invoke(*typed)
    assert done.code == 0, done.output
    assert done.became == [[sys.executable, "-m", "snakemake", *SNAKEFILE, *expected]]
    assert done.output.startswith("snakemake --snakefile ") and expected[-1].split()[-1] in done.output
    get_argument_parser().parse_args([*SNAKEFILE, *expected])


def test_without_a_word_about_the_snakefile_in_a_clone(invoke, monkeypatch):
    monkeypatch.chdir(REPO)
    assert invoke("run").became[0][3:] == ["--cores", "all"]


def test_studies_that_come_with_merflow(invoke, tmp_path):
    path = "studies/compare.yaml"
    assert invoke("run", "--config", path).became[0][-1] == str(REPO / path)
    (tmp_path / "studies").mkdir()
    (tmp_path / path).write_text(MINE)
    assert invoke("run", "--config", path).became[0][-1] == path


@pytest.mark.parametrize(
    ("text", "message"), [("studdy: x\n", "studdy"), ("study: [\n", "mine.yaml"), (None, "mine.yaml")]
)
def test_configuration_that_cannot_be_used_runs_nothing(invoke, tmp_path, text, message):
    (tmp_path / "mine.yaml").unlink() if text is None else (tmp_path / "mine.yaml").write_text(text)
    done = invoke("run", "--config", "mine.yaml")
    assert done.code == 1 and not done.became and message in done.output and "Traceback" not in done.output


@pytest.mark.parametrize(
    ("typed", "module", "extra"),
    [(["export"], "onnx", "export"), (["run", "--profile", "slurm"], "snakemake_executor_plugin_slurm", "slurm")],
)
def test_missing_packages_of_an_extra_are_named(invoke, monkeypatch, typed, module, extra):
    monkeypatch.setattr(run, "find_spec", lambda name: None if name == module else object())
    done = invoke(*typed)
    assert done.code == 1 and f"merflow[{extra}]" in done.output and not done.became
    if extra == "export":
        assert invoke(*typed, "--sdm", "conda").became


def test_killed_run_is_resumed(invoke, tmp_path):
    (tmp_path / ".snakemake/locks").mkdir(parents=True)
    (tmp_path / ".snakemake/locks/0.input.lock").touch()
    assert invoke("run").became == [["resume", *SNAKEFILE, "--cores", "all"]]


def test_help_loads_no_library():
    code = "import merflow.command.app, sys; print([m for m in ('torch', 'numpy', 'pydantic') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("typed", "proposals"),
    [
        ("merflow in", "plain,init"),
        ("merflow init x --layout casme-", "plain,casme-squared"),
        ("merflow check m", "file,m"),
    ],
)
def test_shell_completes_subcommands_layouts_and_files(monkeypatch, capsys, typed, proposals):
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split()) - 1))
    shell_complete(main, {}, "merflow", "_MERFLOW_COMPLETE", "bash_complete")
    assert capsys.readouterr().out == f"{proposals}\n"


def test_list_of_subcommands_fits_in_80_columns():
    output = CliRunner().invoke(main, ["--help"], terminal_width=80).output
    assert "..." not in output.partition("Commands:")[2]


@pytest.mark.parametrize("name", main.commands)
def test_help_of_each_subcommand_has_examples(name):
    done = CliRunner().invoke(main, [name, "--help"])
    assert done.exit_code == 0 and f"\n    merflow {name}" in done.output and "Example" in done.output
