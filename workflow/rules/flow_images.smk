ruleorder: import_flow_images > build_cache


rule import_flow_images:
    output:
        cache="<results>/data/{dataset}/{prep}/cache.h5",
        quality="<results>/data/{dataset}/{prep}/quality.csv",
        source="<results>/data/{dataset}/{prep}/images.source.json",
    log:
        "<logs>/import_flow_images/{dataset}/{prep}.log",
    benchmark:
        "<benchmarks>/import_flow_images/{dataset}/{prep}.tsv"
    wildcard_constraints:
        dataset=one_of(name for name in settings.datasets if not data.has_frames(name)),
    conda:
        "../../envs/vision.yaml"
    params:
        code=script_hash("import_flow_images"),
        # Reruns if the images, `data.cache_rows` or the next three change; the rest of clips.csv is left out.
        face_size=lambda w: data.preparation(w.prep).align.size if data.has_faces(w.dataset) else 0,
        channels=lambda w: settings.datasets[w.dataset].channels,
        scaling=lambda w: settings.datasets[w.dataset].scaling,
        classes=lambda w: data.index(w.dataset).classes,
        clips=lambda w: data.cache_rows(w.dataset),
        stop=lambda w: data.stops_on_problem(w.dataset),
        images=lambda w: data.image_rows(w.dataset),
        source=lambda w: data.image_token(w.dataset, w.prep),
    message:
        "Gather the flow images of {wildcards.dataset}"
    script:
        "../scripts/import_flow_images.py"
