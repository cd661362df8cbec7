rule align_faces:
    input:
        drawn,
    output:
        faces="<results>/data/{dataset}/{prep}/faces/{subject}.h5",
        source="<results>/data/{dataset}/{prep}/faces/{subject}.source.json",
    log:
        "<logs>/align/{dataset}/{prep}/{subject}.log",
    benchmark:
        "<benchmarks>/align/{dataset}/{prep}/{subject}.tsv"
    conda:
        "../../envs/vision.yaml"
    params:
        code=code_hash("align_faces"),
        clips=lambda wildcards: study.clips(wildcards.dataset, wildcards.subject),
        source=lambda wildcards: study.source(wildcards.dataset, wildcards.prep, wildcards.subject),
        settings=lambda wildcards: config["preparations"][wildcards.prep]["align"],
    message:
        "Align the faces of {wildcards.dataset}/{wildcards.subject}"
    script:
        "../scripts/align_faces.py"
