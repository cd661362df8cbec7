rule search_source:
    input:
        spotter=lambda w: prediction.spotter_file,
    output:
        search_results="<study>/predict/{prediction}/sources/{source}/search.h5",
        intervals="<study>/predict/{prediction}/sources/{source}/intervals.csv",
        frames=directory("<study>/predict/{prediction}/sources/{source}/_frames"),
        source="<study>/predict/{prediction}/sources/{source}/source.json",
    log:
        "<logs>/search_source/<name>/{prediction}/{source}.log",
    benchmark:
        "<benchmarks>/search_source/<name>/{prediction}/{source}.tsv"
    # High priority: problems of a clip are reported before the study is trained.
    priority: 100
    conda:
        "../../envs/vision.yaml"
    threads: 2
    params:
        code=script_hash("search_source"),
        # Reruns if the footage, the frame rate or `spotting_settings` changes; it leaves out who answers and how.
        source=lambda w: prediction.sources[w.source],
        token=lambda w: prediction.source_token(w.source),
        alone=lambda w: len(prediction.sources) == 1,
        fps=settings.predict.fps,
        settings=asdict(spotting_settings(settings)),
    message:
        "Search {params.source[clip]}"
    script:
        "../scripts/search_source.py"


rule align_candidates:
    input:
        intervals="<study>/predict/{prediction}/sources/{source}/intervals.csv",
        search_results="<study>/predict/{prediction}/sources/{source}/search.h5",
        frames="<study>/predict/{prediction}/sources/{source}/_frames",
    output:
        faces="<study>/predict/{prediction}/sources/{source}/{prep}/faces.h5",
    log:
        "<logs>/align_candidates/<name>/{prediction}/{source}/{prep}.log",
    benchmark:
        "<benchmarks>/align_candidates/<name>/{prediction}/{source}/{prep}.tsv"
    conda:
        "../../envs/vision.yaml"
    params:
        code=script_hash("align_candidates"),
        # Reruns if the block `align` of the preparation changes, and for no other block; frames are files.
        source=lambda w: prediction.sources[w.source],
        settings=lambda w: asdict(data.preparation(w.prep).align),
    message:
        "Align the faces of the candidates of {params.source[clip]}"
    script:
        "../scripts/align_candidates.py"


use rule score_frames as score_candidates with:
    input:
        faces="<study>/predict/{prediction}/sources/{source}/{prep}/faces.h5",
        scorer=lambda w: data.scorer_file(w.prep),
    output:
        "<study>/predict/{prediction}/sources/{source}/{prep}/scores.csv",
    log:
        "<logs>/score_candidates/<name>/{prediction}/{source}/{prep}.log",
    benchmark:
        "<benchmarks>/score_candidates/<name>/{prediction}/{source}/{prep}.tsv"
    message:
        "Score the frames of the candidates of {wildcards.source}"


use rule select_keyframes as select_candidates with:
    input:
        faces="<study>/predict/{prediction}/sources/{source}/{prep}/faces.h5",
        scores=scores_if("<study>/predict/{prediction}/sources/{source}/{prep}/scores.csv"),
    output:
        "<study>/predict/{prediction}/sources/{source}/{prep}/keyframes.csv",
    log:
        "<logs>/select_candidates/<name>/{prediction}/{source}/{prep}.log",
    benchmark:
        "<benchmarks>/select_candidates/<name>/{prediction}/{source}/{prep}.tsv"
    message:
        "Select the key-frames of the candidates of {wildcards.source}"


use rule compute_flow as compute_candidates with:
    input:
        faces="<study>/predict/{prediction}/sources/{source}/{prep}/faces.h5",
        keyframes="<study>/predict/{prediction}/sources/{source}/{prep}/keyframes.csv",
    output:
        "<study>/predict/{prediction}/sources/{source}/{prep}/flow.h5",
    log:
        "<logs>/compute_candidates/<name>/{prediction}/{source}/{prep}.log",
    benchmark:
        "<benchmarks>/compute_candidates/<name>/{prediction}/{source}/{prep}.tsv"
    message:
        "Compute the flow of the candidates of {wildcards.source}"


