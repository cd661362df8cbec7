rule train_fold:
    input:
        caches=lambda w: training.training_caches(w.experiment),
        graphs=lambda w: training.graph_files(w.experiment, int(w.seed)),
        weights=lambda w: training.fold_weights(w.experiment, int(w.seed)),
        macro=lambda w: training.fold_macro_cache(w.experiment),
        splits=lambda w: training.splits(w.experiment)[int(w.seed)],
    output:
        **tables("<study>/experiments/{experiment}/folds/{seed}/{folds}"),
        model="<study>/experiments/{experiment}/folds/{seed}/{folds}/model.safetensors",
    log:
        "<logs>/train_fold/<name>/{experiment}/{seed}/{folds}.log",
    benchmark:
        "<benchmarks>/train_fold/<name>/{experiment}/{seed}/{folds}.tsv"
    wildcard_constraints:
        experiment=one_of(experiments.graph_fold_experiments),
    conda:
        "../../envs/learn.yaml"
    resources:
        gpu=GPUS,
    params:
        code=script_hash("train_fold"),
        # Reruns if `training.fold_settings` changes; it leaves out keys of graphs, weights and splits, which are files.
        settings=lambda w: asdict(training.fold_settings(w.experiment, int(w.seed))),
        folds=lambda w: training.folds_of_group(w.experiment, w.folds),
    message:
        "Train the folds {wildcards.folds} of experiment {wildcards.experiment}, seed {wildcards.seed}"
    script:
        "../scripts/train_fold.py"


rule train_clip_network:
    input:
        caches=lambda w: training.training_caches(w.experiment),
        splits=lambda w: training.splits(w.experiment)[int(w.seed)],
    output:
        **tables("<study>/experiments/{experiment}/folds/{seed}/{folds}"),
        model="<study>/experiments/{experiment}/folds/{seed}/{folds}/model.safetensors",
    log:
        "<logs>/train_clip_network/<name>/{experiment}/{seed}/{folds}.log",
    benchmark:
        "<benchmarks>/train_clip_network/<name>/{experiment}/{seed}/{folds}.tsv"
    wildcard_constraints:
        experiment=one_of(experiments.clip_network_experiments),
    conda:
        "../../envs/learn.yaml"
    resources:
        gpu=GPUS,
    params:
        code=script_hash("train_clip_network"),
        network=lambda w: network_code(w.experiment),
        # Reruns if `training.clip_network_settings` changes; it leaves out the options of other networks.
        settings=lambda w: asdict(training.clip_network_settings(w.experiment, int(w.seed))),
        folds=lambda w: training.folds_of_group(w.experiment, w.folds),
    message:
        "Train the folds {wildcards.folds} of experiment {wildcards.experiment}, seed {wildcards.seed}"
    script:
        "../scripts/train_clip_network.py"
