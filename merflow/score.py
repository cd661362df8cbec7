"""Alias: ``python -m merflow.score predictions.csv`` runs :mod:`merflow.evaluation.score_table`."""

from merflow.evaluation.score_table import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
