rule run_table:
    input:
        features=lambda wildcards: study.table_files(wildcards.table, "features"),
        weights=lambda wildcards: study.table_files(wildcards.table, "weights"),
        splits=lambda wildcards: study.table_files(wildcards.table, "splits"),
    output:
        table=f"<results>/{study.name}/tables/{{table}}.csv",
        predictions=f"<results>/{study.name}/tables/{{table}}/predictions.csv",
    log:
        f"<logs>/table/{study.name}/{{table}}.log",
    benchmark:
        f"<benchmarks>/table/{study.name}/{{table}}.tsv"
    wildcard_constraints:
        table=one_of(config["tables"]),
    conda:
        "../../envs/learn.yaml"
    params:
        code=code_hash("run_table"),
        cells=lambda wildcards: study.cells(wildcards.table),
        paper=lambda wildcards: config["tables"][wildcards.table]["published"],
    message:
        "Train the cells of table {wildcards.table}"
    script:
        "../scripts/run_table.py"
