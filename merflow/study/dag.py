"""The jobs of a study: what each makes of what, as the rules of the workflow have it.

The library cannot ask the workflow, so this says again, for every rule, what its jobs read and write. A test holds it
equal to ``snakemake --dag``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from merflow.study.study import Study

TABLES = ("predictions", "metrics", "accuracy_train", "curves")
"""Tables that gather all experiments of a study."""
CALIBRATED = ("calibration", "reliability", "coverage")


@dataclass(frozen=True)
class Job:
    """One job: its rule, and the files that it reads (of other jobs) and writes."""

    rule: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]


def stages(study: "Study") -> list[dict[str, Any]]:
    """The rules that a study needs from nothing to its report, in an order in which data can flow.

    Returns:
        Rows ``rule, jobs`` (their number) and ``needs`` (rules whose files its jobs read, sorted).
    """
    jobs = list(_jobs(study))
    made = {file: job for job in jobs for file in job.writes}
    wanted, waiting = {}, [job for job in jobs if job.rule in ("write_report", "gather_ensemble")]
    while waiting:
        job = waiting.pop()
        if job.writes not in wanted:
            wanted[job.writes] = job
            waiting += [made[file] for file in job.reads if file in made]
    needs: dict[str, set[str]] = {}
    count: dict[str, int] = {}
    for job in jobs:
        if job.writes in wanted:
            count[job.rule] = count.get(job.rule, 0) + 1
            needs.setdefault(job.rule, set()).update(made[file].rule for file in job.reads if file in made)
    rows = [{"rule": rule, "jobs": count[rule], "needs": sorted(needs[rule])} for rule in count]
    ordered: list[dict[str, Any]] = []
    while len(ordered) < len(rows):
        done = {row["rule"] for row in ordered}
        ordered += [row for row in rows if row["rule"] not in done and done.issuperset(row["needs"])]
    return ordered


def _jobs(study: "Study") -> Iterator[Job]:
    yield from _data(study)
    yield from _networks(study)
    yield from _experiments(study)
    yield from _study(study)


def _data(study: "Study") -> Iterator[Job]:
    """From footage to the caches of datasets."""
    prepared = study.prepared()
    teachers = {prep: study.teacher(prep) for _, prep in prepared}
    footage = [pair for pair in prepared if study.has_frames(pair[0])]
    aligned = list(dict.fromkeys([*footage, *((name, prep) for prep, name in teachers.items() if name)]))
    for dataset in dict.fromkeys(dataset for dataset, _ in aligned):
        for subject in study.subjects(dataset) if study.is_demo(dataset) else ():
            yield Job("make_demo", (), (f"{study.results}/data/{dataset}/source/{subject}",))
    for dataset in dict.fromkeys(dataset for dataset, _ in prepared):
        names = tuple(f"{study.results}/data/{dataset}/{name}.csv" for name in ("clips", "problems", "classes"))
        yield Job("index_clips", (), names)
    for dataset, prep in aligned:
        folder, every = f"{study.results}/data/{dataset}/{prep}", []
        for subject in study.subjects(dataset):
            faces, scores = f"{folder}/faces/{subject}.h5", f"{folder}/scores/{subject}.csv"
            keyframes, flow = f"{folder}/keyframes/{subject}.csv", f"{folder}/flow/{subject}.h5"
            every += [faces, keyframes, flow]
            yield Job("align_faces", (f"{study.results}/data/{dataset}/source/{subject}",), (faces,))
            if teachers.get(prep):
                yield Job("score_frames", (faces, study.scorer_file(prep)), (scores,))
            yield Job("select_keyframes", (faces, scores), (keyframes,))
            yield Job("compute_flow", (faces, keyframes), (flow,))
        if (dataset, prep) in footage:
            yield Job("build_cache", tuple(every), (f"{folder}/cache.h5", f"{folder}/quality.csv"))
    for prep, name in teachers.items():
        if name:
            faces = tuple(f"{study.results}/data/{name}/{prep}/faces/{one}.h5" for one in study.subjects(name))
            yield Job("train_scorer", faces, (study.scorer_file(prep),))
    for dataset, prep in prepared:
        if not study.has_frames(dataset):
            folder = f"{study.results}/data/{dataset}/{prep}"
            yield Job("import_flow_images", (), (f"{folder}/cache.h5", f"{folder}/quality.csv"))


def _networks(study: "Study") -> Iterator[Job]:
    """Graphs, pre-trained networks and their features, those of tables of variants among them."""
    for graph in study.graph_names:
        yield Job("build_graph", (), (f"{study.results}/graphs/{graph}.h5",))
    weights = [file for name in study.pretrained for file in study.weight_files(name)]
    weights += [file for table in study.config["tables"] for file in study.table_files(table, "weights")]
    for file in dict.fromkeys(weights):
        macro, prep, name = file.removesuffix(".safetensors").split("/")[-3:]
        cache = f"{study.results}/data/{macro}/{prep}/cache.h5"
        graph = f"{study.results}/graphs/{study.weights(name)['graph']}.h5"
        yield Job("pretrain_sgcn", (cache, graph), (file, f"{file.removesuffix('.safetensors')}.csv"))
    features = [file for name in study.frozen for file in study.feature_files(name)]
    features += [file for table in study.config["tables"] for file in study.table_files(table, "features")]
    for file in dict.fromkeys(features):
        prep, macro, name, last = file.split("/")[-4:]
        cache = f"{study.results}/data/{last.rpartition('-')[0]}/{prep}/cache.h5"
        graph = f"{study.results}/graphs/{study.weights(name)['graph']}.h5"
        own = f"{study.results}/pretrained/{macro}/{prep}/{name}.safetensors"
        yield Job("extract_features", (cache, graph, own), (file,))


def _experiments(study: "Study") -> Iterator[Job]:
    """Splits, training, and the metrics of each experiment."""
    splits = [file for name in study.experiments for file in study.split_files(name).values()]
    splits += [file for table in study.config["tables"] for file in study.table_files(table, "splits")]
    for file in dict.fromkeys(splits):
        split = study.splits[file.rpartition("/")[2].rpartition("-seed")[0]]
        read = tuple(
            f"{study.results}/data/{dataset}/{split['prep']}/cache.h5" for dataset in split["settings"].clips.datasets
        )
        yield Job("make_splits", read, (file,))
    for name in study.experiments:
        folder, own = f"{study.results}/{study.name}/experiments/{name}", tuple(study.split_files(name).values())
        written = tuple(f"{folder}/{table}.csv" for table in ("predictions", "accuracy_train", "curves", "validation"))
        if name in study.floors:
            yield Job("run_floor", (*_caches(study, name), *own), written[:2])
        elif name in study.frozen:
            yield Job("finetune", (*study.feature_files(name), *own), (*written, f"{folder}/heads.safetensors"))
        else:
            yield from _folds(study, name, folder, written)
        yield Job("evaluate", written[:1], (f"{folder}/metrics.csv",))
        if name in study.pretrained:
            read = (*study.weight_files(name), *study.weight_files(name, ".csv"))
            tables = tuple(f"{folder}/pretraining/{table}.csv" for table in ("accuracy_train", "curves"))
            yield Job("tabulate_pretraining", read, tables)
        if name in study.trained:
            models = (model["file"] for model in study.model_files(name))
            read = (written[3], *models, *study.ensemble_networks(name), *_caches(study, name))
            yield Job("gather_ensemble", read, (f"{folder}/ensemble.json",))


def _folds(study: "Study", name: str, folder: str, written: tuple[str, ...]) -> Iterator[Job]:
    every: list[str] = []
    for seed in study.experiments[name]["seeds"]:
        read = [*_caches(study, name), study.split_files(name)[seed]]
        if name in study.graphs_in_fold:
            read += [f"{study.results}/graphs/{graph}.h5" for graph in study.fold_graphs(name, seed)]
            read += [*study.fold_weights(name, str(seed)), *_files(study.fold_macro(name))]
        rule = "train_clip_network" if name in study.clip_networks else "train_fold"
        for fold in study.folds(name):
            own = [f"{folder}/folds/{seed}/{fold}/{file.rpartition('/')[2]}" for file in written]
            every += own
            yield Job(rule, tuple(read), (*own, f"{folder}/folds/{seed}/{fold}/model.safetensors"))
    yield Job("gather_folds", tuple(every), written)


def _study(study: "Study") -> Iterator[Job]:
    """Tables of the study, figures and the report."""
    folder = f"{study.results}/{study.name}"
    of = {name: f"{folder}/experiments/{name}" for name in study.experiments}
    read = [f"{own}/{table}.csv" for own in of.values() for table in ("predictions", "metrics", "accuracy_train")]
    read += [f"{of[name]}/curves.csv" for name in study.trained]
    read += [f"{of[name]}/pretraining/{table}.csv" for name in study.pretrained for table in TABLES[2:]]
    tables = [f"{folder}/{table}.csv" for table in TABLES]
    yield Job("gather_tables", tuple(read), tuple(tables))
    yield Job("compare_systems", (tables[0],), (f"{folder}/differences.csv",))
    read = [tables[0], tables[2]]
    for entry in study.audit_plan():
        read += [*entry.splits.values(), *entry.caches.values(), *_files([entry.macro, entry.scorer])]
    yield Job("audit_leakage", tuple(read), (f"{folder}/audit.csv",))
    answers = tuple(f"{of[name]}/{table}.csv" for name in study.trained for table in ("predictions", "validation"))
    calibrated = tuple(f"{folder}/{table}.csv" for table in CALIBRATED)
    yield Job("calibrate", answers, calibrated)
    for table in study.config["tables"]:
        read = [file for kind in ("features", "weights", "splits") for file in study.table_files(table, kind)]
        yield Job(
            "run_table", tuple(read), (f"{folder}/tables/{table}.csv", f"{folder}/tables/{table}/predictions.csv")
        )
    for figure in study.figures:
        read = [file for own in study.figure_inputs(figure).values() for file in _files(own)]
        yield Job("draw_figure", tuple(read), (f"{folder}/figures/{figure}.csv", f"{folder}/figures/{figure}.svg"))
    read = [*tables, f"{folder}/audit.csv", f"{folder}/differences.csv", *calibrated]
    read += [f"{folder}/tables/{table}.csv" for table in study.config["tables"]]
    read += [f"{folder}/figures/{figure}.csv" for figure in study.figures]
    read += [f"{study.results}/graphs/{graph}.h5" for graph in study.shown_graphs]
    for dataset, prep in study.prepared():
        data = f"{study.results}/data/{dataset}"
        read += [f"{data}/{name}.csv" for name in ("clips", "problems", "classes")] + [f"{data}/{prep}/quality.csv"]
        if study.has_frames(dataset):
            kinds = (("faces", ".h5"), ("keyframes", ".csv"), ("flow", ".h5"))
            read += [f"{data}/{prep}/{kind}/{one}{end}" for one in study.subjects(dataset) for kind, end in kinds]
    yield Job("write_report", tuple(read), (f"{folder}/report.html",))


def _caches(study: "Study", experiment: str) -> tuple[str, ...]:
    prep = study.experiments[experiment]["prep"]
    return tuple(f"{study.results}/data/{dataset}/{prep}/cache.h5" for dataset in study.micro(experiment))


def _files(value: Any) -> list[str]:
    """One file or several as a list, without those that are empty."""
    return [file for file in ([value] if isinstance(value, str) else value or []) if file]
