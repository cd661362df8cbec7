"""What a study says of trained networks that it passes on (docs/weights.md)."""

from merflow.inference.settings import PackSettings
from merflow.study.publishing import Publishing


def packable_experiments(publishing: Publishing) -> list[str]:
    """Experiments whose networks can answer in another study: they read clips with frames."""
    experiments, data = publishing.experiments, publishing.data
    return [
        name
        for name in publishing.config.experiments
        if name in experiments.network_experiments and all(map(data.has_frames, experiments[name].datasets))
    ]


def pack_settings(publishing: Publishing, name: str, version: str) -> PackSettings:
    """What the archive of an experiment's networks says of their training."""
    e, data, paths = publishing.experiments[name], publishing.data, publishing.paths
    preparation = publishing.config.preparations[e.prep].model_dump(by_alias=True)
    del preparation["keyframes"]["learn_from"]  # The scorer itself is packed.
    clips = [clip for dataset in e.training_datasets for clip in publishing.experiments.usable_clips_of(name, dataset)]
    return PackSettings(
        paths.name,
        name,
        version,
        preparation,
        data.scorer_file(e.prep),
        len({clip.subject for clip in clips}),
        len(clips),
        [paths.prepared(dataset, e.prep, "cache.h5") for dataset in e.training_datasets],
        [paths.prepared(dataset, e.prep, "quality.csv") for dataset in e.training_datasets],
        data.fps_range(e.training_datasets),
        publishing.export_settings(name),
    )
