"""Checks of a study against its clips, before any job starts."""

from collections import Counter

from merflow.datasets.relabel import unknown_words
from merflow.errors import ConfigError, InputError, MerflowError
from merflow.footage.clip import database
from merflow.study.config_data import ClassMap
from merflow.study.data import Data
from merflow.study.experiments import Experiments
from merflow.study.training import Training
from merflow.systems.registry import input_kind


def check_study(training: Training) -> None:
    """Check that every experiment, and every cell of a table of variants, can run on its clips.

    Raises:
        InputError: a dataset cannot be used.
        ConfigError: an experiment cannot run on its clips; the message names the key.
    """
    experiments = training.experiments
    _check_datasets(experiments.data, training.prepared())
    for name in experiments:
        check_experiment(experiments, name)
    for table, cells in training.tables.items():
        for name in cells.experiments:
            try:
                check_experiment(cells.experiments, name)
            except ConfigError as error:
                raise ConfigError(f"tables.{table}: {error}") from error


def _check_datasets(data: Data, prepared: list[tuple[str, str]]) -> None:
    scorers = [data.scorer_dataset(prep) for _, prep in prepared]
    messages = []
    for dataset in dict.fromkeys([*(dataset for dataset, _ in prepared), *filter(None, scorers)]):
        try:
            data.index(dataset)
        except MerflowError as error:
            message = str(error)
            messages.append(message if dataset in message else f"dataset {dataset}: {message}")
    if messages:
        raise InputError("\n\n".join(dict.fromkeys(messages)))


def check_experiment(experiments: Experiments, name: str) -> None:
    """Raise ConfigError if an experiment cannot run on its clips."""
    if experiments[name].recognises_units:
        _check_coded(experiments, name)
    else:
        _check_classes(experiments, name)
    _check_footage(experiments, name)
    _check_scorer(experiments, name)
    _check_protocol(experiments, name)
    _check_train_also(experiments, name)
    _check_flow(experiments, name)
    _check_training(experiments, name)


def _check_classes(experiments: Experiments, name: str) -> None:
    """Raise if the classes of an experiment and the labels of its datasets do not fit together."""
    data, datasets, classes = experiments.data, experiments[name].datasets, experiments[name].classes
    sets = {data.index(dataset).class_set for dataset in datasets} - {""}
    if not classes and len(sets) > 1:
        raise ConfigError(
            f"experiments.{name}.micro: its datasets have different class sets ({', '.join(sorted(sets))}); "
            "give them one, or give the experiment `classes`"
        )
    if not isinstance(classes, str | ClassMap):
        return
    where, unknown = f"experiments.{name}.classes", Counter[str]()
    for dataset in datasets:
        unknown += unknown_words(data.index(dataset), data.layout(dataset), experiments.class_set(name, dataset))
    if unknown:
        words = ", ".join(f"{word} ({count} clips)" for word, count in unknown.most_common())
        raise ConfigError(f"{where}: the set does not know the labels {words}; map them, or choose another set")
    labels = {label for dataset in datasets for label in experiments.labels(name)[dataset].values()}
    missing = [label for label in experiments.classes(name) if label not in labels]
    if missing and isinstance(classes, ClassMap):  # Of a named set, a user may hold a part.
        raise ConfigError(f"{where}: no clip has a label for the class {', '.join(missing)}")


def _check_coded(experiments: Experiments, name: str) -> None:
    """Raise if a dataset has no clip whose action units were coded."""
    for dataset, labels in experiments.labels(name).items():
        if not any(labels.values()):
            raise ConfigError(
                f"experiments.{name}: no clip of {dataset} has coded action units (column `action_units` of its "
                "clips.csv); leave the dataset out, or give its table a column `au`"
            )


def _check_footage(experiments: Experiments, name: str) -> None:
    """Raise if the datasets of an experiment mix flow images with footage."""
    datasets, training = experiments[name].datasets, experiments[name].training_datasets
    if len({experiments.data.has_frames(dataset) for dataset in training}) > 1:
        key = "micro" if training == datasets else "train_also"
        raise ConfigError(
            f"experiments.{name}.{key}: {', '.join(training)} mix flow images, whose scale is not known, with "
            "flow in pixels"
        )


def _check_scorer(experiments: Experiments, name: str) -> None:
    """Raise if the frame scorer would learn from test subjects, or has nothing to learn from."""
    data, prep = experiments.data, experiments[name].prep
    dataset, where = data.config.preparations[prep].keyframes.learn_from, f"preparations.{prep}.keyframes.learn_from"
    if dataset is None:
        return
    if tested := scorer_test_datasets(experiments, name):
        same = dataset in tested
        what = "it" if same else f"{tested[0]}, which has the same subject names"
        raise ConfigError(
            f"{where}: {dataset}: experiments.{name} tests {what}; the scorer must not learn from test subjects: "
            "name a dataset of other people, or null"
        )
    moving = [clip for clip in data.index(dataset).clips if clip.kind != "still" and not clip.problem]
    people = {clip.subject for clip in moving if clip.apex is not None}
    if len(people) < 2:
        raise ConfigError(
            f"{where}: {dataset} has {len(moving)} moving clips, and annotated apexes of {len(people)} people; at "
            "least 2 are needed: name a dataset of moving clips with annotated apexes, or null"
        )


def scorer_test_datasets(experiments: Experiments, name: str) -> list[str]:
    """Datasets of an experiment whose subjects have the same names as those of its frame scorer's dataset."""
    data, e = experiments.data, experiments[name]
    source = data.config.preparations[e.prep].keyframes.learn_from
    return [dataset for dataset in e.datasets if source and data.same_people(dataset, source)]


