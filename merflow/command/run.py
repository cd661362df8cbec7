"""``merflow run``, ``predict``, ``export`` and ``bundle``: they become the Snakemake command that they print."""

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from merflow.errors import InputError

if TYPE_CHECKING:
    from merflow.study.config import Config

PACKAGE = Path(__file__).resolve().parents[1]

config_option = click.option(
    "--config", type=click.Path(), metavar="FILE", help="Configuration of the study; if left out, the demo study."
)
cores_option = click.option("--cores", metavar="N", help="Cores to use; if left out, all.")
passed_on = click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[SNAKEMAKE ARGUMENTS]...")
PASS_ON = {"ignore_unknown_options": True, "allow_interspersed_args": True}


def workflow_folder() -> Path:
    """Return the folder with Snakefile, config.yaml and profiles: in the installed package, or the clone."""
    installed = PACKAGE / "_workflow"
    return installed if installed.is_dir() else PACKAGE.parent


def config_file(config: str | None) -> Path | None:
    """Return the file of ``--config``: of the user, or a study that comes with merflow (``studies/compare.yaml``)."""
    if config is None or Path(config).exists() or not (workflow_folder() / config).is_file():
        return Path(config) if config else None
    return workflow_folder() / config


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of every subcommand that runs the workflow."""
    return config_option(cores_option(passed_on(command)))


@click.command(context_settings=PASS_ON)
@options
@click.option("--profile", metavar="NAME", help="slurm, or the folder of a workflow profile of your own.")
def run(config: str | None, cores: str | None, profile: str | None, arguments: Sequence[str]) -> None:
    """Run a study, up to its report.

    Without --config it is the demo study, whose people are synthetic. Results go to the folder results/ here. The
    command checks the configuration, prints the Snakemake command, and becomes it; further options are passed on. After
    a change, and after a kill, the same command runs only what is missing.

    \b
    Examples:
      merflow run
      merflow run --config mine.yaml --cores 8
      merflow run --config mine.yaml --dry-run       show the jobs, run nothing
      merflow run --config studies/compare.yaml      a study that comes with merflow
      merflow run --config mine.yaml --profile slurm
    """
    if profile == "slurm":
        require("snakemake_executor_plugin_slurm", "slurm")
    chosen = ["--workflow-profile", profile] if profile else []
    become_snakemake([*chosen, *arguments], config, cores or ("" if profile else "all"))


@click.command(context_settings=PASS_ON)
@click.argument("clips", type=click.Path())
@options
def predict(clips: str, config: str | None, cores: str | None, arguments: Sequence[str]) -> None:
    """Classify new clips with the trained networks of a study.

    CLIPS is a video, a folder of images or of videos, or a table of clips. If the study is not trained yet, it is
    trained first. The page is results/STUDY/predict/NAME/index.html.

    \b
    Examples:
      merflow predict /path/to/video.mp4
      merflow predict clips/ --config mine.yaml
    """
    named = f"./{clips}" if clips.startswith("#") else clips  # For Snakemake, # begins a comment.
    become_snakemake(["predict", *arguments, "--config", f"clips={named}"], config, cores or "all")


@click.command(context_settings=PASS_ON)
@options
def export(config: str | None, cores: str | None, arguments: Sequence[str]) -> None:
    """Write the trained systems of a study as ONNX files.

    They are results/STUDY/export/EXPERIMENT/model.onnx, each with a model card. The packages are those of
    pip install "merflow[export]".

    \b
    Example:
      merflow export --config mine.yaml
    """
    if not {"--use-conda", "--sdm", "--software-deployment-method"} & set(arguments):
        require("onnx", "export")
    become_snakemake(["export", *arguments], config, cores or "all")


@click.command(context_settings=PASS_ON)
@options
def bundle(config: str | None, cores: str | None, arguments: Sequence[str]) -> None:
    """Write a study as one archive to cite, without faces.

    The archive, results/STUDY/bundle.zip, is an RO-Crate: configuration, splits, predictions, tables, audit,
    environment, code version and report. merflow score computes every score in it again.

    \b
    Examples:
      merflow bundle
      merflow bundle --config mine.yaml
      merflow score results/mine/bundle.zip
    """
    become_snakemake(["bundle", *arguments], config, cores or "all")


def require(module: str, extra: str) -> None:
    """Raise InputError if the packages of an extra of merflow are not installed; ``module`` is of one of them."""
    if find_spec(module) is None:
        raise InputError(f'the packages for this are not installed: pip install "merflow[{extra}]" (docs/install.md)')


def become_snakemake(arguments: Sequence[str], config: str | None, cores: str) -> None:
    """Check the configuration, print the Snakemake command, and replace this process by it.

    A run that was killed is unlocked first, and its SLURM jobs are waited for.

    Raises:
        MerflowError: the configuration cannot be used.
    """
    from merflow.runtime import progress, resume

    read_study(config)
    command = snakemake_arguments(config, [*(["--cores", cores] if cores else []), *arguments])
    click.echo(f"snakemake {shlex.join(command)}", err=True)
    os.environ[progress.VARIABLE] = "1"
    if any(Path(".snakemake", "locks").glob("*")):
        resume.main(command)
    else:
        os.execv(sys.executable, [*resume.SNAKEMAKE, *command])


def read_study(config: str | None) -> "Config":
    """Return the complete configuration of a file; without one, that of the demo study.

    Raises:
        MerflowError: the configuration cannot be used.
    """
    from merflow.storage.yaml_files import read_yaml
    from merflow.study.load import load_config

    file = config_file(config)
    return load_config(workflow_folder() / "config.yaml", read_yaml(file) if file else {})


def snakemake_arguments(config: str | None, arguments: Sequence[str]) -> list[str]:
    """Return ``arguments`` between those that name the workflow, unless it is in this folder, and the configuration."""
    folder, file = workflow_folder(), config_file(config)
    snakefile = [] if folder == Path.cwd() else ["--snakefile", str(folder / "Snakefile")]
    return [*snakefile, *arguments, *(["--configfile", str(file)] if file else [])]
