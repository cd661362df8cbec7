ruleorder: import_flow_images > build_cache


rule import_flow_images:
    output:
        cache="<results>/data/{dataset}/{prep}/cache.h5",
        quality="<results>/data/{dataset}/{prep}/quality.csv",
        source="<results>/data/{dataset}/{prep}/images.source.json",
    log:
        "<logs>/cache/{dataset}/{prep}.log",
    benchmark:
        "<benchmarks>/cache/{dataset}/{prep}.tsv"
    wildcard_constraints:
        dataset=one_of(study.flow_images),
    conda:
        "../../envs/vision.yaml"
    params:
        code=code_hash("import_flow_images"),
        settings=lambda wildcards: {key: study.dataset(wildcards.dataset).get(key) for key in ("channels", "scaling")},
        classes=lambda wildcards: study.index(wildcards.dataset).classes,
        clips=lambda wildcards: study.cache_rows(wildcards.dataset),
        stop=lambda wildcards: study.stops(wildcards.dataset),
        images=lambda wildcards: study.image_rows(wildcards.dataset),
        source=lambda wildcards: study.image_source(wildcards.dataset, wildcards.prep),
    message:
        "Gather the flow images of {wildcards.dataset}"
    script:
        "../scripts/import_flow_images.py"
