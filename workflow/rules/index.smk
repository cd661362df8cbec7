rule index_clips:
    output:
        clips="<results>/data/{dataset}/clips.csv",
        problems="<results>/data/{dataset}/problems.csv",
        classes="<results>/data/{dataset}/classes.csv",
    log:
        "<logs>/index_clips/{dataset}.log",
    benchmark:
        "<benchmarks>/index_clips/{dataset}.tsv"
    # High priority: problems of a dataset are reported before long jobs start.
    priority: 100
    conda:
        "../../envs/vision.yaml"
    params:
        code=script_hash("index_clips"),
        layout=lambda w: code_hash(data.layout_source(w.dataset)),
        # Reruns if a row of its tables (`data.index_digest`) or `data.index_settings` changes, without `on_problem`.
        settings=lambda w: data.index_settings(w.dataset),
        content=lambda w: data.index_digest(w.dataset),
    message:
        "List the clips of {wildcards.dataset}"
    script:
        "../scripts/index_clips.py"
