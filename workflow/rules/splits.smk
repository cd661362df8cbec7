rule make_splits:
    input:
        caches_of_split,
    output:
        f"<results>/{study.name}/splits/{{split}}-seed{{seed}}.csv",
    log:
        f"<logs>/splits/{study.name}/{{split}}-seed{{seed}}.log",
    benchmark:
        f"<benchmarks>/splits/{study.name}/{{split}}-seed{{seed}}.tsv"
    wildcard_constraints:
        split=one_of(study.splits),
        seed=r"\d+",
    conda:
        "../../envs/learn.yaml"
    params:
        code=code_hash("make_splits"),
        settings=lambda wildcards: asdict(study.splits[wildcards.split]["settings"]),
    message:
        "Split the clips: {wildcards.split}, seed {wildcards.seed}"
    script:
        "../scripts/make_splits.py"
