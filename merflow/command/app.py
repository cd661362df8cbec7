"""The command ``merflow`` and the list of its subcommands (docs/command.md)."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click

from merflow.command.check import check
from merflow.command.init import init
from merflow.command.results import progress, results
from merflow.command.run import bundle, export, predict, run
from merflow.command.tables import corrections, score
from merflow.command.weights import weights
from merflow.errors import MerflowError


class Commands(click.Group):
    """A group whose subcommands report a :class:`MerflowError` as one message, with exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a subcommand."""
        try:
            return super().invoke(ctx)
        except MerflowError as error:
            raise click.ClickException(str(error)) from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the subcommands in the order in which they are used."""
        return list(self.commands)


def _version() -> str:
    try:
        return version("merflow")
    except PackageNotFoundError:
        return "of a clone"


@click.group(cls=Commands, context_settings={"max_content_width": 100})
@click.version_option(_version(), message="merflow %(version)s")
def main() -> None:
    """Make a micro-expression recognition study from raw face clips.

    \b
    Examples:
      merflow run                       the demo study, with synthetic people
      merflow init mine                 write mine.yaml and a table for your own clips
      merflow check mine.yaml           what is wrong with them, and what a run will cost
      merflow run --config mine.yaml    results/mine/report.html

    \b
    Exit codes: 0 done, 1 bad input or a failed job, 2 wrong usage.
    Completion in bash: eval "$(_MERFLOW_COMPLETE=bash_source merflow)"
    """


for command in (init, check, run, progress, results, predict, export, bundle, weights, score, corrections):
    main.add_command(command)
