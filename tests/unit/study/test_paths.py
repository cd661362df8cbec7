"""The paths of the planners are those that the rules make."""

from configurations import plan
from repository import copy_repository, snakemake

from merflow.study.audit import audit_plan, audited_files
from merflow.study.paths import EXPERIMENT_TABLES
from merflow.study.prediction import Prediction

OVERLAY = {
    "demo": {"subjects": 8},
    "experiments": {
        "tsdgcn": {"system": "tsdgcn", "micro": "demo-micro", "macro": "demo-macro", "prep": "learned"},
        "in-fold": {"system": "tsdgcn", "micro": "demo-micro", "macro": "none", "seeds": [0, 1]},
        "msjfn": {"system": "msjfn", "micro": "demo-micro"},
    },
    "preparations": {"learned": {"keyframes": {"method": "adaptive"}}},
    "floors": ["majority"],
    "tables": {"branches": {"of": "tsdgcn", "rows": {"branches": [["spatial"], ["temporal"]]}}},
    "figures": {"methods": {"kind": "methods", "of": ["tsdgcn"]}, "flow": {"kind": "flow-statistics", "of": "tsdgcn"}},
}


def planned_paths(study):
    """Every path that a planner names."""
    training, experiments, paths = study.training, study.experiments, study.paths
    for kind in audited_files(audit_plan(training)).values():
        yield from kind
    yield from map(paths.graph, training.graphs)
    for name in experiments:
        for table in ("predictions", "accuracy"):
            yield paths.experiment(name, EXPERIMENT_TABLES[table])
        yield from training.caches(name)
        yield from training.splits(name).values()
    for name in experiments.network_experiments:
        for table in ("validation", "curves"):
            yield paths.experiment(name, EXPERIMENT_TABLES[table])
        yield from study.publishing.ensemble_files(name)
    for name in experiments.fold_experiments:
        for table in EXPERIMENT_TABLES:
            yield from training.fold_tables(name, table)
    for name in experiments.shared_feature_experiments:
        yield from training.feature_files(name)
        yield from training.weight_files(name)
        yield from training.weight_files(name, ".csv")
    yield from filter(None, map(study.data.scorer_file, study.config.preparations))
    prediction = Prediction(training)
    yield f"{prediction.folder}/answers.csv"
    for name in prediction.answering:
        for file in ("cache.h5", "quality.csv"):
            yield prediction.prepared(name, file)
            yield from prediction.training_files(name, file)
    for name in study.figures.blocks:
        for files in study.figures.inputs(name).values():
            yield from [files] if isinstance(files, str) else files


def test_rules_make_every_path_of_the_planners(tmp_path):
    folder = copy_repository(tmp_path)
    clip = tmp_path / "clip"
    clip.mkdir()
    for number in range(3):
        (clip / f"{number}.png").write_bytes(b"not looked into")
    overlay = OVERLAY | {"clips": str(clip)}
    summary = snakemake(folder, "all", "predict", "--summary", config=overlay).stdout
    made = {line.split("\t")[0] for line in summary.splitlines()}
    paths = set(planned_paths(plan(overlay)))
    assert len(paths) > 50 and not paths - made
