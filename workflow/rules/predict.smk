wildcard_constraints:
    given=r"[^/]+",
    source=r"[^/]+",
    answering=one_of(prediction.experiments if prediction else []),


rule measure_spotting:
    output:
        f"<results>/{study.name}/spotting.csv",
    log:
        f"<logs>/spotting/{study.name}.log",
    benchmark:
        f"<benchmarks>/spotting/{study.name}.tsv"
    conda:
        "../../envs/vision.yaml"
    params:
        code=code_hash("measure_spotting"),
        settings=config["predict"]["spotting"],
    message:
        "Measure the search of long videos on drawn people"
    script:
        "../scripts/measure_spotting.py"


rule look_through:
    output:
        looked=f"<results>/{study.name}/predict/{{given}}/sources/{{source}}/looked.h5",
        intervals=f"<results>/{study.name}/predict/{{given}}/sources/{{source}}/intervals.csv",
        frames=directory(f"<results>/{study.name}/predict/{{given}}/sources/{{source}}/_frames"),
        source=f"<results>/{study.name}/predict/{{given}}/sources/{{source}}/source.json",
    log:
        f"<logs>/look/{study.name}/{{given}}/{{source}}.log",
    benchmark:
        f"<benchmarks>/look/{study.name}/{{given}}/{{source}}.tsv"
    # First, so that what is wrong with a clip is told before the study is trained.
    priority: 100
    conda:
        "../../envs/vision.yaml"
    params:
        code=code_hash("look_through"),
        source=lambda wildcards: prediction.source(wildcards.source),
        token=lambda wildcards: prediction.token(wildcards.source),
        alone=lambda wildcards: len(prediction.sources) == 1,
        settings={name: config["predict"][name] for name in ("fps", "spotting")},
    message:
        "Look through {wildcards.source}"
    script:
        "../scripts/look_through.py"


rule align_candidates:
    input:
        intervals=f"<results>/{study.name}/predict/{{given}}/sources/{{source}}/intervals.csv",
        frames=f"<results>/{study.name}/predict/{{given}}/sources/{{source}}/_frames",
    output:
        faces=f"<results>/{study.name}/predict/{{given}}/sources/{{source}}/{{prep}}/faces.h5",
    log:
        f"<logs>/look/{study.name}/{{given}}/{{source}}/{{prep}}/align.log",
    benchmark:
        f"<benchmarks>/look/{study.name}/{{given}}/{{source}}/{{prep}}/align.tsv"
    conda:
        "../../envs/vision.yaml"
    params:
        code=code_hash("align_candidates"),
        source=lambda wildcards: prediction.source(wildcards.source),
        settings=lambda wildcards: config["preparations"][wildcards.prep]["align"],
    message:
        "Align the faces of the candidates of {wildcards.source}"
    script:
        "../scripts/align_candidates.py"


use rule score_frames as score_candidates with:
    input:
        faces=f"<results>/{study.name}/predict/{{given}}/sources/{{source}}/{{prep}}/faces.h5",
        scorer=scorer_of,
    output:
        f"<results>/{study.name}/predict/{{given}}/sources/{{source}}/{{prep}}/scores.csv",
    log:
        f"<logs>/look/{study.name}/{{given}}/{{source}}/{{prep}}/scores.log",
    benchmark:
        f"<benchmarks>/look/{study.name}/{{given}}/{{source}}/{{prep}}/scores.tsv"
    message:
        "Score the frames of the candidates of {wildcards.source}"


use rule select_keyframes as select_candidates with:
    input:
        faces=f"<results>/{study.name}/predict/{{given}}/sources/{{source}}/{{prep}}/faces.h5",
        scores=scores_of_candidates,
    output:
        f"<results>/{study.name}/predict/{{given}}/sources/{{source}}/{{prep}}/keyframes.csv",
    log:
        f"<logs>/look/{study.name}/{{given}}/{{source}}/{{prep}}/keyframes.log",
    benchmark:
        f"<benchmarks>/look/{study.name}/{{given}}/{{source}}/{{prep}}/keyframes.tsv"
    message:
        "Select the key-frames of the candidates of {wildcards.source}"


