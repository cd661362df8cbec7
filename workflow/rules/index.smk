rule index_clips:
    output:
        clips="<results>/data/{dataset}/clips.csv",
        problems="<results>/data/{dataset}/problems.csv",
        classes="<results>/data/{dataset}/classes.csv",
    log:
        "<logs>/index/{dataset}.log",
    benchmark:
        "<benchmarks>/index/{dataset}.tsv"
    # First, so that what is wrong with a dataset is told before the long work starts.
    priority: 100
    conda:
        "../../envs/vision.yaml"
    params:
        code=code_hash("index_clips"),
        layout=lambda wildcards: hash_of(study.layout_source(wildcards.dataset)),
        settings=lambda wildcards: study.index_settings(wildcards.dataset),
        content=lambda wildcards: study.index_digest(wildcards.dataset),
    message:
        "List the clips of {wildcards.dataset}"
    script:
        "../scripts/index_clips.py"
