from merflow.study.packing import pack_settings


rule pack_weights:
    input:
        ensemble="<study>/experiments/{experiment}/ensemble.json",
        files=lambda w: publishing.ensemble_files(w.experiment),
        scorer=lambda w: data.scorer_file(experiments[w.experiment].prep) or [],
        caches=lambda w: pack_settings(publishing, w.experiment, VERSION).training_caches,
        quality=lambda w: pack_settings(publishing, w.experiment, VERSION).training_quality,
        audit="<study>/audit.csv",
        metrics="<study>/metrics.csv",
        coverage="<study>/coverage.csv",
        calibration="<study>/calibration.csv",
    output:
        "<study>/weights/<name>-{experiment}.zip",
    log:
        "<logs>/pack_weights/<name>/{experiment}.log",
    benchmark:
        "<benchmarks>/pack_weights/<name>/{experiment}.tsv"
    wildcard_constraints:
        experiment=one_of(packable),
    conda:
        "../../envs/learn.yaml"
    params:
        code=script_hash("pack_weights"),
        # Reruns if `pack_settings` changes; it leaves out training settings: the networks are files.
        settings=lambda w: asdict(pack_settings(publishing, w.experiment, VERSION)),
    message:
        "Pack the networks of experiment {wildcards.experiment}"
    script:
        "../scripts/pack_weights.py"
