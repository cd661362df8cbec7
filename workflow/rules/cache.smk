rule build_cache:
    input:
        faces=per_subject("<results>/data/{dataset}/{prep}/faces/{subject}.h5"),
        keyframes=per_subject("<results>/data/{dataset}/{prep}/keyframes/{subject}.csv"),
        flow=per_subject("<results>/data/{dataset}/{prep}/flow/{subject}.h5"),
    output:
        cache="<results>/data/{dataset}/{prep}/cache.h5",
        quality="<results>/data/{dataset}/{prep}/quality.csv",
    log:
        "<logs>/cache/{dataset}/{prep}.log",
    benchmark:
        "<benchmarks>/cache/{dataset}/{prep}.tsv"
    conda:
        "../../envs/vision.yaml"
    params:
        code=code_hash("build_cache"),
        settings=lambda wildcards: config["preparations"][wildcards.prep],
        classes=lambda wildcards: study.index(wildcards.dataset).classes,
        clips=lambda wildcards: study.cache_rows(wildcards.dataset),
        stop=lambda wildcards: study.stops(wildcards.dataset),
    message:
        "Gather the cache of {wildcards.dataset}"
    script:
        "../scripts/build_cache.py"
