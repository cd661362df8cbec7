"""Input functions and helpers of the rules.

The planners (merflow/study/plan.py) know what the jobs of the study need. They are `data`, `experiments`, `training`,
`figures`, `publishing`, `prediction`.
"""

import re
from dataclasses import asdict
from functools import cache

from merflow.study.audit import audit_plan, audited_files, audited_overlaps
from merflow.study.paths import EXPERIMENT_TABLES
from merflow.study.training import PARTS

GPUS = gpus_per_job(settings.device)  # of a job that trains or applies a network


def script_hash(script):
    """Hash of a script and of the library modules that it needs."""
    file = f"scripts/{script}.py"
    return code_hash(HERE / "workflow" / file if ON_DISK else workflow.source_path(f"../{file}"))


@cache
def network_code(experiment):
    """Hash of the files of an experiment's networks, and of no other network's; empty if none is of the registry."""
    members = [experiments[name] for name in experiments[experiment].of or [experiment]]
    return " ".join(code_hash(network_source(member.system)) for member in members if member.reads_clips)


def one_of(names):
    """Regular expression that matches exactly these names; if there is none, nothing."""
    return "|".join(map(re.escape, names)) or "(?!)"


def synthetic_source(wildcards):
    """The footage of a synthetic subject, which a rule makes; other footage is tracked by the parameter `source`."""
    footage = {
        "demo": "<results>/data/{dataset}/source/{subject}",
        "long-demo": "<results>/data/{dataset}/videos/{subject}.mp4",
    }
    return footage.get(data.layout(wildcards.dataset), [])


def per_subject(pattern):
    """Input function: `pattern` for each subject of the dataset."""
    return lambda w: expand(pattern, subject=data.subjects(w.dataset), allow_missing=True)


def scores_if(pattern):
    """Input function: `pattern` if the key-frames of the preparation depend on scores."""
    return lambda w: pattern if data.scorer_file(w.prep) else []


def tables(folder):
    """The tables of an experiment or of a fold, by name."""
    return {table: f"{folder}/<{table}>" for table in EXPERIMENT_TABLES}


def of_folds(table):
    """Input function: a table of each fold and seed of an experiment."""
    return lambda wildcards: training.fold_tables(wildcards.experiment, table)


def of_datasets(pattern):
    """`pattern` for each dataset and preparation of the study."""
    return [pattern.format(dataset=dataset, prep=prep) for dataset, prep in training.prepared()]


def of_subjects(pattern):
    """`pattern` for each subject of each dataset of the study that has frames."""
    return [
        pattern.format(dataset=dataset, prep=prep, subject=subject)
        for dataset, prep in training.prepared()
        if data.has_frames(dataset)
        for subject in data.subjects(dataset)
    ]


def prediction_files(wildcards):
    """The page and the tables about what `clips` names."""
    if prediction is None:
        raise WorkflowError(NO_CLIPS)
    return [f"{prediction.folder}/{name}" for name in ("index.html", "answers.csv", "answers.json")]


def of_prediction(pattern):
    """Input function: `pattern` for each {source}, {preparation} and {answering} experiment that it names."""

    def files(wildcards):
        values = (prediction.sources, prediction.preparations, prediction.answering)
        names = zip(("source", "preparation", "answering"), values)
        used = {name: values for name, values in names if f"{{{name}}}" in pattern}
        return expand(f"{prediction.folder}/{pattern}", allow_missing=True, **used)

    return files
