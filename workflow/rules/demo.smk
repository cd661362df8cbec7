rule make_demo:
    output:
        directory("<results>/data/{dataset}/source/{subject}"),
    log:
        "<logs>/make_demo/{dataset}/{subject}.log",
    benchmark:
        "<benchmarks>/make_demo/{dataset}/{subject}.tsv"
    conda:
        "../../envs/vision.yaml"
    params:
        code=script_hash("make_demo"),
        # Reruns if `data.settings` changes; it leaves out the keys of `demo` that belong to other datasets.
        settings=lambda w: asdict(data.settings(w.dataset)),
    message:
        "Make the synthetic clips of {wildcards.dataset}/{wildcards.subject}"
    script:
        "../scripts/make_demo.py"
