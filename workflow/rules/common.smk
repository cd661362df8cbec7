"""Input functions and helpers of the rules."""

import re
from dataclasses import asdict
from functools import cache


def code_hash(script):
    """Hash of a script and of the library modules that it needs."""
    file = f"scripts/{script}.py"
    return hash_of(HERE / "workflow" / file if CLONED else workflow.source_path(f"../{file}"))


@cache
def network_code(experiment):
    """Hash of the file of an experiment's network, and of no other network's."""
    return hash_of(network_source(study.experiments[experiment]["system"]))


def gpus(wildcards):
    """GPUs of a job that trains or applies a network."""
    return gpus_per_job(config["device"])


def gpus_of_flow(wildcards):
    """GPUs of a job that computes flow; one of the backends can use one."""
    return gpus(wildcards) if config["preparations"][wildcards.prep]["flow"]["backend"] == "torch" else 0


def drawn(wildcards):
    """The folder that make_demo fills, for a demo dataset; a user's own footage is watched through `source`."""
    return f"<results>/data/{wildcards.dataset}/source/{wildcards.subject}" if study.is_demo(wildcards.dataset) else []


def per_subject(pattern):
    """Input function: `pattern` for each subject of the dataset."""

    def files(wildcards):
        return expand(pattern, subject=study.subjects(wildcards.dataset), allow_missing=True)

    return files


def one_of(names):
    """Regular expression of exactly these names; of nothing if there is none."""
    return "|".join(map(re.escape, names)) or "(?!)"


def scorer_of(wildcards):
    """The scorer of a preparation."""
    return study.scorer_file(wildcards.prep)


def scores_of(wildcards):
    """The scores that adaptive key-frames are chosen by; other methods wait for none."""
    pattern = f"<results>/data/{wildcards.dataset}/{wildcards.prep}/scores/{wildcards.subject}.csv"
    return pattern if study.teacher(wildcards.prep) else []


def graph_of(wildcards):
    """The graph of some weights."""
    return f"<results>/graphs/{study.weights(wildcards.weights)['graph']}.h5"


def caches_of(wildcards):
    """Caches of the datasets that a floor recognises."""
    return caches_of_experiment(wildcards.floor)


def caches_of_experiment(experiment):
    """Caches of the datasets that an experiment recognises."""
    prep = study.experiments[experiment]["prep"]
    return [f"<results>/data/{dataset}/{prep}/cache.h5" for dataset in study.micro(experiment)]


def caches_of_split(wildcards):
    """Caches of the datasets whose clips a split divides."""
    split = study.splits[wildcards.split]
    return [f"<results>/data/{dataset}/{split['prep']}/cache.h5" for dataset in split["settings"].clips.datasets]


def splits_of(experiment):
    """The table of splits of each seed of an experiment."""
    return list(study.split_files(experiment).values())


def audited(what):
    """Files that the leakage audit reads, each once: `splits`, `scorers`, or `caches` of clips that train or are tested."""
    plan = study.audit_plan()
    if what == "scorers":
        return list(dict.fromkeys(entry.scorer for entry in plan if entry.scorer))
    if what == "splits":
        return list(dict.fromkeys(file for entry in plan for file in entry.splits.values()))
    return list(dict.fromkeys(file for entry in plan for file in [*entry.caches.values(), entry.macro] if file))


def graphs_of_experiment(experiment, seed):
    """The graph of each network of one repeat of an experiment."""
    return [f"<results>/graphs/{graph}.h5" for graph in study.fold_graphs(experiment, int(seed))]


def of_folds(table):
    """Input function: `table` of each fold and seed of an experiment."""

    def files(wildcards):
        folder = f"<results>/{study.name}/experiments/{wildcards.in_fold}/folds"
        seeds = study.experiments[wildcards.in_fold]["seeds"]
        return [f"{folder}/{seed}/{fold}/{table}.csv" for seed in seeds for fold in study.folds(wildcards.in_fold)]

    return files


def of_experiments(table, names):
    """`table` of each experiment of `names`."""
    return expand(f"<results>/{study.name}/experiments/{{experiment}}/{table}.csv", experiment=names)


def of_figure(wildcards):
    """What a figure is made of: the cells of a table of variants, caches, or tables of the study."""
    return study.figure_inputs(wildcards.figure)


def of_datasets(pattern):
    """`pattern` for each dataset and preparation of the study."""
    return [pattern.format(dataset=dataset, prep=prep) for dataset, prep in study.prepared()]


def of_subjects(pattern):
    """`pattern` for each subject of each dataset of the study."""
    return [
        pattern.format(dataset=dataset, prep=prep, subject=subject)
        for dataset, prep in study.prepared()
        if study.has_frames(dataset)
        for subject in study.subjects(dataset)
    ]


def of_flow_images(pattern):
    """`pattern` for each dataset of flow images of the study."""
    return [
        pattern.format(dataset=dataset, prep=prep)
        for dataset, prep in study.prepared()
        if not study.has_frames(dataset)
    ]


# --- Predict ----------------------------------------------------------------------------------------------------------


def predicted(wildcards):
    """The page of what `clips` names."""
    if prediction is None:
        raise WorkflowError(NAMED)
    return [f"{prediction.folder}/{name}" for name in ("index.html", "answers.csv", "answers.json")]


def of_sources(file):
    """Input function: `file` of each source of a prediction."""

    def files(wildcards):
        return expand(f"{prediction.folder}/sources/{{source}}/{file}", source=prediction.sources, allow_missing=True)

    return files


def of_preparations(file):
    """Input function: `file` of each preparation of each source, source by source."""

    def files(wildcards):
        pattern = f"{prediction.folder}/sources/{{source}}/{{prep}}/{file}"
        return expand(pattern, source=prediction.sources, prep=prediction.preparations)

    return files


def of_prepared(file):
    """Input function: `file` of all sources together, of each preparation."""

    def files(wildcards):
        return expand(f"{prediction.folder}/prepared/{{prep}}/{file}", prep=prediction.preparations)

    return files


def of_answers(end):
    """Input function: what each experiment answers."""

    def files(wildcards):
        return expand(f"{prediction.folder}/experiments/{{experiment}}.{end}", experiment=prediction.experiments)

    return files


def prepared_as(experiment, file):
    """`file` of the candidates, prepared as an experiment wants them."""
    return f"{prediction.folder}/prepared/{prediction.prep(experiment)}/{file}"


def scores_of_candidates(wildcards):
    """As `scores_of`."""
    pattern = f"{prediction.folder}/sources/{wildcards.source}/{wildcards.prep}/scores.csv"
    return pattern if study.teacher(wildcards.prep) else []


def spotting_of(wildcards):
    """How well the search does, where something is searched."""
    return f"<results>/{study.name}/spotting.csv" if prediction.looks_long else []
