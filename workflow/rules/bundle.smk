from merflow.study.sharing import shared_report_settings


rule write_bundle:
    input:
        **data_tables,
        **study_tables,
        drawings=expand("<study>/figures/{figure}.svg", figure=figures.blocks),
        cells=expand("<study>/tables/{table}/predictions.csv", table=settings.tables),
        splits=audited_files(audited)["splits"],
        validation=expand(
            "<study>/experiments/{experiment}/<validation>", experiment=experiments.calibrated_experiments
        ),
    output:
        "<study>/bundle.zip",
    log:
        "<logs>/write_bundle/<name>.log",
    benchmark:
        "<benchmarks>/write_bundle/<name>.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        code=script_hash("write_bundle"),
        # Reruns if `shared_report_settings` changes, and with it for every key, since the archive holds them all.
        settings=asdict(shared_report_settings(publishing)),
        version=VERSION,
    message:
        "Bundle {params.settings[name]}"
    script:
        "../scripts/write_bundle.py"
