"""The plan of a study: which clips, graphs, weights, features and experiments a configuration asks for.

The rules ask this object what they need; it answers with names and settings, never with work. It lists folders, and it
opens no frame.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from merflow.datasets.assemble import relabel, unknown_words
from merflow.datasets.index import DatasetError, Index, index_dataset, write_problems
from merflow.datasets.labels import class_set
from merflow.datasets.registry import LAYOUTS, layout_source
from merflow.datasets.synthetic import scorer_people as strangers
from merflow.errors import ConfigError, InputError, MerflowError
from merflow.evaluation.settings import AuditSettings, ClipLabels, FigureExperiment, FigureSettings
from merflow.footage.clip import database
from merflow.footage.fingerprints import source_token
from merflow.learning.settings import LossSettings
from merflow.protocols.folds import fold_names
from merflow.protocols.settings import ClipSettings, SelectionSettings, SplitSettings
from merflow.report.settings import (
    ClassCount,
    ExperimentSettings,
    GraphSettings,
    ReportSettings,
    VariantTableSettings,
)
from merflow.storage.files import digest, safe_filename
from merflow.study.config import LEARNED, NO_MACRO, micro_datasets, named_experiments, table_cells
from merflow.systems.registry import NETWORKS, complete_block, input_kind, network_settings
from merflow.systems.settings import (
    ClipNetworkSettings,
    FinetuneSettings,
    FoldTrainingSettings,
    HeadSettings,
    LinearSettings,
    PretrainSettings,
)

FOOTAGE = ("clip", "subject", "kind", "frames", "onset", "apex", "offset", "align", "problem")
"""What alignment needs of a clip. A corrected label is not among it, so it reruns nothing before the cache."""

SPLIT_OF = {"subject-kfold": ("folds", "seeds"), "paper-holdout": ("test_clips", "seeds")}
"""Keys of an experiment that decide the split of a protocol; each seed draws another."""
SPLIT = ("folds", "test_clips")
SIGNALS = "signals"
"""What networks with graphs read (:data:`merflow.inference.ensemble.SIGNALS`, which takes torch to import)."""


class Study:
    """A settled configuration (:func:`merflow.study.config.load_config`), seen as files to be made."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Keep ``config``; datasets are indexed when they are first asked for."""
        self.config = config
        self.name: str = config["study"]
        self.results = config["results"]
        self._indexes: dict[str, Index] = {}
        self._clips: dict[str, dict[str, list[dict[str, Any]]]] = {}
        self._folds: dict[str, dict[str, str]] = {}
        self._labels: dict[str, dict[str, dict[str, str]]] = {}

    # --- datasets -----------------------------------------------------------------------------------------------------

    def dataset(self, name: str) -> dict[str, Any]:
        """Settings of a dataset; those of a demo dataset are completed from the block ``demo``."""
        if name == strangers.NAME:
            return strangers.SETTINGS | {"root": f"{self.results}/data/{name}/source"}
        settings = dict(self.config["datasets"][name])
        if file := settings.get("corrections") or self.config["corrections"]:
            settings |= {"corrections": file, "datasets": list(self.config["datasets"])}
        if settings["layout"] != "demo":
            return settings
        demo = self.config["demo"]
        macro = settings["kind"] == "macro"
        half = demo["subjects"] // 2
        return settings | {
            "root": f"{self.results}/data/{name}/source",
            "subjects": half if macro else demo["subjects"] - half,
            "first_subject": 0 if macro else half,
            "emotions": demo["emotions"],
            "clips_per_emotion": demo["macro_clips_per_emotion" if macro else "clips_per_emotion"],
            **({} if macro else {"frames": demo["frames"]}),
            "noise": demo["noise"],
            "drift": demo["drift"],
            "portraits": demo["portraits"],
            "seed": demo["seed"],
        }

    def index(self, name: str) -> Index:
        """The dataset's clips, listed once per run."""
        if name not in self._indexes:
            try:
                self._indexes[name] = index_dataset(name, self.dataset(name))
            except DatasetError as error:
                table = Path(self.results, "data", name, "problems.csv")
                write_problems(error.index.problems, table)
                raise InputError(f"{error}\n(the same as a table: {table})") from error
        return self._indexes[name]

    def layout_source(self, name: str) -> Path:
        """File that reads a dataset of this layout."""
        return layout_source(self.dataset(name)["layout"])

    def index_settings(self, name: str) -> dict[str, Any]:
        """What the job that lists a dataset needs; what was checked before and changes no row is left out."""
        left_out = ("datasets", "on_problem")
        return {key: value for key, value in self.dataset(name).items() if key not in left_out}

    def cache_rows(self, name: str) -> list[dict[str, Any]]:
        """What a cache takes from the index, clip by clip; not the whole table, whose every change would remake it."""
        names = (
            ("clip", "subject", "label", "kind")
            if self.has_frames(name)
            else ("clip", "subject", "label", "kind", "frames", "problem")
        )
        return [{key: getattr(clip, key) for key in names} for clip in self.index(name).clips]

    def stops(self, name: str) -> bool:
        """Whether a clip of this dataset that cannot be used stops the run."""
        return self.config["datasets"][name].get("on_problem") == "stop"

    def index_digest(self, name: str) -> str:
        """Changes when a row of ``clips.csv`` or of ``problems.csv`` would."""
        index = self.index(name)
        return digest(index.clips, index.classes, index.problems, index.source, index.counts)

    def subjects(self, dataset: str) -> list[str]:
        """File keys of the dataset's subjects."""
        return sorted({subject_key(clip.subject) for clip in self.index(dataset).clips})

    def clips(self, dataset: str, subject: str) -> list[dict[str, Any]]:
        """What alignment needs of one subject's clips."""
        if dataset not in self._clips:
            grouped = self._clips[dataset] = {}
            for clip in self.index(dataset).clips:
                row = {name: getattr(clip, name) for name in FOOTAGE}
                grouped.setdefault(subject_key(clip.subject), []).append(row)
        return self._clips[dataset][subject]

    def source(self, dataset: str, prep: str, subject: str) -> str:
        """Token of one subject's footage (:mod:`merflow.footage.fingerprints`)."""
        record = Path(self.results, "data", dataset, prep, "faces", f"{subject}.source.json")
        return source_token(self.clips(dataset, subject), record)

    def image_source(self, dataset: str, prep: str) -> str:
        """Token of the files of a dataset of flow images."""
        record = Path(self.results, "data", dataset, prep, "images.source.json")
        return source_token(self.image_rows(dataset), record)

    def image_rows(self, dataset: str) -> list[dict[str, str]]:
        """The images of a dataset of flow images, as :mod:`merflow.footage.fingerprints` reads them."""
        return [{"frames": clip.frames} for clip in self.index(dataset).clips]

    def has_frames(self, dataset: str) -> bool:
        """Whether a dataset goes through alignment, key-frames and flow; flow images enter at the cache."""
        return LAYOUTS[self.config["datasets"][dataset]["layout"]].has_frames

    @property
    def flow_images(self) -> list[str]:
        """Names of the datasets of flow images."""
        return [name for name in self.config["datasets"] if not self.has_frames(name)]

    def is_demo(self, dataset: str) -> bool:
        """Whether the workflow draws this dataset itself."""
        return dataset == strangers.NAME or self.config["datasets"][dataset]["layout"] == "demo"

    # --- adaptive key-frames ------------------------------------------------------------------------------------------

    def teacher(self, prep: str) -> str:
        """Dataset that the scorer of a preparation learns from; empty where its key-frames need none."""
        own = self.config["preparations"][prep]["keyframes"]
        return (own["learn_from"] or strangers.NAME) if own["method"] == "adaptive" else ""

    def scorer_file(self, prep: str) -> str:
        """Weights of the scorer of a preparation, or empty."""
        teacher = self.teacher(prep)
        return f"{self.results}/scorers/{teacher}/{prep}.safetensors" if teacher else ""

    def _taught(self, experiment: str) -> list[str]:
        """Datasets of an experiment whose names of people are those of its scorer's teacher; of drawn people, none."""
        teacher = self.teacher(self.experiments[experiment]["prep"])
        if teacher in ("", strangers.NAME):
            return []
        return [dataset for dataset in self.micro(experiment) if self._source(dataset) == self._source(teacher)]

    def _check_teacher(self, experiment: str) -> None:
        """Raise ConfigError where the scorer would learn from people who are tested, or has nothing to learn from."""
        prep = self.experiments[experiment]["prep"]
        teacher, where = self.teacher(prep), f"preparations.{prep}.keyframes.learn_from"
        if teacher in ("", strangers.NAME):
            return
        if tested := self._taught(experiment):
            reason = "" if teacher in tested else ", which has the same names of people"
            raise ConfigError(
                f"{where}: {teacher}: experiments.{experiment} tests {tested[0] if reason else 'it'}{reason}; the "
                "scorer may not learn from people who are tested: name a dataset of other people, or null"
            )
        moving = [clip for clip in self.index(teacher).clips if clip.kind != "still" and not clip.problem]
        people = {clip.subject for clip in moving if clip.apex is not None}
        if len(people) < 2:
            raise ConfigError(
                f"{where}: {teacher} has {len(moving)} moving clips, and annotated apexes of {len(people)} people; at "
                "least 2 are needed: name a dataset of moving clips with annotated apexes, or null"
            )

    # --- experiments --------------------------------------------------------------------------------------------------

    @cached_property
    def experiments(self) -> dict[str, dict[str, Any]]:
        """The declared experiments, and the floors that belong beside them."""
        declared = dict(self.config["experiments"])
        groups: dict[tuple, dict[str, Any]] = {}
        for experiment in declared.values():
            if experiment["system"] in LEARNED or experiment["system"] in NETWORKS:
                groups.setdefault(self._comparison(experiment), experiment)
        have = {(e["system"], *self._comparison(e)) for e in declared.values()}
        floors: dict[str, dict[str, Any]] = {}
        for group, experiment in groups.items():
            for system in self.config["floors"]:
                if (system, *group) in have:
                    continue
                name = (
                    system if len(groups) == 1 else "-".join(filter(None, [system, *group[0], *group[1:3], group[3]]))
                )
                name = f"floor-{name}" if name in declared else name
                own = {k: experiment[k] for k in ("micro", "prep", "protocol", *SPLIT, "classes") if k in experiment}
                held = {"validation": _held(experiment)}
                if system in NETWORKS:
                    own["network"] = complete_block(system, self.config["network"]) | held
                    own["loss"] = dict(NETWORKS[system].loss)
                # Where a seed draws the split or weights, the floors repeat it; else they draw nothing that matters.
                drawn = system in NETWORKS or "seeds" in SPLIT_OF.get(experiment["protocol"], ())
                # The split is that of the experiment; a floor that chooses no epoch trains on its validation clips too.
                floors[name] = own | {"system": system, "seeds": experiment["seeds"] if drawn else [0], "head": held}
        return declared | floors

    def _aligned(self, experiment: Mapping[str, Any]) -> str:
        """The first preparation in use for its datasets that aligns faces as its own does: the same clips come through.

        Systems with key-frames or flow of their own are so compared on the same splits, beside the same floors.
        """
        ways, prep, micro = self.config["preparations"], experiment["prep"], micro_datasets(experiment)
        used = {e["prep"] for e in self.config["experiments"].values() if micro_datasets(e) == micro}
        return next(name for name in ways if name in used and ways[name]["align"] == ways[prep]["align"])

    def _comparison(self, experiment: Mapping[str, Any]) -> tuple:
        """What two experiments must share to be comparable: datasets, alignment, protocol, classes."""
        split = "-".join(_joined(experiment[name]) for name in SPLIT_OF.get(experiment["protocol"], ()))
        shared = (
            self._aligned(experiment),
            experiment["protocol"] + (f"-{split}" if split else ""),
            _frozen(experiment.get("classes")),
        )
        return tuple(micro_datasets(experiment)), *shared

    @property
    def learned(self) -> list[str]:
        """Names of the experiments whose networks have graphs (TSDGCN)."""
        return [name for name, experiment in self.experiments.items() if experiment["system"] in LEARNED]

    @property
    def frozen(self) -> list[str]:
        """Experiments whose features are extracted once, for all folds."""
        return [name for name in self.learned if name not in self.in_fold]

    @property
    def in_fold(self) -> list[str]:
        """Experiments of which each fold is a job: their networks depend on it."""
        return self.graphs_in_fold + self.clip_networks

    @property
    def graphs_in_fold(self) -> list[str]:
        """Experiments whose networks with graphs depend on the fold (:mod:`merflow.systems.tsdgcn.fold_training`)."""
        return [
            name
            for name in self.learned
            if self.experiments[name]["transfer"] == "end-to-end" or self._excludes(self.experiments[name])
        ]

    @property
    def clip_networks(self) -> list[str]:
        """Experiments, floors among them, that train a network on clips (:mod:`merflow.systems.clip_networks`)."""
        return [name for name, experiment in self.experiments.items() if experiment["system"] in NETWORKS]

    @property
    def pretrained(self) -> list[str]:
        """Experiments that use weights which were pre-trained once, for all folds."""
        return [name for name in self.learned if self._shares_weights(self.experiments[name])]

    @staticmethod
    def _excludes(experiment: Mapping[str, Any]) -> bool:
        return experiment["pretrain"]["exclude_test_subjects"]

    def _shares_weights(self, experiment: Mapping[str, Any]) -> bool:
        return experiment["macro"] != NO_MACRO and not self._excludes(experiment)

    @property
    def floors(self) -> list[str]:
        """Names of the experiments that are baselines without a network."""
        return [name for name in self.experiments if name not in [*self.learned, *self.clip_networks]]

    def micro(self, experiment: str) -> list[str]:
        """Datasets that an experiment recognises."""
        return micro_datasets(self.experiments[experiment])

    def classes(self, experiment: str) -> list[str]:
        """Classes of an experiment: its own if it names some, else those of its datasets, in their order.

        Raises:
            ConfigError: fewer than two, or one that no dataset has.
        """
        own = self.experiments[experiment].get("classes")
        if own and not isinstance(own, list):
            layout = self.config["datasets"][self.micro(experiment)[0]]["layout"]
            return list(class_set(own, f"experiments.{experiment}.classes", layout, alone=False).classes)
        names = [name for dataset in self.micro(experiment) for name in self.index(dataset).classes]
        classes = list(dict.fromkeys(names))
        if own:
            unknown = [name for name in own if name not in classes]
            if unknown:
                raise ConfigError(
                    f"experiments.{experiment}.classes: no clip is labelled {', '.join(unknown)}; "
                    f"there are: {', '.join(classes)}"
                )
            return list(own)
        if len(classes) < 2:
            found = ", ".join(classes) or "none"
            raise ConfigError(
                f"experiments.{experiment}: its clips have {len(classes)} label ({found}); at least 2 are needed"
            )
        return classes

    def labels(self, experiment: str) -> dict[str, dict[str, str]]:
        """Label of each clip, by dataset, where the experiment names a class set or a map of its own; else empty."""
        if experiment not in self._labels:
            self._labels[experiment] = self._own_labels(experiment)
        return self._labels[experiment]

    def _own_labels(self, experiment: str) -> dict[str, dict[str, str]]:
        own = self.experiments[experiment].get("classes")
        if not own or isinstance(own, list):
            return {}
        where = f"experiments.{experiment}.classes"
        found = {}
        for dataset in self.micro(experiment):
            layout = self.config["datasets"][dataset]["layout"]
            found[dataset] = relabel(self.index(dataset), layout, class_set(own, where, layout, alone=False), where)
        return found

    def _check_classes(self, experiment: str) -> None:
        """Raise ConfigError where the classes of an experiment and the labels of its datasets do not fit together."""
        micro, own = self.micro(experiment), self.experiments[experiment].get("classes")
        sets = {self.index(dataset).class_set for dataset in micro} - {""}
        if not own and len(sets) > 1:
            raise ConfigError(
                f"experiments.{experiment}.micro: its datasets have different class sets ({', '.join(sorted(sets))}); "
                f"give them one, or give the experiment `classes`"
            )
        if len({self.has_frames(dataset) for dataset in micro}) > 1:
            raise ConfigError(
                f"experiments.{experiment}.micro: {', '.join(micro)} mix flow images, whose scale is not known, with "
                "flow in pixels"
            )
        if not own or isinstance(own, list):
            return
        where, found, unknown = f"experiments.{experiment}.classes", set(), Counter()
        for dataset in micro:
            layout = self.config["datasets"][dataset]["layout"]
            asked = class_set(own, where, layout, alone=False)
            unknown += unknown_words(self.index(dataset), layout, asked)
            found |= set(self.labels(experiment)[dataset].values())
        if unknown:
            words = ", ".join(f"{word} ({count} clips)" for word, count in unknown.most_common())
            raise ConfigError(f"{where}: the set does not know the labels {words}; map them, or choose another set")
        missing = [name for name in self.classes(experiment) if name not in found]
        if missing and isinstance(own, Mapping):  # Of a named set, a user may hold a part.
            raise ConfigError(f"{where}: no clip has a label for the class {', '.join(missing)}")

    def class_counts(self, experiment: str) -> list[dict[str, Any]]:
        """Clips of each class that an experiment recognises: ``label, expected`` (published, or None) and ``found``."""
        classes, labels = self.classes(experiment), self.labels(experiment)
        expected: dict[str, int] | None = dict.fromkeys(classes, 0)
        found = dict.fromkeys(classes, 0)
        for dataset in self.micro(experiment):
            settings, own = self.config["datasets"][dataset], self.experiments[experiment].get("classes")
            asked = own if labels else settings.get("classes")
            published = class_set(asked, dataset, settings["layout"]).published(settings["layout"])
            for clip in self.index(dataset).clips:
                label = labels[dataset][clip.clip] if labels else clip.label
                if label in found:
                    found[label] += 1
            if expected is None or published is None or not set(classes) <= set(published.counts):
                expected = None
                continue
            for name in classes:
                expected[name] += published.counts[name]
        return [{"label": c, "expected": expected[c] if expected else None, "found": found[c]} for c in classes]

    def check(self) -> None:
        """Ask of every experiment what its clips must offer, before any job starts.

        Raises:
            InputError: a dataset cannot be used.
            ConfigError: an experiment cannot run on its clips; the message names the key.
        """
        wrong = []
        teachers = [self.teacher(prep) for _, prep in self.prepared()]
        for dataset in dict.fromkeys([*(dataset for dataset, _ in self.prepared()), *filter(None, teachers)]):
            try:
                self.index(dataset)
            except MerflowError as error:
                text = str(error)
                wrong.append(text if dataset in text else f"dataset {dataset}: {text}")
        if wrong:
            raise InputError("\n\n".join(dict.fromkeys(wrong)))
        for name, experiment in self.experiments.items():
            self._check_classes(name)
            self._check_teacher(name)
            classes, labels = self.classes(name), self.labels(name)
            usable = [
                clip
                for dataset in self.micro(name)
                for clip in self.index(dataset).clips
                if labels.get(dataset, {}).get(clip.clip, clip.label) in classes and not clip.problem
            ]
            people = sorted({clip.subject for clip in usable})
            if len(people) < 2:
                found = ", ".join(people) or "nobody"
                raise ConfigError(
                    f"experiments.{name}.micro: labelled clips of {found} only; loso needs 2 subjects or more"
                )
            databases = sorted({database(person) for person in people})
            protocol = experiment["protocol"]
            if protocol in ("composite-loso", "cross-dataset") and len(databases) < 2:
                raise ConfigError(
                    f"experiments.{name}.protocol: {protocol} is for several databases; the clips are of "
                    f"{databases[0]} only: give loso, or more datasets in `micro`"
                )
            if protocol == "subject-kfold" and len(people) < experiment["folds"]:
                raise ConfigError(
                    f"experiments.{name}.folds: {experiment['folds']} folds need as many subjects, found {len(people)}"
                )
            if protocol == "paper-holdout" and (experiment["test_clips"] or 1) >= len(usable):
                raise ConfigError(
                    f"experiments.{name}.test_clips: {experiment['test_clips']} of {len(usable)} leave none to train"
                )
            if experiment["system"] not in LEARNED and experiment["system"] not in NETWORKS:
                continue
            without = [dataset for dataset in self.micro(name) if not self.has_frames(dataset)]
            if without and input_kind(experiment["system"], experiment.get("network", {})) == "key-frames":
                raise ConfigError(
                    f"experiments.{name}.micro: {without[0]!r} holds flow images and no frames; give network: "
                    "{input_kind: flows}"
                )
            searched = [("grid.loss", alpha) for alpha in experiment.get("grid", {}).get("loss.alpha", [])]
            for block, alpha in [("loss", experiment["loss"].get("alpha")), *searched]:
                if isinstance(alpha, list) and len(alpha) != len(classes):
                    raise ConfigError(
                        f"experiments.{name}.{block}.alpha: {len(alpha)} values for {len(classes)} classes "
                        f"({', '.join(classes)}); give one each, or one number"
                    )
            if experiment["system"] not in LEARNED or experiment["macro"] == NO_MACRO:
                continue
            macro = {c.label for c in self.index(experiment["macro"]).clips if c.label and not c.problem}
            if len(macro) < 2:
                found = ", ".join(sorted(macro)) or "none"
                raise ConfigError(
                    f"experiments.{name}.macro: the clips of {experiment['macro']} have {len(macro)} label ({found}); "
                    "pre-training needs 2 or more"
                )
        for name, inner in self._tables.items():
            try:
                inner.check()
            except ConfigError as error:
                raise ConfigError(f"tables.{name}: {error}") from error

    def prepared(self) -> list[tuple[str, str]]:
        """Every (dataset, preparation) that the study uses, in order of first use."""
        used = {}
        for name, experiment in self.experiments.items():
            own = experiment["macro"] if experiment["system"] in LEARNED else NO_MACRO
            for dataset in ([] if own == NO_MACRO else [own]) + self.micro(name):
                used[dataset, experiment["prep"]] = None
        return list(used | dict.fromkeys(pair for inner in self._tables.values() for pair in inner.prepared()))

    def finetune_settings(self, experiment: str) -> FinetuneSettings:
        """Settings of the heads of an experiment."""
        e = self.experiments[experiment]
        return FinetuneSettings(
            experiment,
            self._clip_settings(experiment),
            e["branches"],
            e["fusion"],
            _loss(e),
            _head(e),
            _selection(e),
            self.split_files(experiment),
        )

    def folds(self, experiment: str) -> dict[str, str]:
        """Name of each fold by its file key, of the subjects with a labelled clip that can be used."""
        if experiment not in self._folds:
            self._folds[experiment] = self._fold_names(experiment)
        return self._folds[experiment]

    def _fold_names(self, experiment: str) -> dict[str, str]:
        classes, labels = self.classes(experiment), self.labels(experiment)
        people = {
            clip.subject
            for dataset in self.micro(experiment)
            for clip in self.index(dataset).clips
            if labels.get(dataset, {}).get(clip.clip, clip.label) in classes and not clip.problem
        }
        e = self.experiments[experiment]
        return {safe_filename(name): name for name in fold_names(e["protocol"], people, e.get("folds"))}

    def fold_settings(self, experiment: str, seed: str) -> FoldTrainingSettings:
        """Settings of one fold of an experiment whose SGCNs depend on the fold."""
        e = self.experiments[experiment]
        pretrain = {key: value for key, value in e["pretrain"].items() if key != "exclude_test_subjects"}
        return FoldTrainingSettings(
            experiment,
            self._clip_settings(experiment),
            e["branches"],
            e["fusion"],
            _loss(e),
            _head(e),
            _selection(e),
            {int(seed): self.split_files(experiment)[int(seed)]},
            e["transfer"],
            e["temporal"]["signal"],
            PretrainSettings(**pretrain) if self._excludes(e) else None,
            [network["seed"] for network in self._networks(e, int(seed)).values()],
        )

    def network_settings(self, experiment: str, seed: str) -> ClipNetworkSettings:
        """Settings of one fold of a network that reads clips."""
        e = self.experiments[experiment]
        return ClipNetworkSettings(
            experiment,
            self._clip_settings(experiment),
            network_settings(e["system"], e["network"]),
            _loss(e),
            _selection(e),
            {int(seed): self.split_files(experiment)[int(seed)]},
        )

    def fold_graphs(self, experiment: str, seed: int) -> list[str]:
        """Graph of each network of one repeat, in the order of ``graphs``."""
        return [network["graph"] for network in self._networks(self.experiments[experiment], seed).values()]

    def fold_weights(self, experiment: str, seed: str) -> list[str]:
        """Pre-trained weights that a fold starts from; empty where it has none, or makes its own."""
        e = self.experiments[experiment]
        if not self._shares_weights(e):
            return []
        folder = f"{self.results}/pretrained/{e['macro']}/{e['prep']}"
        return [f"{folder}/{name}.safetensors" for name in self._networks(e, int(seed))]

    @property
    def trained(self) -> list[str]:
        """Names of the experiments, floors among them, that leave trained networks."""
        return self.learned + self.clip_networks

    def model_files(self, experiment: str) -> list[dict[str, Any]]:
        """The files that training leaves: ``file``, and of a file of one fold its ``seed`` and ``fold``."""
        folder = f"{self.results}/{self.name}/experiments/{experiment}"
        if experiment in self.frozen:
            return [{"file": f"{folder}/heads.safetensors"}]
        return [
            {"seed": seed, "fold": name, "file": f"{folder}/folds/{seed}/{own}/model.safetensors"}
            for seed in self.experiments[experiment]["seeds"]
            for own, name in self.folds(experiment).items()
        ]

    def ensemble_settings(self, experiment: str) -> dict[str, Any]:
        """What :func:`merflow.inference.ensemble.gather_ensemble` is told of an experiment."""
        e = self.experiments[experiment]
        own = {name: e[name] for name in ("system", "prep", "protocol", "seeds")}
        own |= {"experiment": experiment, "classes": self.classes(experiment), "micro": self.micro(experiment)}
        own["selection"] = _choice(e)["selection"]
        own["refits"] = bool(e.get("network", {}).get("refit", False)) and experiment in self.clip_networks
        if experiment in self.clip_networks:
            given = network_settings(e["system"], e["network"])
            return own | {"macro": NO_MACRO, "networks": {}, "reads": {"kind": given.input_kind, "side": given.side}}
        reads = {"kind": SIGNALS, "side": e["graph"]["side"], "branches": e["branches"], "fusion": e["fusion"]}
        networks = {}
        for seed in e["seeds"]:
            graphs = [f"{self.results}/graphs/{graph}.h5" for graph in self.fold_graphs(experiment, seed)]
            weights = self.fold_weights(experiment, str(seed)) if experiment in self.frozen else []
            networks[seed] = [{"graph": graph} for graph in graphs]
            for one, file in zip(networks[seed], weights, strict=False):
                one["weights"] = file
        own |= {"reads": reads | {"signal": e["temporal"]["signal"]}, "networks": networks}
        return own | {"macro": e["macro"]}

    def ensemble_files(self, experiment: str) -> list[str]:
        """``ensemble.json`` of an experiment, and every file that it points to."""
        files = [model["file"] for model in self.model_files(experiment)] + self.ensemble_networks(experiment)
        return [f"{self.results}/{self.name}/experiments/{experiment}/ensemble.json", *files]

    @property
    def exported(self) -> list[str]:
        """Experiments that ``snakemake export`` writes as ONNX."""
        asked = self.config["export"]["experiments"]
        if asked is None:
            return [name for name in self.trained if name in self.config["experiments"]]
        if unknown := [name for name in asked if name not in self.trained]:
            raise ConfigError(
                f"export.experiments: {unknown[0]!r} trains no network; there are: {', '.join(self.trained)}"
            )
        return list(asked)

    def export_settings(self, experiment: str) -> dict[str, Any]:
        """What :func:`merflow.inference.onnx_export.export_onnx` is told of an experiment beside its files."""
        e = self.experiments[experiment]
        roles = dict.fromkeys(self.micro(experiment), "recognised")
        if experiment in self.learned and e["macro"] != NO_MACRO:
            roles.setdefault(e["macro"], "pre-training")
        layouts = {name: self.config["datasets"][name]["layout"] for name in roles}
        beside = [name for name in self.experiments if name not in self.config["experiments"]]
        return {
            "members": self.config["export"]["members"],
            "preparation": self.config["preparations"][e["prep"]],
            "datasets": [
                {"name": name, "layout": layouts[name], "role": role, "licence": LAYOUTS[layouts[name]].licence}
                for name, role in roles.items()
            ],
            "counts": self.class_counts(experiment),
            "photographs": bool(self.config["demo"]["portraits"]),
            "floors": [n for n in beside if self._comparison(self.experiments[n]) == self._comparison(e)],
        }

    def ensemble_networks(self, experiment: str) -> list[str]:
        """Graphs of an experiment, and the weights that its folds share."""
        networks = self.ensemble_settings(experiment)["networks"].values()
        return list(dict.fromkeys(file for own in networks for one in own for file in one.values()))

    def fold_macro(self, experiment: str) -> list[str]:
        """Cache of the macro set that a fold pre-trains on without the people it tests; else empty."""
        e = self.experiments[experiment]
        return [f"{self.results}/data/{e['macro']}/{e['prep']}/cache.h5"] if self._excludes(e) else []

    def floor_settings(self, experiment: str) -> LinearSettings:
        """Settings of a baseline."""
        e = self.experiments[experiment]
        return LinearSettings(experiment, e["system"], self._clip_settings(experiment), self.split_files(experiment))

    def _clip_settings(self, experiment: str) -> ClipSettings:
        return ClipSettings(self.micro(experiment), self.classes(experiment), self.labels(experiment))

    def _recognised(self, experiment: str) -> dict[str, Any]:
        """What an experiment recognises; ``labels`` only where they are not those of the caches."""
        labels = self.labels(experiment)
        named = {"datasets": self.micro(experiment), "classes": self.classes(experiment)}
        return {"experiment": experiment, **named, **({"labels": labels} if labels else {})}

    def report_settings(self) -> ReportSettings:
        """What the report says of the study beside its tables."""
        preparations = self.config["preparations"].values()
        keyframes = [preparation["keyframes"] for preparation in preparations]
        return ReportSettings(
            name=self.name,
            title=self.config["title"] or self.name,
            synthetic=any(self.is_demo(dataset) for dataset, _ in self.prepared()),
            prepared=self.prepared(),
            layouts={name: dataset["layout"] for name, dataset in self.config["datasets"].items()},
            demo_portraits=bool(self.config["demo"]["portraits"]),
            head_motion_subtracted=all(preparation["flow"]["rigid"] for preparation in preparations),
            scorer_datasets=[k["learn_from"] or strangers.NAME for k in keyframes if k["method"] == "adaptive"],
            uncertain_below=self.config["predict"]["uncertain_below"],
            experiments={
                name: ExperimentSettings(
                    system=e["system"],
                    datasets=self.micro(name),
                    floor=name in self.floors or name not in self.config["experiments"],
                    reading=self._reading(name),
                    class_counts=[ClassCount(**count) for count in self.class_counts(name)],
                )
                for name, e in self.experiments.items()
            },
            tables={
                name: VariantTableSettings(table["title"] or name, table["of"], table["published"])
                for name, table in self.config["tables"].items()
            },
            figures={name: self.figure_settings(name) for name in self.figures},
            graphs={name: GraphSettings(**graph) for name, graph in self.shown_graphs.items()},
            config=self.config,
            benchmarks=f"{self.results}/benchmarks",
        )

    @cached_property
    def shown_graphs(self) -> dict[str, dict[str, list[str]]]:
        """Graphs that the report draws, of each experiment's first seed: ``experiments`` and their ``datasets``."""
        found: dict[str, dict[str, list[str]]] = {}
        for experiment in self.learned:
            for graph in self.fold_graphs(experiment, self.experiments[experiment]["seeds"][0]):
                entry = found.setdefault(graph, {"experiments": [], "datasets": []})
                entry["experiments"] += [name for name in [experiment] if name not in entry["experiments"]]
                entry["datasets"] += [name for name in self.micro(experiment) if name not in entry["datasets"]]
        return found

    def _reading(self, experiment: str) -> str:
        """What an experiment's system was rebuilt from, where the paper itself was not at hand; else empty."""
        system = self.experiments[experiment]["system"]
        return NETWORKS[system].reading if system in NETWORKS else ""

    # --- splits -------------------------------------------------------------------------------------------------------

    @cached_property
    def splits(self) -> dict[str, dict[str, Any]]:
        """What decides each split but its seed, by the name that its files begin with; cells of tables included.

        Experiments on the same clips under the same protocol have one in common.
        """
        found = {}
        for experiment, e in self.experiments.items():
            found[self.split_name(experiment)] = {
                "prep": self._aligned(e),
                "settings": SplitSettings(
                    e["protocol"], e["folds"], e["test_clips"], _held(e), self._clip_settings(experiment)
                ),
            }
        return found | {name: split for inner in self._tables.values() for name, split in inner.splits.items()}

    def split_name(self, experiment: str) -> str:
        """What the names of an experiment's files of splits begin with; a corrected label changes no name."""
        e = self.experiments[experiment]
        asked = [_joined(e[name]) for name in SPLIT_OF.get(e["protocol"], ()) if name in SPLIT]
        own = digest(self.micro(experiment), self._aligned(e), asked, _frozen(e.get("classes")), float(_held(e)))
        return f"{e['protocol']}-{'-'.join(self.micro(experiment))[:80]}-{own[:6]}"

    def split_files(self, experiment: str) -> dict[int, str]:
        """The table of splits of each seed."""
        folder, name = f"{self.results}/{self.name}/splits", self.split_name(experiment)
        return {seed: f"{folder}/{name}-seed{seed}.csv" for seed in self.experiments[experiment]["seeds"]}

    # --- leakage audit ------------------------------------------------------------------------------------------------

    def audit_plan(self) -> list[AuditSettings]:
        """What the leakage audit checks: every experiment, and the cells of a table once for each split."""
        plan = [self._audited(name) | {"experiment": name, "scored": True} for name in self.experiments]
        for table, inner in self._tables.items():
            entries: dict[str, dict[str, Any]] = {}
            for cell in inner.experiments:
                entry = inner._audited(cell)
                entries.setdefault(digest(entry), entry | {"experiment": f"table {table}: {cell}", "scored": False})
            alone = {"experiment": f"table {table}"} if len(entries) == 1 else {}
            plan += [entry | alone for entry in entries.values()]
        return [AuditSettings(**entry) for entry in plan]

    def _audited(self, experiment: str) -> dict[str, Any]:
        e, data = self.experiments[experiment], f"{self.results}/data"
        learned, macro = e["system"] in LEARNED, e.get("macro", NO_MACRO)
        chooses = (learned or e["system"] in NETWORKS) and _choice(e)["selection"] != "none"
        refits = e.get("network", {}).get("refit", False)
        pretrains = learned and macro != NO_MACRO
        return {
            "splits": self.split_files(experiment),
            "caches": {dataset: f"{data}/{dataset}/{e['prep']}/cache.h5" for dataset in self.micro(experiment)},
            "macro": f"{data}/{macro}/{e['prep']}/cache.h5" if pretrains else "",
            "same_people": [d for d in self.micro(experiment) if pretrains and self._source(d) == self._source(macro)],
            "excludes_test_people": pretrains and self._excludes(e),
            "scorer": "" if self.teacher(e["prep"]) == strangers.NAME else self.scorer_file(e["prep"]),
            "scorer_people": self._taught(experiment),
            "divides_subjects": e["protocol"] == "paper-holdout",
            "fitted_parts": ["train"] if chooses and not refits else ["train", "validation"],
        }

    def _source(self, dataset: str) -> str:
        """Whose names of people a dataset has: two with the same answer call one person by one name.

        MMEW's macro and micro clips do, and manifests, which one user writes. Demo datasets count their people from
        one each, and draw different faces for them.
        """
        layout = self.config["datasets"][dataset]["layout"]
        return dataset if self.is_demo(dataset) else LAYOUTS[layout].people or layout

    # --- tables of variants -------------------------------------------------------------------------------------------

    @cached_property
    def _tables(self) -> dict[str, "Study"]:
        """A study of the cells of each table; it shares this one's datasets."""
        found = {}
        for name in self.config["tables"]:
            cells = {f"{row} | {column}": cell for row, column, cell in table_cells(self.config, name)}
            found[name] = Study({**self.config, "experiments": cells, "floors": [], "tables": {}})
            found[name]._indexes, found[name]._clips = self._indexes, self._clips
        return found

    def cells(self, table: str) -> list[dict[str, Any]]:
        """The cells of a table, as :func:`merflow.systems.tsdgcn.variant_tables.run_table` takes them."""
        inner = self._tables[table]
        return [
            {
                "row": row,
                "column": column,
                "protocol": inner.experiments[f"{row} | {column}"]["protocol"],
                "finetune": asdict(inner.finetune_settings(f"{row} | {column}")),
                "features": inner.feature_plan(f"{row} | {column}"),
                "weights": inner.weight_files(f"{row} | {column}"),
            }
            for row, column, _ in table_cells(self.config, table)
        ]

    def table_files(self, table: str, kind: str) -> list[str]:
        """Files that a table's cells need, each once: ``features``, ``weights`` or ``splits``."""
        inner = self._tables[table]
        kinds = {"features": inner.feature_files, "weights": inner.weight_files}
        files = kinds.get(kind, lambda name: inner.split_files(name).values())
        return list(dict.fromkeys(file for name in inner.experiments for file in files(name)))

    # --- figures ------------------------------------------------------------------------------------------------------

    @cached_property
    def figures(self) -> dict[str, dict[str, Any]]:
        """Every table of variants and every block of ``figures``, by name: ``kind, of, published, title, note``.

        Raises:
            ConfigError: a block shows a floor that is not there, or not by this name.
        """
        tables = {
            name: {"kind": "variants", "of": [table["of"]], "note": ""}
            | {"published": table["published"], "title": table["title"] or name}
            for name, table in self.config["tables"].items()
        }
        own = {
            name: figure | {"of": named_experiments(figure), "title": figure["title"] or name}
            for name, figure in self.config["figures"].items()
        }
        for name, figure in own.items():
            if unknown := [experiment for experiment in figure["of"] if experiment not in self.experiments]:
                there = ", ".join(self.experiments)
                raise ConfigError(f"figures.{name}.of: no experiment or floor {unknown[0]!r}; there are: {there}")
        return tables | own

    def figure_inputs(self, name: str) -> dict[str, Any]:
        """Files that a figure is made of, as :func:`merflow.evaluation.figure_tables.tabulate_figure` takes them."""
        figure, folder = self.figures[name], f"{self.results}/{self.name}"
        if figure["kind"] == "variants":
            return {"table": f"{folder}/tables/{name}.csv"}
        if figure["kind"] == "flow-statistics":
            (experiment,) = figure["of"]
            prep = self.experiments[experiment]["prep"]
            return {"caches": [f"{self.results}/data/{dataset}/{prep}/cache.h5" for dataset in self.micro(experiment)]}
        needs = {"methods": ["metrics"], "stages": ["metrics", "accuracy"], "confusion": ["metrics", "predictions"]}
        files = {"metrics": "metrics", "accuracy": "accuracy_train", "predictions": "predictions"}
        return {table: f"{folder}/{files[table]}.csv" for table in needs[figure["kind"]]}

    def figure_settings(self, name: str) -> FigureSettings:
        """Everything beside its files that decides a figure."""
        figure = self.figures[name]
        systems_of: dict[str, list[str]] = {}
        for e in figure["of"]:
            if self._reading(e):
                systems_of.setdefault(self._reading(e), []).append(e)
        kind = figure["kind"]
        flow_labels = None
        if kind == "flow-statistics":
            (experiment,) = figure["of"]
            labels = self.labels(experiment) or None
            flow_labels = ClipLabels(self.micro(experiment), self.classes(experiment), labels)
        tried = {"flow-statistics": 0, "variants": len(table_cells(self.config, name)) if kind == "variants" else 0}
        return FigureSettings(
            kind=kind,
            title=figure["title"],
            note=figure["note"],
            published=figure["published"],
            reading=" ".join(f"{', '.join(names)}: {r} (docs/fidelity.md)." for r, names in systems_of.items()),
            synthetic=any(self.is_demo(dataset) for e in figure["of"] for dataset in self.micro(e)),
            tried=tried.get(kind, self.tried),
            experiments={} if kind in tried else {e: self._shown(e) for e in figure["of"]},
            flow_labels=flow_labels,
        )

    @cached_property
    def tried(self) -> int:
        """How many different configurations of networks the study tries, cells of tables included; of floors, none."""
        cells = [cell for name in self.config["tables"] for _, _, cell in table_cells(self.config, name)]
        trained = [name for name in (*self.learned, *self.clip_networks) if name in self.config["experiments"]]
        return len({_configuration(e) for e in [*(self.experiments[name] for name in trained), *cells]})

    def _shown(self, experiment: str) -> FigureExperiment:
        e = self.experiments[experiment]
        return FigureExperiment(e["system"], e.get("macro", NO_MACRO), self.micro(experiment), self.classes(experiment))

    # --- graphs, weights, features ------------------------------------------------------------------------------------

    @property
    def graph_names(self) -> list[str]:
        """Names of all graphs, those of tables of variants among them."""
        return list(self._graphs)

    def graph(self, graph: str) -> dict[str, Any]:
        """Settings of a graph, by its name."""
        return self._graphs[graph]

    def weights(self, weights: str) -> dict[str, Any]:
        """Settings of pre-trained weights, by their name: ``graph``, ``seed``, ``settings``."""
        return self._weights[weights]

    def feature_files(self, experiment: str) -> list[str]:
        """Feature files of an experiment, in the order of :meth:`feature_plan`."""
        return [file for datasets in self.feature_plan(experiment).values() for graphs in datasets for file in graphs]

    def feature_plan(self, experiment: str) -> dict[int, list[list[str]]]:
        """For each seed, for each micro dataset, the feature files of the one or two networks (Eq. 4)."""
        e = self.experiments[experiment]
        return {
            seed: [
                [
                    f"{self.results}/features/{e['prep']}/{e['macro']}/{weights}/{dataset}-{e['temporal']['signal']}.h5"
                    for weights in self._networks(e, seed)
                ]
                for dataset in self.micro(experiment)
            ]
            for seed in e["seeds"]
        }

    def networks(self, experiment: str) -> list[dict[str, Any]]:
        """The pre-trained networks of an experiment: ``experiment, repeat, name`` (such as ``8+2``) and ``weights``."""
        e = self.experiments[experiment]
        return [
            {
                "experiment": experiment,
                "repeat": seed,
                "name": f"{name} (second)" if name in e["graphs"][:place] else name,
                "weights": weights,
            }
            for seed in e["seeds"]
            for place, (name, weights) in enumerate(zip(e["graphs"], self._networks(e, seed), strict=True))
        ]

    def weight_files(self, experiment: str, suffix: str = ".safetensors") -> list[str]:
        """Weights (or, with ``.csv``, training curves) of :meth:`networks`, in their order."""
        e = self.experiments[experiment]
        folder = f"{self.results}/pretrained/{e['macro']}/{e['prep']}"
        return [f"{folder}/{network['weights']}{suffix}" for network in self.networks(experiment)]

    @cached_property
    def _weights(self) -> dict[str, dict[str, Any]]:
        return {
            name: weights
            for experiment in self.pretrained
            for seed in self.experiments[experiment]["seeds"]
            for name, weights in self._networks(self.experiments[experiment], seed).items()
        } | {name: weights for inner in self._tables.values() for name, weights in inner._weights.items()}

    @cached_property
    def _graphs(self) -> dict[str, dict[str, Any]]:
        return {
            weights["graph"]: weights["graph_settings"]
            for experiment in self.learned
            for seed in self.experiments[experiment]["seeds"]
            for weights in self._networks(self.experiments[experiment], seed).values()
        } | {name: graph for inner in self._tables.values() for name, graph in inner._graphs.items()}

    @staticmethod
    def _networks(experiment: Mapping[str, Any], seed: int) -> dict[str, dict[str, Any]]:
        """The networks of one repeat, by the name of their weights, in the order of ``graphs``."""
        networks = {}
        for place, specification in enumerate(experiment["graphs"]):
            # The second network of one specification (Table VII: 8+2 and 8+2) has a seed of its own.
            own = int(digest(seed, "twin"), 16) % 2**31 if specification in experiment["graphs"][:place] else seed
            p, q = map(int, specification.split("+"))
            settings = {"p": p, "q": q, **experiment["graph"], "seed": own}
            sigma = settings["sigma"]
            graph = f"{p}+{q}-{settings['side']}px-T{settings['threshold']:.10g}-sigma-{sigma}-seed{own}"
            name = f"{graph}-{digest(sorted(experiment['pretrain'].items()))[:6]}"
            networks[name] = {
                "graph": graph,
                "graph_settings": settings,
                "seed": own,
                "settings": {
                    key: value for key, value in experiment["pretrain"].items() if key != "exclude_test_subjects"
                },
            }
        return networks


