rule select_keyframes:
    input:
        "<results>/data/{dataset}/{prep}/faces/{subject}.h5",
    output:
        "<results>/data/{dataset}/{prep}/keyframes/{subject}.csv",
    log:
        "<logs>/keyframes/{dataset}/{prep}/{subject}.log",
    benchmark:
        "<benchmarks>/keyframes/{dataset}/{prep}/{subject}.tsv"
    conda:
        "../../envs/vision.yaml"
    params:
        code=code_hash("select_keyframes"),
        settings=lambda wildcards: config["preparations"][wildcards.prep]["keyframes"],
    message:
        "Select the key-frames of {wildcards.dataset}/{wildcards.subject}"
    script:
        "../scripts/select_keyframes.py"
