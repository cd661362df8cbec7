rule make_demo:
    output:
        directory("<results>/data/{dataset}/source/{subject}"),
    log:
        "<logs>/make_demo/{dataset}/{subject}.log",
    benchmark:
        "<benchmarks>/make_demo/{dataset}/{subject}.tsv"
    conda:
        "../../envs/vision.yaml"
    params:
        code=script_hash("make_demo"),
        # Reruns if `data.settings` changes; it leaves out the keys of `demo` that belong to other datasets.
        settings=lambda w: asdict(data.settings(w.dataset)),
    message:
        "Make the synthetic clips of {wildcards.dataset}/{wildcards.subject}"
    script:
        "../scripts/make_demo.py"


rule draw_long_person:
    output:
        "<results>/data/{dataset}/videos/{subject}.mp4",
    log:
        "<logs>/draw_long_person/{dataset}/{subject}.log",
    benchmark:
        "<benchmarks>/draw_long_person/{dataset}/{subject}.tsv"
    conda:
        "../../envs/vision.yaml"
    params:
        code=script_hash("draw_long_person"),
        # Reruns if `data.drawing_settings` changes: the number of people and the kind of clips are left out.
        settings=lambda w: asdict(data.drawing_settings(w.dataset)),
    message:
        "Draw the long video of {wildcards.dataset}/{wildcards.subject}"
    script:
        "../scripts/draw_long_person.py"
