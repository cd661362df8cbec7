rule compute_flow:
    input:
        faces="<results>/data/{dataset}/{prep}/faces/{subject}.h5",
        keyframes="<results>/data/{dataset}/{prep}/keyframes/{subject}.csv",
    output:
        "<results>/data/{dataset}/{prep}/flow/{subject}.h5",
    log:
        "<logs>/compute_flow/{dataset}/{prep}/{subject}.log",
    benchmark:
        "<benchmarks>/compute_flow/{dataset}/{prep}/{subject}.tsv"
    conda:
        "../../envs/flow.yaml"
    params:
        code=script_hash("compute_flow"),
        # Reruns if the block `flow` of the preparation changes (`data.preparation`), and for no other block.
        settings=lambda w: asdict(data.preparation(w.prep).flow),
    message:
        "Compute the flow of {wildcards.dataset}/{wildcards.subject}"
    script:
        "../scripts/compute_flow.py"
