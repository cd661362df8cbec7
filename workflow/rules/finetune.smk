wildcard_constraints:
    frozen=one_of(study.frozen),
    in_fold=one_of(study.in_fold),
    learned=one_of(study.learned),
    floor=one_of(study.floors),
    seed=r"\d+",
    fold=r"[^/]+",


rule finetune:
    input:
        features=lambda wildcards: study.feature_files(wildcards.frozen),
        splits=lambda wildcards: splits_of(wildcards.frozen),
    output:
        predictions=f"<results>/{study.name}/experiments/{{frozen}}/predictions.csv",
        accuracy=f"<results>/{study.name}/experiments/{{frozen}}/accuracy_train.csv",
        curves=f"<results>/{study.name}/experiments/{{frozen}}/curves.csv",
        validation=f"<results>/{study.name}/experiments/{{frozen}}/validation.csv",
        heads=f"<results>/{study.name}/experiments/{{frozen}}/heads.safetensors",
    log:
        f"<logs>/finetune/{study.name}/{{frozen}}.log",
    benchmark:
        f"<benchmarks>/finetune/{study.name}/{{frozen}}.tsv"
    conda:
        "../../envs/learn.yaml"
    threads: lambda wildcards: len(study.experiments[wildcards.frozen]["seeds"])
    params:
        code=code_hash("finetune"),
        settings=lambda wildcards: asdict(study.finetune_settings(wildcards.frozen)),
        features=lambda wildcards: study.feature_plan(wildcards.frozen),
    message:
        "Fine-tune experiment {wildcards.frozen}"
    script:
        "../scripts/finetune.py"


rule tabulate_pretraining:
    input:
        weights=lambda wildcards: study.weight_files(wildcards.learned),
        curves=lambda wildcards: study.weight_files(wildcards.learned, ".csv"),
    output:
        accuracy=f"<results>/{study.name}/experiments/{{learned}}/pretraining/accuracy_train.csv",
        curves=f"<results>/{study.name}/experiments/{{learned}}/pretraining/curves.csv",
    log:
        f"<logs>/pretraining/{study.name}/{{learned}}.log",
    benchmark:
        f"<benchmarks>/pretraining/{study.name}/{{learned}}.tsv"
    conda:
        "../../envs/learn.yaml"
    params:
        code=code_hash("tabulate_pretraining"),
        networks=lambda wildcards: study.networks(wildcards.learned),
    message:
        "Tabulate the pre-training of experiment {wildcards.learned}"
    script:
        "../scripts/tabulate_pretraining.py"


rule run_floor:
    input:
        caches=caches_of,
        splits=lambda wildcards: splits_of(wildcards.floor),
    output:
        predictions=f"<results>/{study.name}/experiments/{{floor}}/predictions.csv",
        accuracy=f"<results>/{study.name}/experiments/{{floor}}/accuracy_train.csv",
    log:
        f"<logs>/floor/{study.name}/{{floor}}.log",
    benchmark:
        f"<benchmarks>/floor/{study.name}/{{floor}}.tsv"
    conda:
        "../../envs/learn.yaml"
    params:
        code=code_hash("run_floor"),
        settings=lambda wildcards: asdict(study.floor_settings(wildcards.floor)),
    message:
        "Run the floor {wildcards.floor}"
    script:
        "../scripts/run_floor.py"
