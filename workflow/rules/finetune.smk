rule finetune:
    input:
        features=lambda w: training.feature_files(w.experiment),
        splits=lambda w: training.splits(w.experiment).values(),
    output:
        **tables("<study>/experiments/{experiment}"),
        heads="<study>/experiments/{experiment}/heads.safetensors",
    log:
        "<logs>/finetune/<name>/{experiment}.log",
    benchmark:
        "<benchmarks>/finetune/<name>/{experiment}.tsv"
    wildcard_constraints:
        experiment=one_of(experiments.shared_feature_experiments),
    conda:
        "../../envs/learn.yaml"
    threads: lambda w: len(experiments[w.experiment].seeds)
    params:
        code=script_hash("finetune"),
        # Reruns if the code, `training.head_settings` or the names in `training.features` change; both leave out graphs,
        # pre-training and flow, which are files.
        settings=lambda w: asdict(training.head_settings(w.experiment)),
        features=lambda w: training.features(w.experiment),
    message:
        "Fine-tune experiment {wildcards.experiment}"
    script:
        "../scripts/finetune.py"


rule tabulate_pretraining:
    input:
        weights=lambda w: training.pretraining_files(w.experiment),
        curves=lambda w: training.pretraining_files(w.experiment, ".csv"),
    output:
        accuracy="<study>/experiments/{experiment}/pretraining/accuracy_train.csv",
        curves="<study>/experiments/{experiment}/pretraining/curves.csv",
    log:
        "<logs>/tabulate_pretraining/<name>/{experiment}.log",
    benchmark:
        "<benchmarks>/tabulate_pretraining/<name>/{experiment}.tsv"
    wildcard_constraints:
        experiment=one_of(experiments.shared_weight_experiments),
    conda:
        "../../envs/learn.yaml"
    params:
        code=script_hash("tabulate_pretraining"),
        # Reruns if `training.pretrained_networks` changes: names; graphs and pre-training are in the names of files.
        networks=lambda w: [asdict(network) for network in training.pretrained_networks(w.experiment)],
    message:
        "Tabulate the pre-training of experiment {wildcards.experiment}"
    script:
        "../scripts/tabulate_pretraining.py"


rule run_floor:
    input:
        caches=lambda w: training.training_caches(w.experiment),
        splits=lambda w: training.splits(w.experiment).values(),
    output:
        predictions="<study>/experiments/{experiment}/<predictions>",
        accuracy="<study>/experiments/{experiment}/<accuracy>",
        validation="<study>/experiments/{experiment}/<validation>",
    log:
        "<logs>/run_floor/<name>/{experiment}.log",
    benchmark:
        "<benchmarks>/run_floor/<name>/{experiment}.tsv"
    wildcard_constraints:
        experiment=one_of(experiments.linear_experiments),
    conda:
        "../../envs/learn.yaml"
    params:
        code=script_hash("run_floor"),
        # Reruns if `training.linear_settings` changes; it leaves out the blocks of networks.
        settings=lambda w: asdict(training.linear_settings(w.experiment)),
    message:
        "Run the floor {wildcards.experiment}"
    script:
        "../scripts/run_floor.py"
