rule run_table:
    input:
        unpack(lambda w: training.table_files(w.table)),
    output:
        table="<study>/tables/{table}.csv",
        predictions="<study>/tables/{table}/predictions.csv",
    log:
        "<logs>/run_table/<name>/{table}.log",
    benchmark:
        "<benchmarks>/run_table/<name>/{table}.tsv"
    wildcard_constraints:
        table=one_of(settings.tables),
    conda:
        "../../envs/learn.yaml"
    params:
        code=script_hash("run_table"),
        # Reruns if `training.cells` changes; it leaves out graphs, pre-training and flow, which are files.
        cells=lambda w: [asdict(cell) for cell in training.cells(w.table)],
        paper=lambda w: settings.tables[w.table].published,
    message:
        "Train the cells of table {wildcards.table}"
    script:
        "../scripts/run_table.py"
