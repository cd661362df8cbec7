"""TSDGCN: pixel graphs, the SGCN, pre-training, features, fusion and the heads of the folds."""
