rule build_cache:
    input:
        faces=per_subject("<results>/data/{dataset}/{prep}/faces/{subject}.h5"),
        keyframes=per_subject("<results>/data/{dataset}/{prep}/keyframes/{subject}.csv"),
        flow=per_subject("<results>/data/{dataset}/{prep}/flow/{subject}.h5"),
    output:
        cache="<results>/data/{dataset}/{prep}/cache.h5",
        quality="<results>/data/{dataset}/{prep}/quality.csv",
    log:
        "<logs>/build_cache/{dataset}/{prep}.log",
    benchmark:
        "<benchmarks>/build_cache/{dataset}/{prep}.tsv"
    conda:
        "../../envs/vision.yaml"
    params:
        code=script_hash("build_cache"),
        # Reruns if `data.cache_rows` changes; it leaves out all columns of clips.csv but names, labels, kind and problem.
        settings=lambda w: asdict(data.preparation(w.prep)),
        classes=lambda w: data.index(w.dataset).classes,
        clips=lambda w: data.cache_rows(w.dataset),
        stop=lambda w: data.stops_on_problem(w.dataset),
    message:
        "Gather the cache of {wildcards.dataset}"
    script:
        "../scripts/build_cache.py"
