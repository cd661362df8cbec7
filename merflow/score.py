"""Command ``python -m merflow.score``: see :mod:`merflow.evaluation.score_table`."""

import sys

from merflow.evaluation.score_table import main, score_file

__all__ = ["score_file"]

if __name__ == "__main__":
    sys.exit(main())
