rule gather_ensemble:
    input:
        validation="<study>/experiments/{experiment}/<validation>",
        models=lambda w: [model["file"] for model in training.model_files(w.experiment)],
        networks=lambda w: publishing.ensemble_networks(w.experiment),
        caches=lambda w: training.caches(w.experiment),
    output:
        "<study>/experiments/{experiment}/ensemble.json",
    log:
        "<logs>/ensemble/<name>/{experiment}.log",
    benchmark:
        "<benchmarks>/ensemble/<name>/{experiment}.tsv"
    wildcard_constraints:
        experiment=one_of(experiments.network_experiments),
    conda:
        "../../envs/learn.yaml"
    params:
        code=code_hash("gather_ensemble"),
        settings=lambda w: asdict(publishing.ensemble_settings(w.experiment)),
        models=lambda w: training.model_files(w.experiment),
        results=lambda w: settings.results,
    message:
        "Gather the trained networks of experiment {wildcards.experiment}"
    script:
        "../scripts/gather_ensemble.py"


rule calibrate:
    input:
        predictions=of_experiments(experiments.network_experiments, "predictions"),
        validation=of_experiments(experiments.network_experiments, "validation"),
    output:
        calibration=report("<study>/calibration.csv", caption="../report/calibration.rst", category="Tables"),
        reliability="<study>/reliability.csv",
        coverage="<study>/coverage.csv",
    log:
        "<logs>/calibration/<name>.log",
    benchmark:
        "<benchmarks>/calibration/<name>.tsv"
    conda:
        "../../envs/learn.yaml"
    params:
        code=code_hash("calibrate"),
        classes={name: experiments.classes(name) for name in experiments.network_experiments},
    message:
        "Calibrate the systems of the study"
    script:
        "../scripts/calibrate.py"
