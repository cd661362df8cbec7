rule measure_motion:
    input:
        lambda w: spotting.drawn(w.dataset, w.video),
    output:
        track="<study>/spotting/motion/{dataset}/{video}.h5",
        source="<study>/spotting/motion/{dataset}/{video}.source.json",
    log:
        "<logs>/measure_motion/<name>/{dataset}/{video}.log",
    benchmark:
        "<benchmarks>/measure_motion/<name>/{dataset}/{video}.tsv"
    conda:
        "../../envs/vision.yaml"
    threads: 2
    params:
        code=script_hash("measure_motion"),
        # Reruns if the footage, its frame rate or `spotting_settings` changes.
        footage=lambda w: spotting.footage(w.dataset, w.video),
        token=lambda w: spotting.source_token(w.dataset, w.video),
        settings=asdict(spotting_settings(settings)),
    message:
        "Measure the motion of {wildcards.dataset}/{wildcards.video}"
    script:
        "../scripts/measure_motion.py"


rule list_long_videos:
    input:
        lambda w: spotting.tracks(),
    output:
        videos="<study>/spotting/videos.csv",
        truth="<study>/spotting/truth.csv",
    log:
        "<logs>/list_long_videos/<name>.log",
    benchmark:
        "<benchmarks>/list_long_videos/<name>.tsv"
    conda:
        "../../envs/vision.yaml"
    params:
        code=script_hash("list_long_videos"),
        # Reruns if a video or one of its annotated expressions changes.
        videos=lambda w: [asdict(video) for video in spotting.listed],
    message:
        "List the long videos and their expressions"
    script:
        "../scripts/list_long_videos.py"


rule spot_videos:
    input:
        videos="<study>/spotting/videos.csv",
        truth="<study>/spotting/truth.csv",
        tracks=lambda w: spotting.tracks(w.experiment),
    output:
        candidates="<study>/spotting/{experiment}/candidates.csv",
        detections="<study>/spotting/{experiment}/detections.csv",
        spotter="<study>/spotting/{experiment}/spotter.safetensors",
    log:
        "<logs>/spot_videos/<name>/{experiment}.log",
    benchmark:
        "<benchmarks>/spot_videos/<name>/{experiment}.tsv"
    wildcard_constraints:
        experiment=one_of(spotting.blocks),
    conda:
        "../../envs/learn.yaml"
    params:
        code=script_hash("spot_videos"),
        # Reruns if `spotting.experiment_settings` changes; motion and truth are files.
        settings=lambda w: asdict(spotting.experiment_settings(w.experiment)),
        videos=lambda w: [[video.dataset, video.video] for video in spotting.videos_of(w.experiment)],
    message:
        "Spot expressions by {wildcards.experiment}"
    script:
        "../scripts/spot_videos.py"


rule score_spotting:
    input:
        videos="<study>/spotting/videos.csv",
        truth="<study>/spotting/truth.csv",
        detections=expand("<study>/spotting/{experiment}/detections.csv", experiment=spotting.scored_experiments()),
        candidates=expand("<study>/spotting/{experiment}/candidates.csv", experiment=spotting.blocks),
    output:
        metrics="<study>/spotting/metrics.csv",
        curve="<study>/spotting/curve.csv",
    log:
        "<logs>/score_spotting/<name>.log",
    benchmark:
        "<benchmarks>/score_spotting/<name>.tsv"
    conda:
        "../../envs/learn.yaml"
    params:
        code=script_hash("score_spotting"),
        # Reruns if datasets, kinds or classes of an experiment change; detections are files.
        experiments=lambda w: {name: asdict(each) for name, each in spotting.scored_experiments().items()},
    message:
        "Score the spotted expressions"
    script:
        "../scripts/score_spotting.py"


rule write_spotting_page:
    input:
        videos="<study>/spotting/videos.csv",
        truth="<study>/spotting/truth.csv",
        metrics="<study>/spotting/metrics.csv",
        curve="<study>/spotting/curve.csv",
        detections=expand("<study>/spotting/{experiment}/detections.csv", experiment=spotting.scored_experiments()),
        candidates=expand("<study>/spotting/{experiment}/candidates.csv", experiment=spotting.blocks),
        audits=expand("<study>/spotting/{experiment}/audit.csv", experiment=recognition.blocks),
    output:
        "<study>/spotting/index.html",
    log:
        "<logs>/write_spotting_page/<name>.log",
    benchmark:
        "<benchmarks>/write_spotting_page/<name>.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        code=script_hash("write_spotting_page"),
        # Reruns if `spotting.page_settings` changes; it leaves out all numbers, which are files.
        settings=lambda w: asdict(spotting.page_settings()),
    message:
        "Write the page of the long videos of {params.settings[name]}"
    script:
        "../scripts/write_spotting_page.py"
