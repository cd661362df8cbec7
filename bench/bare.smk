# As many jobs as the study of scale.py plans, of the same shape, with nothing but inputs, outputs and a script.
TABLES = ["predictions", "accuracy_train", "curves", "validation"]
TRAININGS = range(config["trainings"])


wildcard_constraints:
    dataset="[^/]+",
    subject="[^/]+",
    network="[^/]+",
    number="[^/]+",


rule all:
    input:
        "results/report.html",


rule align_faces:
    output:
        "results/data/{dataset}/faces/{subject}.h5",
        "results/data/{dataset}/faces/{subject}.source.json",
    script:
        "bare.smk"


rule select_keyframes:
    input:
        "results/data/{dataset}/faces/{subject}.h5",
    output:
        "results/data/{dataset}/keyframes/{subject}.csv",
    script:
        "bare.smk"


rule compute_flow:
    input:
        "results/data/{dataset}/faces/{subject}.h5",
        "results/data/{dataset}/keyframes/{subject}.csv",
    output:
        "results/data/{dataset}/flow/{subject}.h5",
    script:
        "bare.smk"


def of_subjects(dataset):
    files = expand(["faces/{n}.h5", "keyframes/{n}.csv", "flow/{n}.h5"], n=range(config[dataset]))
    return [f"results/data/{dataset}/{file}" for file in files]


rule build_cache:
    input:
        lambda w: of_subjects(w.dataset),
    output:
        "results/data/{dataset}/cache.h5",
    script:
        "bare.smk"


rule train:
    input:
        "results/data/micro/cache.h5",
        "results/data/macro/cache.h5",
    output:
        expand("results/{{network}}/{{number}}/{file}", file=[*TABLES, "model"]),
    script:
        "bare.smk"


rule gather_folds:
    input:
        expand("results/{{network}}/{number}/{table}", number=TRAININGS, table=TABLES),
    output:
        "results/{network}/predictions.csv",
    script:
        "bare.smk"


rule write_report:
    input:
        expand("results/{network}/predictions.csv", network=config["networks"]),
        of_subjects("macro"),
        of_subjects("micro"),
    output:
        "results/report.html",
    script:
        "bare.smk"
