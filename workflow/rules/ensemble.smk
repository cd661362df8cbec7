rule gather_ensemble:
    input:
        validation="<study>/experiments/{experiment}/<validation>",
        models=lambda w: training.model_files(w.experiment),
        networks=lambda w: publishing.ensemble_networks(w.experiment),
        caches=lambda w: training.caches(w.experiment),
    output:
        "<study>/experiments/{experiment}/ensemble.json",
    log:
        "<logs>/gather_ensemble/<name>/{experiment}.log",
    benchmark:
        "<benchmarks>/gather_ensemble/<name>/{experiment}.tsv"
    wildcard_constraints:
        experiment=one_of(experiments.network_experiments),
    conda:
        "../../envs/learn.yaml"
    params:
        code=script_hash("gather_ensemble"),
        # Reruns if `publishing.ensemble_settings` changes; it leaves out training settings: the networks are files.
        settings=lambda w: asdict(publishing.ensemble_settings(w.experiment)),
        results=lambda w: settings.results,
    message:
        "Gather the trained networks of experiment {wildcards.experiment}"
    script:
        "../scripts/gather_ensemble.py"


rule calibrate:
    input:
        predictions=expand(
            "<study>/experiments/{experiment}/<predictions>", experiment=experiments.calibrated_experiments
        ),
        validation=expand(
            "<study>/experiments/{experiment}/<validation>", experiment=experiments.calibrated_experiments
        ),
    output:
        calibration=report("<study>/calibration.csv", caption="../report/calibration.rst", category="Tables"),
        reliability="<study>/reliability.csv",
        coverage="<study>/coverage.csv",
    log:
        "<logs>/calibrate/<name>.log",
    benchmark:
        "<benchmarks>/calibrate/<name>.tsv"
    conda:
        "../../envs/learn.yaml"
    params:
        code=script_hash("calibrate"),
        # Reruns if the classes change (`experiments.classes_by_name`); predictions are files.
        classes=experiments.classes_by_name(experiments.calibrated_experiments),
    message:
        "Calibrate the systems of the study"
    script:
        "../scripts/calibrate.py"


rule average_systems:
    input:
        predictions=lambda w: expand(
            "<study>/experiments/{experiment}/<predictions>", experiment=experiments[w.experiment].of
        ),
        validation=lambda w: expand(
            "<study>/experiments/{experiment}/<validation>", experiment=experiments[w.experiment].of
        ),
    output:
        predictions="<study>/experiments/{experiment}/<predictions>",
        validation="<study>/experiments/{experiment}/<validation>",
    log:
        "<logs>/average_systems/<name>/{experiment}.log",
    benchmark:
        "<benchmarks>/average_systems/<name>/{experiment}.tsv"
    wildcard_constraints:
        experiment=one_of(experiments.ensembles),
    conda:
        "../../envs/learn.yaml"
    params:
        code=script_hash("average_systems"),
        # Reruns if `experiments.averaging_settings` changes; names and folds of members are in files.
        settings=lambda w: asdict(experiments.averaging_settings(w.experiment)),
    message:
        "Average the members of {wildcards.experiment}"
    script:
        "../scripts/average_systems.py"


rule gather_systems:
    input:
        members=lambda w: publishing.member_files(w.experiment),
        validation=lambda w: expand(
            "<study>/experiments/{experiment}/<validation>", experiment=publishing.baselines(w.experiment)
        ),
    output:
        "<study>/experiments/{experiment}/ensemble.json",
    log:
        "<logs>/gather_systems/<name>/{experiment}.log",
    benchmark:
        "<benchmarks>/gather_systems/<name>/{experiment}.tsv"
    wildcard_constraints:
        experiment=one_of(experiments.ensembles),
    conda:
        "../../envs/learn.yaml"
    params:
        code=script_hash("gather_systems"),
        # Reruns if `publishing.system_ensemble_settings` changes: the members, and the clips that train baselines.
        settings=lambda w: asdict(publishing.system_ensemble_settings(w.experiment)),
        results=lambda w: settings.results,
    message:
        "Gather the systems of the ensemble {wildcards.experiment}"
    script:
        "../scripts/gather_systems.py"