def _held(experiment: Mapping[str, Any]) -> float:
    """Share of the training subjects that chooses the epoch."""
    return experiment.get("network", experiment["head"])["validation"]


def _choice(experiment: Mapping[str, Any]) -> dict[str, Any]:
    """What :mod:`merflow.protocols.selection` is told; a floor has no say in it."""
    selection = experiment.get("selection", "validation")
    if selection == "nested":
        return {name: experiment[name] for name in ("selection", "grid", "inner_folds")}
    return {"selection": "none" if selection == "none" else "validation"}


def _selection(experiment: Mapping[str, Any]) -> SelectionSettings:
    choice = _choice(experiment)
    if choice["selection"] == "nested":
        return SelectionSettings("nested", choice["grid"], choice["inner_folds"], _held(experiment))
    return SelectionSettings(choice["selection"], {}, 0, 0.0)


def _loss(experiment: Mapping[str, Any]) -> LossSettings:
    loss = experiment["loss"]
    if loss["name"] == "cross-entropy":
        return LossSettings("cross-entropy", 1.0, 0.0)
    return LossSettings(loss["name"], loss["alpha"], loss["gamma"])


def _head(experiment: Mapping[str, Any]) -> HeadSettings:
    return HeadSettings(**{key: value for key, value in experiment["head"].items() if key != "validation"})


