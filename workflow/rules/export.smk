rule export_onnx:
    input:
        ensemble=f"<results>/{study.name}/experiments/{{trained}}/ensemble.json",
        files=lambda wildcards: study.ensemble_files(wildcards.trained),
        caches=lambda wildcards: caches_of_experiment(wildcards.trained),
        metrics=f"<results>/{study.name}/metrics.csv",
        calibration=f"<results>/{study.name}/calibration.csv",
    output:
        model=f"<results>/{study.name}/export/{{trained}}/model.onnx",
        card=f"<results>/{study.name}/export/{{trained}}/model_card.md",
        check=f"<results>/{study.name}/export/{{trained}}/check.csv",
    log:
        f"<logs>/export/{study.name}/{{trained}}.log",
    benchmark:
        f"<benchmarks>/export/{study.name}/{{trained}}.tsv"
    wildcard_constraints:
        trained=one_of(study.trained),
    conda:
        "../../envs/export.yaml"
    resources:
        gpu=gpus,
    params:
        code=code_hash("export_onnx"),
        network=lambda wildcards: (network_code(wildcards.trained) if wildcards.trained in study.clip_networks else ""),
        settings=lambda wildcards: study.export_settings(wildcards.trained),
    message:
        "Export experiment {wildcards.trained} as ONNX"
    script:
        "../scripts/export_onnx.py"
