rule train_fold:
    input:
        caches=lambda wildcards: caches_of_experiment(wildcards.in_fold),
        graphs=lambda wildcards: graphs_of_experiment(wildcards.in_fold, wildcards.seed),
        weights=lambda wildcards: study.fold_weights(wildcards.in_fold, wildcards.seed),
        macro=lambda wildcards: study.fold_macro(wildcards.in_fold),
        splits=lambda wildcards: study.split_files(wildcards.in_fold)[int(wildcards.seed)],
    output:
        predictions=f"<results>/{study.name}/experiments/{{in_fold}}/folds/{{seed}}/{{fold}}/predictions.csv",
        accuracy=f"<results>/{study.name}/experiments/{{in_fold}}/folds/{{seed}}/{{fold}}/accuracy_train.csv",
        curves=f"<results>/{study.name}/experiments/{{in_fold}}/folds/{{seed}}/{{fold}}/curves.csv",
        validation=f"<results>/{study.name}/experiments/{{in_fold}}/folds/{{seed}}/{{fold}}/validation.csv",
        model=f"<results>/{study.name}/experiments/{{in_fold}}/folds/{{seed}}/{{fold}}/model.safetensors",
    log:
        f"<logs>/fold/{study.name}/{{in_fold}}/{{seed}}/{{fold}}.log",
    benchmark:
        f"<benchmarks>/fold/{study.name}/{{in_fold}}/{{seed}}/{{fold}}.tsv"
    wildcard_constraints:
        in_fold=one_of(study.graphs_in_fold),
    conda:
        "../../envs/learn.yaml"
    resources:
        gpu=gpus,
    params:
        code=code_hash("train_fold"),
        settings=lambda wildcards: asdict(study.fold_settings(wildcards.in_fold, wildcards.seed)),
        fold=lambda wildcards: study.folds(wildcards.in_fold)[wildcards.fold],
    message:
        "Train the fold {wildcards.fold} of experiment {wildcards.in_fold}, seed {wildcards.seed}"
    script:
        "../scripts/train_fold.py"


rule train_clip_network:
    input:
        caches=lambda wildcards: caches_of_experiment(wildcards.in_fold),
        splits=lambda wildcards: study.split_files(wildcards.in_fold)[int(wildcards.seed)],
    output:
        predictions=f"<results>/{study.name}/experiments/{{in_fold}}/folds/{{seed}}/{{fold}}/predictions.csv",
        accuracy=f"<results>/{study.name}/experiments/{{in_fold}}/folds/{{seed}}/{{fold}}/accuracy_train.csv",
        curves=f"<results>/{study.name}/experiments/{{in_fold}}/folds/{{seed}}/{{fold}}/curves.csv",
        validation=f"<results>/{study.name}/experiments/{{in_fold}}/folds/{{seed}}/{{fold}}/validation.csv",
        model=f"<results>/{study.name}/experiments/{{in_fold}}/folds/{{seed}}/{{fold}}/model.safetensors",
    log:
        f"<logs>/fold/{study.name}/{{in_fold}}/{{seed}}/{{fold}}.log",
    benchmark:
        f"<benchmarks>/fold/{study.name}/{{in_fold}}/{{seed}}/{{fold}}.tsv"
    wildcard_constraints:
        in_fold=one_of(study.clip_networks),
    conda:
        "../../envs/learn.yaml"
    resources:
        gpu=gpus,
    params:
        code=code_hash("train_clip_network"),
        network=lambda wildcards: network_code(wildcards.in_fold),
        settings=lambda wildcards: asdict(study.network_settings(wildcards.in_fold, wildcards.seed)),
        fold=lambda wildcards: study.folds(wildcards.in_fold)[wildcards.fold],
    message:
        "Train the fold {wildcards.fold} of experiment {wildcards.in_fold}, seed {wildcards.seed}"
    script:
        "../scripts/train_clip_network.py"


rule gather_folds:
    input:
        predictions=of_folds("predictions"),
        accuracy=of_folds("accuracy_train"),
        curves=of_folds("curves"),
        validation=of_folds("validation"),
    output:
        predictions=f"<results>/{study.name}/experiments/{{in_fold}}/predictions.csv",
        accuracy=f"<results>/{study.name}/experiments/{{in_fold}}/accuracy_train.csv",
        curves=f"<results>/{study.name}/experiments/{{in_fold}}/curves.csv",
        validation=f"<results>/{study.name}/experiments/{{in_fold}}/validation.csv",
    log:
        f"<logs>/fold/{study.name}/{{in_fold}}.log",
    benchmark:
        f"<benchmarks>/fold/{study.name}/{{in_fold}}.tsv"
    conda:
        "../../envs/learn.yaml"
    params:
        code=code_hash("gather_folds"),
    message:
        "Gather the folds of experiment {wildcards.in_fold}"
    script:
        "../scripts/gather_folds.py"
