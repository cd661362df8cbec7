rule build_graph:
    output:
        "<results>/graphs/{graph}.h5",
    log:
        "<logs>/graph/{graph}.log",
    benchmark:
        "<benchmarks>/graph/{graph}.tsv"
    conda:
        "../../envs/learn.yaml"
    params:
        code=code_hash("build_graph"),
        settings=lambda w: asdict(training.graphs[w.graph]),
    message:
        "Build the graph {wildcards.graph}"
    script:
        "../scripts/build_graph.py"
