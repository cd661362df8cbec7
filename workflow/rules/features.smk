rule extract_features:
    input:
        cache="<results>/data/{dataset}/{prep}/cache.h5",
        graph=lambda w: paths.graph(training.networks_by_weights[w.weights].graph),
        weights="<results>/pretrained/{macro}/{prep}/{weights}.safetensors",
    output:
        "<results>/features/{prep}/{macro}/{weights}/{dataset}-{signal}.h5",
    log:
        "<logs>/extract_features/{prep}/{macro}/{weights}/{dataset}-{signal}.log",
    benchmark:
        "<benchmarks>/extract_features/{prep}/{macro}/{weights}/{dataset}-{signal}.tsv"
    conda:
        "../../envs/learn.yaml"
    resources:
        gpu=GPUS,
    params:
        code=script_hash("extract_features"),
        # Reruns if a file changes; both are in the name of the output.
        signal=lambda w: w.signal.partition(".")[0],
        normalise=lambda w: w.signal.partition(".")[2] or "constant",
    message:
        "Extract features of {wildcards.dataset} with {wildcards.weights}"
    script:
        "../scripts/extract_features.py"
