rule train_fold:
    input:
        caches=lambda w: training.caches(w.experiment),
        graphs=lambda w: training.graph_files(w.experiment, int(w.seed)),
        weights=lambda w: training.fold_weights(w.experiment, int(w.seed)),
        macro=lambda w: training.fold_macro_cache(w.experiment),
        splits=lambda w: training.splits(w.experiment)[int(w.seed)],
    output:
        predictions="<study>/experiments/{experiment}/folds/{seed}/{fold}/<predictions>",
        accuracy="<study>/experiments/{experiment}/folds/{seed}/{fold}/<accuracy>",
        curves="<study>/experiments/{experiment}/folds/{seed}/{fold}/<curves>",
        validation="<study>/experiments/{experiment}/folds/{seed}/{fold}/<validation>",
        model="<study>/experiments/{experiment}/folds/{seed}/{fold}/model.safetensors",
    log:
        "<logs>/fold/<name>/{experiment}/{seed}/{fold}.log",
    benchmark:
        "<benchmarks>/fold/<name>/{experiment}/{seed}/{fold}.tsv"
    wildcard_constraints:
        experiment=one_of(experiments.graph_fold_experiments),
    conda:
        "../../envs/learn.yaml"
    resources:
        gpu=gpus,
    params:
        code=code_hash("train_fold"),
        # Reruns if a key changes that `training.fold_settings` reads; graphs, weights and splits reach it as files.
        settings=lambda w: asdict(training.fold_settings(w.experiment, int(w.seed))),
        fold=lambda w: experiments.folds(w.experiment)[w.fold],
    message:
        "Train the fold {wildcards.fold} of experiment {wildcards.experiment}, seed {wildcards.seed}"
    script:
        "../scripts/train_fold.py"


rule train_clip_network:
    input:
        caches=lambda w: training.caches(w.experiment),
        splits=lambda w: training.splits(w.experiment)[int(w.seed)],
    output:
        predictions="<study>/experiments/{experiment}/folds/{seed}/{fold}/<predictions>",
        accuracy="<study>/experiments/{experiment}/folds/{seed}/{fold}/<accuracy>",
        curves="<study>/experiments/{experiment}/folds/{seed}/{fold}/<curves>",
        validation="<study>/experiments/{experiment}/folds/{seed}/{fold}/<validation>",
        model="<study>/experiments/{experiment}/folds/{seed}/{fold}/model.safetensors",
    log:
        "<logs>/fold/<name>/{experiment}/{seed}/{fold}.log",
    benchmark:
        "<benchmarks>/fold/<name>/{experiment}/{seed}/{fold}.tsv"
    wildcard_constraints:
        experiment=one_of(experiments.clip_network_experiments),
    conda:
        "../../envs/learn.yaml"
    resources:
        gpu=gpus,
    params:
        code=code_hash("train_clip_network"),
        network=lambda w: network_code(w.experiment),
        # Reruns if a key changes that `training.clip_network_settings` reads: no option of another network is among them.
        settings=lambda w: asdict(training.clip_network_settings(w.experiment, int(w.seed))),
        fold=lambda w: experiments.folds(w.experiment)[w.fold],
    message:
        "Train the fold {wildcards.fold} of experiment {wildcards.experiment}, seed {wildcards.seed}"
    script:
        "../scripts/train_clip_network.py"


rule gather_folds:
    input:
        predictions=of_folds("predictions"),
        accuracy=of_folds("accuracy"),
        curves=of_folds("curves"),
        validation=of_folds("validation"),
    output:
        predictions="<study>/experiments/{experiment}/<predictions>",
        accuracy="<study>/experiments/{experiment}/<accuracy>",
        curves="<study>/experiments/{experiment}/<curves>",
        validation="<study>/experiments/{experiment}/<validation>",
    log:
        "<logs>/fold/<name>/{experiment}.log",
    benchmark:
        "<benchmarks>/fold/<name>/{experiment}.tsv"
    wildcard_constraints:
        experiment=one_of(experiments.fold_experiments),
    conda:
        "../../envs/learn.yaml"
    params:
        code=code_hash("gather_folds"),
    message:
        "Gather the folds of experiment {wildcards.experiment}"
    script:
        "../scripts/gather_folds.py"
