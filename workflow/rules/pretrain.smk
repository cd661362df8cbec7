rule pretrain_sgcn:
    input:
        cache="<results>/data/{macro}/{prep}/cache.h5",
        graph=graph_of,
    output:
        weights="<results>/pretrained/{macro}/{prep}/{weights}.safetensors",
        curve="<results>/pretrained/{macro}/{prep}/{weights}.csv",
    log:
        "<logs>/pretrain/{macro}/{prep}/{weights}.log",
    benchmark:
        "<benchmarks>/pretrain/{macro}/{prep}/{weights}.tsv"
    conda:
        "../../envs/learn.yaml"
    resources:
        gpu=gpus,
    params:
        code=code_hash("pretrain_sgcn"),
        settings=lambda wildcards: study.weights(wildcards.weights)["settings"],
        seed=lambda wildcards: study.weights(wildcards.weights)["seed"],
    message:
        "Pre-train SGCN {wildcards.weights} on {wildcards.macro}"
    script:
        "../scripts/pretrain_sgcn.py"
