"""Protocols: labelled clips, folds, splits as files, selection of settings, variants of an experiment."""
