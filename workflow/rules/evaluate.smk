rule evaluate:
    input:
        f"<results>/{study.name}/experiments/{{experiment}}/predictions.csv",
    output:
        f"<results>/{study.name}/experiments/{{experiment}}/metrics.csv",
    log:
        f"<logs>/evaluate/{study.name}/{{experiment}}.log",
    benchmark:
        f"<benchmarks>/evaluate/{study.name}/{{experiment}}.tsv"
    conda:
        "../../envs/learn.yaml"
    params:
        code=code_hash("evaluate"),
        settings=lambda wildcards: {
            "experiment": wildcards.experiment,
            "protocol": study.experiments[wildcards.experiment]["protocol"],
            "classes": study.classes(wildcards.experiment),
        },
    message:
        "Evaluate {wildcards.experiment}"
    script:
        "../scripts/evaluate.py"


rule gather_tables:
    input:
        predictions=of_experiments("predictions", study.experiments),
        metrics=of_experiments("metrics", study.experiments),
        accuracy=of_experiments("pretraining/accuracy_train", study.pretrained)
        + of_experiments("accuracy_train", study.experiments),
        curves=of_experiments("pretraining/curves", study.pretrained)
        + of_experiments("curves", study.learned + study.clip_networks),
    output:
        predictions=report(
            f"<results>/{study.name}/predictions.csv", caption="../report/predictions.rst", category="Tables"
        ),
        metrics=report(f"<results>/{study.name}/metrics.csv", caption="../report/metrics.rst", category="Tables"),
        accuracy=f"<results>/{study.name}/accuracy_train.csv",
        curves=f"<results>/{study.name}/curves.csv",
    log:
        f"<logs>/gather/{study.name}.log",
    benchmark:
        f"<benchmarks>/gather/{study.name}.tsv"
    conda:
        "../../envs/learn.yaml"
    params:
        code=code_hash("gather_tables"),
    message:
        "Gather the tables of the study"
    script:
        "../scripts/gather_tables.py"


rule compare_systems:
    input:
        f"<results>/{study.name}/predictions.csv",
    output:
        report(f"<results>/{study.name}/differences.csv", caption="../report/differences.rst", category="Tables"),
    log:
        f"<logs>/differences/{study.name}.log",
    benchmark:
        f"<benchmarks>/differences/{study.name}.tsv"
    conda:
        "../../envs/learn.yaml"
    params:
        code=code_hash("compare_systems"),
        classes={experiment: study.classes(experiment) for experiment in study.experiments},
    message:
        "Compare the systems of the study"
    script:
        "../scripts/compare_systems.py"
