rule pretrain_sgcn:
    input:
        cache="<results>/data/{macro}/{prep}/cache.h5",
        graphs=lambda w: [paths.graph(training.networks_by_weights[w.weights].graph)],
    output:
        weights=["<results>/pretrained/{macro}/{prep}/{weights}.safetensors"],
        curves=["<results>/pretrained/{macro}/{prep}/{weights}.csv"],
    log:
        "<logs>/pretrain_sgcn/{macro}/{prep}/{weights}.log",
    benchmark:
        "<benchmarks>/pretrain_sgcn/{macro}/{prep}/{weights}.tsv"
    wildcard_constraints:
        weights=one_of(name for name, network in training.networks_by_weights.items() if not network.pair),
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


use rule pretrain_sgcn as pretrain_pair with:
    input:
        cache="<results>/data/{macro}/{prep}/cache.h5",
        graphs=lambda w: [paths.graph(network.graph) for network in training.pairs[w.pair]],
    output:
        weights=expand("<results>/pretrained/{{macro}}/{{prep}}/{{pair}}-{part}.safetensors", part=PARTS),
        curves=expand("<results>/pretrained/{{macro}}/{{prep}}/{{pair}}-{part}.csv", part=PARTS),
    log:
        "<logs>/pretrain_pair/{macro}/{prep}/{pair}.log",
    benchmark:
        "<benchmarks>/pretrain_pair/{macro}/{prep}/{pair}.tsv"
    wildcard_constraints:
        pair=one_of(training.pairs),
    params:
        code=script_hash("pretrain_sgcn"),
        # Reruns if `training.pairs` changes; it leaves out the graphs, which are files.
        settings=lambda w: asdict(training.pairs[w.pair][0].pretrain_settings),
        seed=lambda w: training.pairs[w.pair][0].seed,
    message:
        "Pre-train SGCNs {wildcards.pair} together on {wildcards.macro}"
