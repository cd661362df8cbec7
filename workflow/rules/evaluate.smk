rule evaluate:
    input:
        "<study>/experiments/{experiment}/<predictions>",
    output:
        "<study>/experiments/{experiment}/metrics.csv",
    log:
        "<logs>/evaluate/<name>/{experiment}.log",
    benchmark:
        "<benchmarks>/evaluate/<name>/{experiment}.tsv"
    conda:
        "../../envs/learn.yaml"
    params:
        code=script_hash("evaluate"),
        # Reruns if `experiments.evaluation_settings` changes: protocol or classes; predictions are a file.
        settings=lambda w: asdict(experiments.evaluation_settings(w.experiment)),
    message:
        "Evaluate {wildcards.experiment}"
    script:
        "../scripts/evaluate.py"


rule gather_tables:
    input:
        predictions=expand("<study>/experiments/{experiment}/<predictions>", experiment=experiments),
        metrics=expand("<study>/experiments/{experiment}/metrics.csv", experiment=experiments),
        accuracy=expand(
            "<study>/experiments/{experiment}/pretraining/accuracy_train.csv",
            experiment=experiments.shared_weight_experiments,
        )
        + expand("<study>/experiments/{experiment}/<accuracy>", experiment=experiments.trained_experiments),
        curves=expand(
            "<study>/experiments/{experiment}/pretraining/curves.csv", experiment=experiments.shared_weight_experiments
        )
        + expand("<study>/experiments/{experiment}/<curves>", experiment=experiments.network_experiments),
    output:
        predictions=report("<study>/predictions.csv", caption="../report/predictions.rst", category="Tables"),
        metrics=report("<study>/metrics.csv", caption="../report/metrics.rst", category="Tables"),
        accuracy="<study>/accuracy_train.csv",
        curves="<study>/curves.csv",
    log:
        "<logs>/gather_tables/<name>.log",
    benchmark:
        "<benchmarks>/gather_tables/<name>.tsv"
    conda:
        "../../envs/learn.yaml"
    params:
        code=script_hash("gather_tables"),
    message:
        "Gather the tables of the study"
    script:
        "../scripts/gather_tables.py"


use rule gather_tables as gather_folds with:
    input:
        **{table: of_folds(table) for table in EXPERIMENT_TABLES},
    output:
        **tables("<study>/experiments/{experiment}"),
    log:
        "<logs>/gather_folds/<name>/{experiment}.log",
    benchmark:
        "<benchmarks>/gather_folds/<name>/{experiment}.tsv"
    wildcard_constraints:
        experiment=one_of(experiments.fold_experiments),
    message:
        "Gather the folds of experiment {wildcards.experiment}"


rule choose_on_test:
    input:
        metrics="<study>/metrics.csv",
        epochs=expand("<study>/experiments/{experiment}/<test_epochs>", experiment=experiments.class_networks),
    output:
        "<study>/chosen_on_test.csv",
    log:
        "<logs>/choose_on_test/<name>.log",
    benchmark:
        "<benchmarks>/choose_on_test/<name>.tsv"
    conda:
        "../../envs/learn.yaml"
    params:
        code=script_hash("choose_on_test"),
        # Reruns if the classes change (`experiments.classes_by_name`); answers are files.
        classes=experiments.classes_by_name(experiments.class_networks),
    message:
        "Show what an epoch chosen on the test clips would have scored"
    script:
        "../scripts/choose_on_test.py"


rule compare_systems:
    input:
        "<study>/predictions.csv",
    output:
        report("<study>/differences.csv", caption="../report/differences.rst", category="Tables"),
    log:
        "<logs>/compare_systems/<name>.log",
    benchmark:
        "<benchmarks>/compare_systems/<name>.tsv"
    conda:
        "../../envs/learn.yaml"
    params:
        code=script_hash("compare_systems"),
        # Reruns if the classes change (`experiments.classes_by_name`); predictions are a file.
        classes=experiments.classes_by_name(experiments.class_experiments),
    message:
        "Compare the systems of the study"
    script:
        "../scripts/compare_systems.py"
