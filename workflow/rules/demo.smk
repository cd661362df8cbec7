rule make_demo:
    output:
        directory("<results>/data/{dataset}/source/{subject}"),
    log:
        "<logs>/demo/{dataset}/{subject}.log",
    benchmark:
        "<benchmarks>/demo/{dataset}/{subject}.tsv"
    conda:
        "../../envs/vision.yaml"
    params:
        code=code_hash("make_demo"),
        settings=lambda w: asdict(data.settings(w.dataset)),
    message:
        "Make the synthetic clips of {wildcards.dataset}/{wildcards.subject}"
    script:
        "../scripts/make_demo.py"