rule gather_candidates:
    input:
        search_results=of_prediction("sources/{source}/search.h5"),
        intervals=of_prediction("sources/{source}/intervals.csv"),
        faces=of_prediction("sources/{source}/{prep}/faces.h5"),
        keyframes=of_prediction("sources/{source}/{prep}/keyframes.csv"),
        flow=of_prediction("sources/{source}/{prep}/flow.h5"),
    output:
        cache="<study>/predict/{prediction}/prepared/{prep}/cache.h5",
        quality="<study>/predict/{prediction}/prepared/{prep}/quality.csv",
    log:
        "<logs>/gather_candidates/<name>/{prediction}/{prep}.log",
    benchmark:
        "<benchmarks>/gather_candidates/<name>/{prediction}/{prep}.tsv"
    conda:
        "../../envs/vision.yaml"
    params:
        code=script_hash("gather_candidates"),
        # Reruns if a block of the preparation changes, since the cache records them all (`data.preparation`).
        settings=lambda w: asdict(data.preparation(w.prep)),
    message:
        "Gather the candidates of {wildcards.prediction}"
    script:
        "../scripts/gather_candidates.py"


rule answer_clips:
    input:
        ensemble=lambda w: prediction.ensemble_files(publishing, w.experiment),
        cache=lambda w: prediction.prepared(w.experiment, "cache.h5"),
        quality=lambda w: prediction.prepared(w.experiment, "quality.csv"),
        intervals=of_prediction("sources/{source}/intervals.csv"),
        caches=lambda w: prediction.training_files(w.experiment, "cache.h5"),
        clips=lambda w: prediction.training_files(w.experiment, "quality.csv"),
    output:
        table="<study>/predict/{prediction}/experiments/{experiment}.csv",
        regions="<study>/predict/{prediction}/experiments/{experiment}.h5",
    log:
        "<logs>/answer_clips/<name>/{prediction}/{experiment}.log",
    benchmark:
        "<benchmarks>/answer_clips/<name>/{prediction}/{experiment}.tsv"
    wildcard_constraints:
        experiment=one_of(prediction.answering if prediction else []),
    conda:
        "../../envs/learn.yaml"
    resources:
        gpu=GPUS,
    params:
        code=script_hash("answer_clips"),
        # Reruns if `prediction.answer_settings` changes; it leaves out training settings: the networks are files.
        settings=lambda w: asdict(prediction.answer_settings(w.experiment)),
    message:
        "Apply {wildcards.experiment} to {wildcards.prediction}"
    script:
        "../scripts/answer_clips.py"


rule write_prediction:
    input:
        search_results=of_prediction("sources/{source}/search.h5"),
        intervals=of_prediction("sources/{source}/intervals.csv"),
        faces=of_prediction("sources/{source}/{preparation}/faces.h5"),
        keyframes=of_prediction("sources/{source}/{preparation}/keyframes.csv"),
        flow=of_prediction("sources/{source}/{preparation}/flow.h5"),
        quality=of_prediction("prepared/{preparation}/quality.csv"),
        tables=of_prediction("experiments/{answering}.csv"),
        regions=of_prediction("experiments/{answering}.h5"),
        coverage=lambda _: prediction.coverage,
    output:
        page="<study>/predict/{prediction}/index.html",
        answers="<study>/predict/{prediction}/answers.csv",
        json="<study>/predict/{prediction}/answers.json",
    log:
        "<logs>/write_prediction/<name>/{prediction}.log",
    benchmark:
        "<benchmarks>/write_prediction/<name>/{prediction}.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        code=script_hash("write_prediction"),
        # Reruns if `prediction.page_settings` changes; it leaves out all numbers, which are files.
        settings=lambda w: asdict(prediction.page_settings()),
    message:
        "Write the answers about {wildcards.prediction}"
    script:
        "../scripts/write_prediction.py"
