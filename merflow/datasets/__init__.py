"""Datasets as they lie on disk: every clip in one table, everything wrong with the folder in another."""
