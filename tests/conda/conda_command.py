"""A `conda` for tests, on py-rattler: it answers the calls of Snakemake 9. Solve and environments are real.

usage: python conda_command.py ROOT ARGUMENTS...; ROOT has bin/ (for the PATH) and channels/.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import yaml
from rattler import Channel, ChannelConfig, ChannelPriority, MatchSpec, Subdir, VirtualPackage, install, solve
from rattler.exceptions import SolverError
from rattler.shell import ActivationVariables, PathModificationBehavior, Shell, activate

COMMAND = """#!/bin/sh
exec '{python}' -I '{file}' '{root}' "$@"
"""
ACTIVATE = """# source activate PREFIX
. "$1/conda-meta/activate.sh"
"""


def install_command(root: Path) -> None:
    """Write `conda` and `activate` to ``root / bin``."""
    (root / "bin").mkdir(parents=True)
    conda = root / "bin" / "conda"
    conda.write_text(COMMAND.format(python=sys.executable, file=Path(__file__).resolve(), root=root))
    conda.chmod(0o755)
    (root / "bin" / "activate").write_text(ACTIVATE)


async def create(root: Path, file: Path, prefix: Path) -> None:
    """Create the environment of ``file`` in ``prefix``: solve, link, then pip, as conda does."""
    definition = yaml.safe_load(file.read_text())
    names = [name for name in definition["channels"] if name != "nodefaults"]
    config = ChannelConfig(channel_alias=f"{(root / 'channels').as_uri()}/")
    records = await solve(
        sources=[Channel(name, config) for name in names],
        specs=[MatchSpec(entry) for entry in definition["dependencies"] if isinstance(entry, str)],
        platforms=[Subdir.current(), Subdir("noarch")],
        virtual_packages=VirtualPackage.detect(),
        channel_priority=ChannelPriority.Strict,
    )
    await install(records, target_prefix=prefix, cache_dir=root / "pkgs", show_progress=False)
    # Without an entry, the script would contain the PATH of this process.
    path = ActivationVariables(None, [prefix / "bin"], PathModificationBehavior.Prepend)
    (prefix / "conda-meta" / "activate.sh").write_text(activate(prefix, path, Shell.bash).script)
    if pins := [pin for entry in definition["dependencies"] if isinstance(entry, dict) for pin in entry["pip"]]:
        pinned = file.with_suffix(".requirements.txt")
        pinned.write_text("\n".join(pins))
        pip = [prefix / "bin" / "python", "-m", "pip", "install", "--quiet", "-U", "-r", pinned, "--exists-action=b"]
        clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
        sys.exit(subprocess.run(pip, env=clean | {"PIP_ROOT_USER_ACTION": "ignore"}).returncode)


def main(root: Path, arguments: list[str]) -> None:
    """Answer one call; an unknown call is an error."""
    match arguments:
        case ["--version"]:
            print("conda 26.7.0")
        case ["info", "--json"]:
            print(json.dumps({"conda_prefix": str(root), "platform": str(Subdir.current())}))
        case ["config", "--get", "channel_priority", "--json"]:
            print(json.dumps({"get": {"channel_priority": "strict"}}))
        case ["clean", "-y", "--tarballs"]:
            for archive in (root / "pkgs").glob("*.tar.bz2"):
                archive.unlink()
        case ["env", "create", *rest]:
            parser = argparse.ArgumentParser("conda env create")
            parser.add_argument("--file", type=Path, required=True)
            parser.add_argument("--prefix", type=Path, required=True)
            for flag in ("--quiet", "--no-default-packages"):
                parser.add_argument(flag, action="store_true")
            options = parser.parse_args(rest)
            try:
                asyncio.run(create(root, options.file, options.prefix))
            except SolverError as error:
                sys.exit(f"conda: {error}")
        case _:
            sys.exit(f"conda for tests: unknown call {arguments}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
