"""Who trains, who chooses and who is tested: folds, splits, selection, variants of an experiment."""
