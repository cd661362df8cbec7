rule write_report:
    input:
        clips=of_datasets("<results>/data/{dataset}/clips.csv"),
        problems=of_datasets("<results>/data/{dataset}/problems.csv"),
        classes=of_datasets("<results>/data/{dataset}/classes.csv"),
        quality=of_datasets("<results>/data/{dataset}/{prep}/quality.csv"),
        faces=of_subjects("<results>/data/{dataset}/{prep}/faces/{subject}.h5"),
        keyframes=of_subjects("<results>/data/{dataset}/{prep}/keyframes/{subject}.csv"),
        flow=of_subjects("<results>/data/{dataset}/{prep}/flow/{subject}.h5"),
        flow_images=of_flow_images("<results>/data/{dataset}/{prep}/cache.h5"),
        graphs=expand("<results>/graphs/{graph}.h5", graph=study.shown_graphs),
        predictions=f"<results>/{study.name}/predictions.csv",
        metrics=f"<results>/{study.name}/metrics.csv",
        accuracy_train=f"<results>/{study.name}/accuracy_train.csv",
        curves=f"<results>/{study.name}/curves.csv",
        audit=f"<results>/{study.name}/audit.csv",
        differences=f"<results>/{study.name}/differences.csv",
        calibration=f"<results>/{study.name}/calibration.csv",
        reliability=f"<results>/{study.name}/reliability.csv",
        coverage=f"<results>/{study.name}/coverage.csv",
        tables=expand(f"<results>/{study.name}/tables/{{table}}.csv", table=config["tables"]),
        figures=expand(f"<results>/{study.name}/figures/{{figure}}.csv", figure=study.figures),
    output:
        page=report(f"<results>/{study.name}/report.html", caption="../report/study.rst", category="Report"),
        figures=directory(f"<results>/{study.name}/report_figures"),
    log:
        f"<logs>/report/{study.name}.log",
    benchmark:
        f"<benchmarks>/report/{study.name}.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        code=code_hash("write_report"),
        settings=asdict(study.report_settings()),
    message:
        "Write the report of {params.settings[name]}"
    script:
        "../scripts/write_report.py"
