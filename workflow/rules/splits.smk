rule make_splits:
    input:
        lambda w: training.split_caches(w.split),
    output:
        "<study>/splits/{split}-seed{seed}.csv",
    log:
        "<logs>/make_splits/<name>/{split}-seed{seed}.log",
    benchmark:
        "<benchmarks>/make_splits/<name>/{split}-seed{seed}.tsv"
    wildcard_constraints:
        split=one_of(training.split_experiments),
    conda:
        "../../envs/learn.yaml"
    params:
        code=script_hash("make_splits"),
        # Reruns if `training.split_settings` changes; it leaves out the seed, which is in the name.
        settings=lambda w: asdict(training.split_settings(w.split)),
    message:
        "Split the clips: {wildcards.split}, seed {wildcards.seed}"
    script:
        "../scripts/make_splits.py"
