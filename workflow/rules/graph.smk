rule build_graph:
    output:
        "<results>/graphs/{graph}.h5",
    log:
        "<logs>/build_graph/{graph}.log",
    benchmark:
        "<benchmarks>/build_graph/{graph}.tsv"
    conda:
        "../../envs/learn.yaml"
    params:
        code=script_hash("build_graph"),
        # Reruns if `training.graphs` changes; all of it is in the name of the graph.
        settings=lambda w: asdict(training.graphs[w.graph]),
    message:
        "Build the graph {wildcards.graph}"
    script:
        "../scripts/build_graph.py"
