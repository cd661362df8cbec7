rule export_onnx:
    input:
        ensemble="<study>/experiments/{experiment}/ensemble.json",
        files=lambda w: publishing.ensemble_files(w.experiment),
        caches=lambda w: training.caches(w.experiment),
        metrics="<study>/metrics.csv",
        calibration="<study>/calibration.csv",
    output:
        model="<study>/export/{experiment}/model.onnx",
        card="<study>/export/{experiment}/model_card.md",
        check="<study>/export/{experiment}/check.csv",
    log:
        "<logs>/export_onnx/<name>/{experiment}.log",
    benchmark:
        "<benchmarks>/export_onnx/<name>/{experiment}.tsv"
    wildcard_constraints:
        experiment=one_of(experiments.network_experiments + publishing.exported_ensembles),
    conda:
        "../../envs/export.yaml"
    resources:
        gpu=GPUS,
    params:
        code=script_hash("export_onnx"),
        network=lambda w: network_code(w.experiment),
        # Reruns if `publishing.export_settings` changes; it leaves out training settings: the networks are files.
        settings=lambda w: asdict(publishing.export_settings(w.experiment)),
    message:
        "Export experiment {wildcards.experiment} as ONNX"
    script:
        "../scripts/export_onnx.py"
