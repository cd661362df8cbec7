rule align_detections:
    input:
        detections="<study>/spotting/{spotter}/detections.csv",
    output:
        faces="<study>/spotting/{spotter}/{prep}/{dataset}/faces/{subject}.h5",
    log:
        "<logs>/align_detections/<name>/{spotter}/{prep}/{dataset}/{subject}.log",
    benchmark:
        "<benchmarks>/align_detections/<name>/{spotter}/{prep}/{dataset}/{subject}.tsv"
    wildcard_constraints:
        spotter=one_of(spotting.blocks),
    conda:
        "../../envs/vision.yaml"
    params:
        code=script_hash("align_detections"),
        # Reruns if the block `align` of the preparation changes; if the footage changes, so do the detections.
        videos=lambda w: recognition.videos(w.dataset, w.subject),
        settings=lambda w: asdict(data.preparation(w.prep).align),
        bit_depth=lambda w: data.bit_depth(w.dataset),
    message:
        "Align the faces of what {wildcards.spotter} spotted of {wildcards.dataset}/{wildcards.subject}"
    script:
        "../scripts/align_detections.py"


use rule score_frames as score_detections with:
    input:
        faces="<study>/spotting/{spotter}/{prep}/{dataset}/faces/{subject}.h5",
        scorer=lambda w: data.scorer_file(w.prep),
    output:
        "<study>/spotting/{spotter}/{prep}/{dataset}/scores/{subject}.csv",
    log:
        "<logs>/score_detections/<name>/{spotter}/{prep}/{dataset}/{subject}.log",
    benchmark:
        "<benchmarks>/score_detections/<name>/{spotter}/{prep}/{dataset}/{subject}.tsv"
    message:
        "Score the frames of what {wildcards.spotter} spotted of {wildcards.dataset}/{wildcards.subject}"


use rule select_keyframes as select_detections with:
    input:
        faces="<study>/spotting/{spotter}/{prep}/{dataset}/faces/{subject}.h5",
        scores=scores_if("<study>/spotting/{spotter}/{prep}/{dataset}/scores/{subject}.csv"),
    output:
        "<study>/spotting/{spotter}/{prep}/{dataset}/keyframes/{subject}.csv",
    log:
        "<logs>/select_detections/<name>/{spotter}/{prep}/{dataset}/{subject}.log",
    benchmark:
        "<benchmarks>/select_detections/<name>/{spotter}/{prep}/{dataset}/{subject}.tsv"
    message:
        "Select the key-frames of what {wildcards.spotter} spotted of {wildcards.dataset}/{wildcards.subject}"


use rule compute_flow as compute_detections with:
    input:
        faces="<study>/spotting/{spotter}/{prep}/{dataset}/faces/{subject}.h5",
        keyframes="<study>/spotting/{spotter}/{prep}/{dataset}/keyframes/{subject}.csv",
    output:
        "<study>/spotting/{spotter}/{prep}/{dataset}/flow/{subject}.h5",
    log:
        "<logs>/compute_detections/<name>/{spotter}/{prep}/{dataset}/{subject}.log",
    benchmark:
        "<benchmarks>/compute_detections/<name>/{spotter}/{prep}/{dataset}/{subject}.tsv"
    message:
        "Compute the flow of what {wildcards.spotter} spotted of {wildcards.dataset}/{wildcards.subject}"


rule gather_detections:
    input:
        detections="<study>/spotting/{spotter}/detections.csv",
        faces=lambda w: recognition.prepared(w.spotter, w.prep, "faces/{subject}.h5"),
        keyframes=lambda w: recognition.prepared(w.spotter, w.prep, "keyframes/{subject}.csv"),
        flow=lambda w: recognition.prepared(w.spotter, w.prep, "flow/{subject}.h5"),
    output:
        cache="<study>/spotting/{spotter}/{prep}/cache.h5",
        quality="<study>/spotting/{spotter}/{prep}/quality.csv",
    log:
        "<logs>/gather_detections/<name>/{spotter}/{prep}.log",
    benchmark:
        "<benchmarks>/gather_detections/<name>/{spotter}/{prep}.tsv"
    wildcard_constraints:
        spotter=one_of(spotting.blocks),
    conda:
        "../../envs/vision.yaml"
    params:
        code=script_hash("gather_detections"),
        # Reruns if a block of the preparation changes, since the cache records them all (`data.preparation`).
        settings=lambda w: asdict(data.preparation(w.prep)),
    message:
        "Gather what {wildcards.spotter} spotted"
    script:
        "../scripts/gather_detections.py"


rule recognise_detections:
    input:
        detections=lambda w: recognition.spotted(w.experiment, "detections.csv"),
        cache=lambda w: recognition.spotted(w.experiment, f"{recognition.prep(w.experiment)}/cache.h5"),
        ensemble=lambda w: publishing.ensemble_files(recognition.blocks[w.experiment].recogniser),
        splits=lambda w: recognition.split_files(w.experiment),
    output:
        detections="<study>/spotting/{experiment}/detections.csv",
        audit="<study>/spotting/{experiment}/audit.csv",
    log:
        "<logs>/recognise_detections/<name>/{experiment}.log",
    benchmark:
        "<benchmarks>/recognise_detections/<name>/{experiment}.tsv"
    wildcard_constraints:
        experiment=one_of(recognition.blocks),
    conda:
        "../../envs/learn.yaml"
    resources:
        gpu=GPUS,
    params:
        code=script_hash("recognise_detections"),
        # Reruns if `recognition.settings` changes; it leaves out training settings: the networks are files.
        settings=lambda w: asdict(recognition.settings(w.experiment)),
    message:
        "Recognise what was spotted by {wildcards.experiment}"
    script:
        "../scripts/recognise_detections.py"
