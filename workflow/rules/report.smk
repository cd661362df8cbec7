data_tables = {
    "clips": of_datasets("<results>/data/{dataset}/clips.csv"),
    "problems": of_datasets("<results>/data/{dataset}/problems.csv"),
    "classes": of_datasets("<results>/data/{dataset}/classes.csv"),
    "quality": of_datasets("<results>/data/{dataset}/{prep}/quality.csv"),
}
study_tables = {
    "predictions": "<study>/predictions.csv",
    "metrics": "<study>/metrics.csv",
    "accuracy_train": "<study>/accuracy_train.csv",
    "curves": "<study>/curves.csv",
    "audit": "<study>/audit.csv",
    "differences": "<study>/differences.csv",
    "chosen_on_test": "<study>/chosen_on_test.csv",
    "calibration": "<study>/calibration.csv",
    "reliability": "<study>/reliability.csv",
    "coverage": "<study>/coverage.csv",
    "tables": expand("<study>/tables/{table}.csv", table=settings.tables),
    "figures": expand("<study>/figures/{figure}.csv", figure=figures.blocks),
}


rule write_report:
    input:
        **data_tables,
        **study_tables,
        faces=of_subjects("<results>/data/{dataset}/{prep}/faces/{subject}.h5"),
        keyframes=of_subjects("<results>/data/{dataset}/{prep}/keyframes/{subject}.csv"),
        flow=of_subjects("<results>/data/{dataset}/{prep}/flow/{subject}.h5"),
        flow_images=[paths.cache(*pair) for pair in training.prepared() if not data.has_frames(pair[0])],
        graphs=expand("<results>/graphs/{graph}.h5", graph=publishing.shown_graphs),
    output:
        page=report("<study>/report.html", caption="../report/study.rst", category="Report"),
        figures=directory("<study>/report_figures"),
    log:
        "<logs>/write_report/<name>.log",
    benchmark:
        "<benchmarks>/write_report/<name>.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        code=script_hash("write_report"),
        # Reruns if `publishing.report_settings` changes, and with it for every key, since the report shows them all.
        settings=asdict(publishing.report_settings()),
    message:
        "Write the report of {params.settings[name]}"
    script:
        "../scripts/write_report.py"