use rule compute_flow as compute_candidates with:
    input:
        faces=f"<results>/{study.name}/predict/{{given}}/sources/{{source}}/{{prep}}/faces.h5",
        keyframes=f"<results>/{study.name}/predict/{{given}}/sources/{{source}}/{{prep}}/keyframes.csv",
    output:
        f"<results>/{study.name}/predict/{{given}}/sources/{{source}}/{{prep}}/flow.h5",
    log:
        f"<logs>/look/{study.name}/{{given}}/{{source}}/{{prep}}/flow.log",
    benchmark:
        f"<benchmarks>/look/{study.name}/{{given}}/{{source}}/{{prep}}/flow.tsv"
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
        cache=f"<results>/{study.name}/predict/{{given}}/prepared/{{prep}}/cache.h5",
        quality=f"<results>/{study.name}/predict/{{given}}/prepared/{{prep}}/quality.csv",
    log:
        f"<logs>/look/{study.name}/{{given}}/{{prep}}/gather.log",
    benchmark:
        f"<benchmarks>/look/{study.name}/{{given}}/{{prep}}/cache.tsv"
    conda:
        "../../envs/vision.yaml"
    params:
        code=code_hash("gather_candidates"),
        settings=lambda wildcards: config["preparations"][wildcards.prep],
    message:
        "Gather the candidates of {wildcards.given}"
    script:
        "../scripts/gather_candidates.py"


rule answer_clips:
    input:
        ensemble=lambda wildcards: study.ensemble_files(wildcards.answering),
        cache=lambda wildcards: prepared_as(wildcards.answering, "cache.h5"),
        quality=lambda wildcards: prepared_as(wildcards.answering, "quality.csv"),
        intervals=of_sources("intervals.csv"),
        caches=lambda wildcards: prediction.training(wildcards.answering)["caches"],
        clips=lambda wildcards: prediction.training(wildcards.answering)["quality"],
    output:
        table=f"<results>/{study.name}/predict/{{given}}/experiments/{{answering}}.csv",
        regions=f"<results>/{study.name}/predict/{{given}}/experiments/{{answering}}.h5",
    log:
        f"<logs>/answer/{study.name}/{{given}}/{{answering}}.log",
    benchmark:
        f"<benchmarks>/answer/{study.name}/{{given}}/{{answering}}.tsv"
    conda:
        "../../envs/learn.yaml"
    resources:
        gpu=gpus,
    params:
        code=code_hash("answer_clips"),
        settings=lambda wildcards: prediction.answer_settings(wildcards.answering),
        training=lambda wildcards: prediction.training(wildcards.answering),
    message:
        "Ask {wildcards.answering} about {wildcards.given}"
    script:
        "../scripts/answer_clips.py"


rule write_prediction:
    input:
        looked=of_sources("looked.h5"),
        intervals=of_sources("intervals.csv"),
        faces=of_preparations("faces.h5"),
        keyframes=of_preparations("keyframes.csv"),
        flow=of_preparations("flow.h5"),
        quality=of_prepared("quality.csv"),
        tables=of_answers("csv"),
        regions=of_answers("h5"),
        coverage=f"<results>/{study.name}/coverage.csv",
        spotting=spotting_of,
    output:
        page=f"<results>/{study.name}/predict/{{given}}/index.html",
        answers=f"<results>/{study.name}/predict/{{given}}/answers.csv",
        json=f"<results>/{study.name}/predict/{{given}}/answers.json",
    log:
        f"<logs>/prediction/{study.name}/{{given}}.log",
    benchmark:
        f"<benchmarks>/prediction/{study.name}/{{given}}.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        code=code_hash("write_prediction"),
        plan=lambda wildcards: prediction.page_settings(),
    message:
        "Write the answers about {wildcards.given}"
    script:
        "../scripts/write_prediction.py"
