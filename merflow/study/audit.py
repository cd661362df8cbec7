"""What the leakage audit checks."""

from dataclasses import replace

from merflow.evaluation.settings import AddedDatasets, AuditSettings
from merflow.protocols.settings import ClipSettings
from merflow.storage.files import digest
from merflow.study.clip_checks import scorer_test_datasets
from merflow.study.training import Training


def audit_plan(training: Training) -> list[AuditSettings]:
    """What to check of every experiment, and of the cells of each table once for each split.

    An ensemble has the checks of its members too: what they have seen, it has seen.
    """
    plan = []
    for name in training.experiments:
        entry = _audit_settings(training, name, name, scored=True)
        members = [
            _audit_settings(training, member, name, scored=False) for member in training.experiments[name].of or ()
        ]
        plan += [entry, *_distinct([replace(member, fitted_parts=[]) for member in members])]
    for table, cells in training.tables.items():
        entries = _distinct(
            [_audit_settings(cells, cell, f"table {table}: {cell}", scored=False) for cell in cells.experiments]
        )
        plan += entries if len(entries) > 1 else [replace(entries[0], experiment=f"table {table}")]
    return plan


def _distinct(entries: list[AuditSettings]) -> list[AuditSettings]:
    """The entries that check different things, whatever their names."""
    distinct: dict[str, AuditSettings] = {}
    for entry in entries:
        distinct.setdefault(digest(replace(entry, experiment="")), entry)
    return list(distinct.values())


def _audit_settings(training: Training, name: str, shown: str, scored: bool) -> AuditSettings:
    experiments, data = training.experiments, training.experiments.data
    e = experiments[name]
    fitted = ["train"] if e.epoch_choice == "validation" else ["train", "validation"]
    return AuditSettings(
        experiment=shown,
        splits=training.splits(name),
        caches=dict(zip(e.datasets, training.caches(name), strict=True)),
        macro=training.paths.cache(e.macro, e.prep) if e.pretrains else "",
        same_people=[dataset for dataset in e.datasets if e.pretrains and data.same_people(dataset, e.macro)],
        excludes_test_people=e.pretrains and e.pretrain.exclude_test_subjects,
        scorer=data.scorer_file(e.prep) if data.config.preparations[e.prep].keyframes.learn_from else "",
        scorer_people=scorer_test_datasets(experiments, name),
        divides_subjects=e.protocol == "paper-holdout",
        fitted_parts=[] if e.is_ensemble else fitted,
        scored=scored,
        added=_added(training, name) if e.train_also else None,
    )


def _added(training: Training, name: str) -> AddedDatasets:
    """The datasets of an experiment that only train."""
    experiments, e = training.experiments, training.experiments[name]
    clips = experiments.clip_settings(name)
    labels = {dataset: clips.labels[dataset] for dataset in e.train_also if dataset in clips.labels}
    return AddedDatasets(
        ClipSettings(e.train_also, clips.classes, labels, units=clips.units),
        [training.paths.cache(dataset, e.prep) for dataset in e.train_also],
        {dataset: experiments.same_people(name, dataset) for dataset in e.train_also},
    )


def audited_overlaps(training: Training) -> list[list[str]]:
    """Pairs of clips of the audited datasets that share frames of a video: dataset, clip, dataset, clip."""
    names: dict[str, None] = {}
    for experiments in (training.experiments, *(cells.experiments for cells in training.tables.values())):
        for name in experiments:
            e = experiments[name]
            names |= dict.fromkeys([*e.training_datasets, *([e.macro] if e.pretrains else [])])
    return training.experiments.data.overlaps(list(names))


def audited_files(plan: list[AuditSettings]) -> dict[str, list[str]]:
    """Files that the audit reads, each once: ``splits``, ``scorers``, and ``caches`` of micro and macro clips."""
    files = {
        "splits": [file for entry in plan for file in entry.splits.values()],
        "caches": [file for entry in plan for file in (*entry.caches.values(), entry.macro)]
        + [file for entry in plan if entry.added for file in entry.added.caches],
        "scorers": [entry.scorer for entry in plan],
    }
    return {kind: list(dict.fromkeys(filter(None, paths))) for kind, paths in files.items()}
