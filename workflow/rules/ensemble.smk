rule gather_ensemble:
    input:
        validation=f"<results>/{study.name}/experiments/{{trained}}/validation.csv",
        models=lambda wildcards: [model["file"] for model in study.model_files(wildcards.trained)],
        networks=lambda wildcards: study.ensemble_networks(wildcards.trained),
        caches=lambda wildcards: caches_of_experiment(wildcards.trained),
    output:
        f"<results>/{study.name}/experiments/{{trained}}/ensemble.json",
    log:
        f"<logs>/ensemble/{study.name}/{{trained}}.log",
    benchmark:
        f"<benchmarks>/ensemble/{study.name}/{{trained}}.tsv"
    wildcard_constraints:
        trained=one_of(study.trained),
    conda:
        "../../envs/learn.yaml"
    params:
        code=code_hash("gather_ensemble"),
        settings=lambda wildcards: study.ensemble_settings(wildcards.trained),
        models=lambda wildcards: study.model_files(wildcards.trained),
        results=lambda wildcards: config["results"],
    message:
        "Gather the trained networks of experiment {wildcards.trained}"
    script:
        "../scripts/gather_ensemble.py"


rule calibrate:
    input:
        predictions=of_experiments("predictions", study.trained),
        validation=of_experiments("validation", study.trained),
    output:
        calibration=report(
            f"<results>/{study.name}/calibration.csv", caption="../report/calibration.rst", category="Tables"
        ),
        reliability=f"<results>/{study.name}/reliability.csv",
        coverage=f"<results>/{study.name}/coverage.csv",
    log:
        f"<logs>/calibration/{study.name}.log",
    benchmark:
        f"<benchmarks>/calibration/{study.name}.tsv"
    conda:
        "../../envs/learn.yaml"
    params:
        code=code_hash("calibrate"),
        classes={experiment: study.classes(experiment) for experiment in study.trained},
    message:
        "Calibrate the systems of the study"
    script:
        "../scripts/calibrate.py"
