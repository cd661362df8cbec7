rule train_scorer:
    input:
        per_subject("<results>/data/{dataset}/{prep}/faces/{subject}.h5"),
    output:
        "<results>/scorers/{dataset}/{prep}.safetensors",
    log:
        "<logs>/train_scorer/{dataset}/{prep}.log",
    benchmark:
        "<benchmarks>/train_scorer/{dataset}/{prep}.tsv"
    conda:
        "../../envs/learn.yaml"
    params:
        code=script_hash("train_scorer"),
    message:
        "Train the frame scorer of {wildcards.prep} on {wildcards.dataset}"
    script:
        "../scripts/train_scorer.py"


rule score_frames:
    input:
        faces="<results>/data/{dataset}/{prep}/faces/{subject}.h5",
        scorer=lambda w: data.scorer_file(w.prep),
    output:
        "<results>/data/{dataset}/{prep}/scores/{subject}.csv",
    log:
        "<logs>/score_frames/{dataset}/{prep}/{subject}.log",
    benchmark:
        "<benchmarks>/score_frames/{dataset}/{prep}/{subject}.tsv"
    conda:
        "../../envs/learn.yaml"
    params:
        code=script_hash("score_frames"),
    message:
        "Score the frames of {wildcards.dataset}/{wildcards.subject}"
    script:
        "../scripts/score_frames.py"


rule select_keyframes:
    input:
        faces="<results>/data/{dataset}/{prep}/faces/{subject}.h5",
        scores=scores_if("<results>/data/{dataset}/{prep}/scores/{subject}.csv"),
    output:
        "<results>/data/{dataset}/{prep}/keyframes/{subject}.csv",
    log:
        "<logs>/select_keyframes/{dataset}/{prep}/{subject}.log",
    benchmark:
        "<benchmarks>/select_keyframes/{dataset}/{prep}/{subject}.tsv"
    conda:
        "../../envs/vision.yaml"
    params:
        code=script_hash("select_keyframes"),
        # Reruns if the block `keyframes` changes (`data.preparation`); it leaves out `learn_from`: scores are a file.
        settings=lambda w: asdict(data.preparation(w.prep).keyframes),
    message:
        "Select the key-frames of {wildcards.dataset}/{wildcards.subject}"
    script:
        "../scripts/select_keyframes.py"
