wildcard_constraints:
    prediction=r"[^/]+",
    source=r"[^/]+",


rule measure_spotting:
    output:
        "<study>/spotting.csv",
    log:
        "<logs>/spotting/<name>.log",
    benchmark:
        "<benchmarks>/spotting/<name>.tsv"
    conda:
        "../../envs/vision.yaml"
    params:
        code=code_hash("measure_spotting"),
        settings=settings.predict.spotting.model_dump(),
    message:
        "Measure the search of long videos on synthetic people"
    script:
        "../scripts/measure_spotting.py"


rule search_source:
    output:
        looked="<study>/predict/{prediction}/sources/{source}/looked.h5",
        intervals="<study>/predict/{prediction}/sources/{source}/intervals.csv",
        frames=directory("<study>/predict/{prediction}/sources/{source}/_frames"),
        source="<study>/predict/{prediction}/sources/{source}/source.json",
    log:
        "<logs>/search/<name>/{prediction}/{source}.log",
    benchmark:
        "<benchmarks>/search/<name>/{prediction}/{source}.tsv"
    # High priority: problems of a clip are reported before the study is trained.
    priority: 100
    conda:
        "../../envs/vision.yaml"
    params:
        code=code_hash("search_source"),
        source=lambda w: prediction.source(w.source),
        token=lambda w: prediction.source_token(w.source),
        alone=lambda w: len(prediction.sources) == 1,
        settings=lambda w: prediction.search_settings(),
    message:
        "Search {wildcards.source}"
    script:
        "../scripts/search_source.py"


rule align_candidates:
    input:
        intervals="<study>/predict/{prediction}/sources/{source}/intervals.csv",
        frames="<study>/predict/{prediction}/sources/{source}/_frames",
    output:
        faces="<study>/predict/{prediction}/sources/{source}/{prep}/faces.h5",
    log:
        "<logs>/search/<name>/{prediction}/{source}/{prep}/align.log",
    benchmark:
        "<benchmarks>/search/<name>/{prediction}/{source}/{prep}/align.tsv"
    conda:
        "../../envs/vision.yaml"
    params:
        code=code_hash("align_candidates"),
        source=lambda w: prediction.source(w.source),
        settings=lambda w: asdict(data.preparation(w.prep).align),
    message:
        "Align the faces of the candidates of {wildcards.source}"
    script:
        "../scripts/align_candidates.py"


use rule score_frames as score_candidates with:
    input:
        faces="<study>/predict/{prediction}/sources/{source}/{prep}/faces.h5",
        scorer=lambda w: data.scorer_file(w.prep),
    output:
        "<study>/predict/{prediction}/sources/{source}/{prep}/scores.csv",
    log:
        "<logs>/search/<name>/{prediction}/{source}/{prep}/scores.log",
    benchmark:
        "<benchmarks>/search/<name>/{prediction}/{source}/{prep}/scores.tsv"
    message:
        "Score the frames of the candidates of {wildcards.source}"


use rule select_keyframes as select_candidates with:
    input:
        faces="<study>/predict/{prediction}/sources/{source}/{prep}/faces.h5",
        scores=scores_if("<study>/predict/{prediction}/sources/{source}/{prep}/scores.csv"),
    output:
        "<study>/predict/{prediction}/sources/{source}/{prep}/keyframes.csv",
    log:
        "<logs>/search/<name>/{prediction}/{source}/{prep}/keyframes.log",
    benchmark:
        "<benchmarks>/search/<name>/{prediction}/{source}/{prep}/keyframes.tsv"
    message:
        "Select the key-frames of the candidates of {wildcards.source}"


use rule compute_flow as compute_candidates with:
    input:
        faces="<study>/predict/{prediction}/sources/{source}/{prep}/faces.h5",
        keyframes="<study>/predict/{prediction}/sources/{source}/{prep}/keyframes.csv",
    output:
        "<study>/predict/{prediction}/sources/{source}/{prep}/flow.h5",
    log:
        "<logs>/search/<name>/{prediction}/{source}/{prep}/flow.log",
    benchmark:
        "<benchmarks>/search/<name>/{prediction}/{source}/{prep}/flow.tsv"
    message:
        "Compute the flow of the candidates of {wildcards.source}"


rule gather_candidates:
    input:
        looked=of_sources("looked.h5"),
        intervals=of_sources("intervals.csv"),
        faces=of_sources("{prep}/faces.h5"),
        keyframes=of_sources("{prep}/keyframes.csv"),
        flow=of_sources("{prep}/flow.h5"),
    output:
        cache="<study>/predict/{prediction}/prepared/{prep}/cache.h5",
        quality="<study>/predict/{prediction}/prepared/{prep}/quality.csv",
    log:
        "<logs>/search/<name>/{prediction}/{prep}/gather.log",
    benchmark:
        "<benchmarks>/search/<name>/{prediction}/{prep}/cache.tsv"
    conda:
        "../../envs/vision.yaml"
    params:
        code=code_hash("gather_candidates"),
        settings=lambda w: asdict(data.preparation(w.prep)),
    message:
        "Gather the candidates of {wildcards.prediction}"
    script:
        "../scripts/gather_candidates.py"


rule answer_clips:
    input:
        ensemble=lambda w: publishing.ensemble_files(w.experiment),
        cache=prepared_for_experiment("cache.h5"),
        quality=prepared_for_experiment("quality.csv"),
        intervals=of_sources("intervals.csv"),
        caches=lambda w: prediction.training_files(w.experiment, "cache.h5"),
        clips=lambda w: prediction.training_files(w.experiment, "quality.csv"),
    output:
        table="<study>/predict/{prediction}/experiments/{experiment}.csv",
        regions="<study>/predict/{prediction}/experiments/{experiment}.h5",
    log:
        "<logs>/answer/<name>/{prediction}/{experiment}.log",
    benchmark:
        "<benchmarks>/answer/<name>/{prediction}/{experiment}.tsv"
    wildcard_constraints:
        experiment=one_of(prediction.answering if prediction else []),
    conda:
        "../../envs/learn.yaml"
    resources:
        gpu=gpus,
    params:
        code=code_hash("answer_clips"),
        settings=lambda w: asdict(prediction.answer_settings(w.experiment)),
    message:
        "Apply {wildcards.experiment} to {wildcards.prediction}"
    script:
        "../scripts/answer_clips.py"


rule write_prediction:
    input:
        looked=of_sources("looked.h5"),
        intervals=of_sources("intervals.csv"),
        faces=of_source_preparations("faces.h5"),
        keyframes=of_source_preparations("keyframes.csv"),
        flow=of_source_preparations("flow.h5"),
        quality=of_preparations("quality.csv"),
        tables=of_answers("csv"),
        regions=of_answers("h5"),
        coverage="<study>/coverage.csv",
        spotting=spotting_accuracy_if_searched,
    output:
        page="<study>/predict/{prediction}/index.html",
        answers="<study>/predict/{prediction}/answers.csv",
        json="<study>/predict/{prediction}/answers.json",
    log:
        "<logs>/prediction/<name>/{prediction}.log",
    benchmark:
        "<benchmarks>/prediction/<name>/{prediction}.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        code=code_hash("write_prediction"),
        settings=lambda w: asdict(prediction.page_settings()),
    message:
        "Write the answers about {wildcards.prediction}"
    script:
        "../scripts/write_prediction.py"
