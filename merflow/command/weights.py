"""``merflow weights``: trained networks that are passed on (docs/weights.md)."""

from collections.abc import Sequence
from pathlib import Path

import click

from merflow.command.run import PASS_ON, become_snakemake, options


@click.group()
def weights() -> None:
    """Pass trained networks on, or use those of others.

    The subcommands pack and unpack have a --help of their own.

    \b
    Examples:
      merflow weights pack --config mine.yaml
      merflow weights unpack composite-tsdgcn.zip
    """


@weights.command(context_settings=PASS_ON)
@options
def pack(config: str | None, cores: str | None, arguments: Sequence[str]) -> None:
    """Write the trained networks of a study as archives.

    Each experiment has one, results/STUDY/weights/STUDY-EXPERIMENT.zip, with protocol, number of people, audit,
    model card and digests.

    \b
    Example:
      merflow weights pack --config mine.yaml
    """
    become_snakemake(["weights", *arguments], config, cores or "all")


@weights.command()
@click.argument("archive", type=click.Path(path_type=Path))
@click.argument("folder", required=False, type=click.Path(path_type=Path))
def unpack(archive: Path, folder: Path | None) -> None:
    """Check and unpack an archive of trained networks.

    FOLDER is weights/NAME of the archive if it is left out. Its name is that under which the networks answer.

    \b
    Examples:
      merflow weights unpack composite-tsdgcn.zip
      merflow weights unpack composite-tsdgcn.zip networks/tsdgcn
    """
    from merflow.inference.packed import unpack_weights

    unpacked = unpack_weights(archive, folder or Path("weights", archive.stem))
    click.echo(f"{unpacked.folder}: {unpacked.origin}")
    click.echo(f"To answer clips with them, add to the configuration: predict: {{weights: [{unpacked.folder}]}}")
