rule align_faces:
    input:
        synthetic_source,
    output:
        faces="<results>/data/{dataset}/{prep}/faces/{subject}.h5",
        source="<results>/data/{dataset}/{prep}/faces/{subject}.source.json",
    log:
        "<logs>/align_faces/{dataset}/{prep}/{subject}.log",
    benchmark:
        "<benchmarks>/align_faces/{dataset}/{prep}/{subject}.tsv"
    conda:
        "../../envs/vision.yaml"
    params:
        code=script_hash("align_faces"),
        # Reruns if the footage, `data.clips` (it leaves out labels), `bit_depth` or the preparation's block `align` changes.
        clips=lambda w: data.clips(w.dataset, w.subject),
        source=lambda w: data.source_token(w.dataset, w.prep, w.subject),
        settings=lambda w: asdict(data.preparation(w.prep).align),
        bit_depth=lambda w: data.bit_depth(w.dataset),
    message:
        "Align the faces of {params.clips[0][subject]}"
    script:
        "../scripts/align_faces.py"