def _check_protocol(experiments: Experiments, name: str) -> None:
    e, clips = experiments[name], experiments.usable_clips(name)
    people = sorted({clip.subject for clip in clips})
    if len(people) < 2:
        raise ConfigError(
            f"experiments.{name}.micro: labelled clips of {', '.join(people) or 'nobody'} only; loso needs 2 subjects "
            "or more"
        )
    databases = sorted({database(person) for person in people})
    if e.protocol in ("composite-loso", "cross-dataset") and len(databases) < 2:
        raise ConfigError(
            f"experiments.{name}.protocol: {e.protocol} is for several databases; the clips are of "
            f"{databases[0]} only: give loso, or more datasets in `micro`"
        )
    if e.protocol == "subject-kfold" and len(people) < e.folds:
        raise ConfigError(f"experiments.{name}.folds: {e.folds} folds need as many subjects, found {len(people)}")
    if e.protocol == "paper-holdout" and (e.test_clips or 1) >= len(clips):
        raise ConfigError(f"experiments.{name}.test_clips: {e.test_clips} of {len(clips)} leave none to train")


def _check_train_also(experiments: Experiments, name: str) -> None:
    """Raise if a dataset that only trains has no clip to train on, or shows people who are tested."""
    where = f"experiments.{name}.train_also"
    for dataset in experiments[name].train_also:
        clips = experiments.usable_clips_of(name, dataset)
        if not clips:
            raise ConfigError(
                f"{where}: no usable clip of {dataset} has one of the labels {', '.join(experiments.classes(name))}; "
                f"map its labels under datasets.{dataset}.classes, or leave it out"
            )
        if any(clip.kind == "still" for clip in clips):
            raise ConfigError(f"{where}: {dataset} has still images; name a dataset of moving clips")
        if shared := sorted(experiments.shared_people(name, dataset)):
            names = ", ".join(shared[:5]) + (f" and {len(shared) - 5} more" if len(shared) > 5 else "")
            raise ConfigError(
                f"{where}: {dataset} shows people who are tested, {names}; name a dataset of other people, or leave it "
                "out"
            )


def _check_flow(experiments: Experiments, name: str) -> None:
    """Raise if the flow of an experiment does not mean what its system takes it for."""
    e, data = experiments[name], experiments.data
    kind, where = input_kind(e.system, e.network_block), f"experiments.{name}"
    reads_apex = kind == "flow-image" or e.system in ("linear-svm", "rbf-svm", "softmax")
    if data.has_frames(e.datasets[0]):
        if reads_apex and data.config.preparations[e.prep].flow.reference != "onset":
            raise ConfigError(
                f"{where if name in data.config.experiments else 'floors'}: {e.system} reads the flow from onset to "
                f"apex, but that of the preparation {e.prep!r} starts at the key-frame before; make {e.system} an "
                "experiment whose `prep` has flow: {reference: onset}"
            )
        return
    reads_magnitude = e.uses_graphs and "temporal" in e.branches and e.temporal.signal == "magnitude"
    if reads_magnitude or kind == "flows-magnitude":
        key, others = ("temporal.signal", "u+v or strain") if reads_magnitude else ("network.input_kind", "flows")
        raise ConfigError(
            f"{where}.{key}: flow images do not say which value is no motion, so their magnitude is not known; give "
            f"{others}"
        )


def _check_training(experiments: Experiments, name: str) -> None:
    e, data = experiments[name], experiments.data
    if not e.trains_network:
        return
    kind = input_kind(e.system, e.network_block)
    if without_faces := [dataset for dataset in e.training_datasets if not data.has_faces(dataset)]:
        lacks = f"{without_faces[0]!r} holds flow images without faces; give its table a column `face`, or"
        if e.uses_graphs and "spatial" in e.branches:
            raise ConfigError(f"experiments.{name}.branches: {lacks} branches: [temporal]")
        if kind == "key-frames":
            raise ConfigError(f"experiments.{name}.micro: {lacks} network: {{input_kind: flows}}")
    counts = {dataset: data.images_per_clip(dataset) for dataset in e.training_datasets}
    if len(set(counts.values())) > 1 and (e.uses_graphs or kind != "flow-image"):
        listed = ", ".join(f"{dataset} {count}" for dataset, count in counts.items())
        key = "micro" if len({counts[dataset] for dataset in e.datasets}) > 1 else "train_also"
        raise ConfigError(
            f"experiments.{name}.{key}: {e.system} reads all images of a clip, and their numbers differ: {listed}; "
            "give it datasets with one number, or a system that reads the image at the apex (ststnet, linear-svm)"
        )
    classes = experiments.classes(name)
    for block, alpha in [("loss", e.loss.alpha), *(("grid.loss", alpha) for alpha in e.grid.get("loss.alpha", []))]:
        if isinstance(alpha, list) and len(alpha) != len(classes):
            raise ConfigError(
                f"experiments.{name}.{block}.alpha: {len(alpha)} values for {len(classes)} classes "
                f"({', '.join(classes)}); give one each, or one number"
            )
    if not e.pretrains:
        return
    labels = {clip.label for clip in data.index(e.macro).clips if clip.label and not clip.problem}
    if len(labels) < 2:
        raise ConfigError(
            f"experiments.{name}.macro: the clips of {e.macro} have {len(labels)} label "
            f"({', '.join(sorted(labels)) or 'none'}); pre-training needs 2 or more"
        )
