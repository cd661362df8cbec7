"""The command ``merflow``: one file per group of subcommands; ``app.py`` lists them.

Modules of the other rooms are imported inside the subcommands, so that ``merflow --help`` is there at once.
"""