def subject_key(subject: str) -> str:
    """File key of a subject id: ``samm/006`` gives ``006``."""
    return safe_filename(subject.split("/", 1)[1])


def _configuration(experiment: Mapping[str, Any]) -> str:
    """An experiment as text that is the same for equal settings: 1 and 1.0; the focal parameters of a cross entropy."""
    if experiment["system"] in NETWORKS:
        used = (
            "system",
            "micro",
            "prep",
            "protocol",
            *SPLIT,
            "classes",
            "seeds",
            "network",
            "loss",
            "selection",
            "grid",
        )
        return json.dumps(_numbers_as_floats({name: experiment.get(name) for name in used}), sort_keys=True)
    loss = experiment["loss"]
    unused = ("alpha", "gamma") if loss["name"] == "cross-entropy" else ()
    own = dict(experiment) | {"loss": {name: value for name, value in loss.items() if name not in unused}}
    return json.dumps(_numbers_as_floats(own), sort_keys=True)


def _numbers_as_floats(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _numbers_as_floats(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_numbers_as_floats(inner) for inner in value]
    return float(value) if type(value) is int else value


def _frozen(classes: Any) -> str:
    """Classes of an experiment as part of a name: those of its datasets are empty."""
    if isinstance(classes, Mapping):
        return digest(sorted(classes["map"].items()), classes.get("column"))[:6]
    return classes if isinstance(classes, str) else "-".join(classes or ())


def _joined(value: Any) -> str:
    """A setting as part of a name."""
    return ".".join(map(str, value)) if isinstance(value, list) else "default" if value is None else str(value)
