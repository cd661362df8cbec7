"""Command ``python -m merflow``: the command ``merflow`` where it is not installed (:mod:`merflow.command`)."""

from merflow.command.app import main

main(prog_name="python -m merflow")
