rule pretrain_sgcn:
    input:
        cache="<results>/data/{macro}/{prep}/cache.h5",
        graph=lambda w: paths.graph(training.networks_by_weights[w.weights].graph),
    output:
        weights="<results>/pretrained/{macro}/{prep}/{weights}.safetensors",
        curve="<results>/pretrained/{macro}/{prep}/{weights}.csv",
    log:
        "<logs>/pretrain_sgcn/{macro}/{prep}/{weights}.log",
    benchmark:
        "<benchmarks>/pretrain_sgcn/{macro}/{prep}/{weights}.tsv"
    conda:
        "../../envs/learn.yaml"
    resources:
        gpu=GPUS,
    params:
        code=script_hash("pretrain_sgcn"),
        # Reruns if `training.networks_by_weights` changes; it leaves out the graph, which is a file, and the folds.
        settings=lambda w: asdict(training.networks_by_weights[w.weights].pretrain_settings),
        seed=lambda w: training.networks_by_weights[w.weights].seed,
    message:
        "Pre-train SGCN {wildcards.weights} on {wildcards.macro}"
    script:
        "../scripts/pretrain_sgcn.py"
