# As many jobs as the study of scale.py plans, of the same shape, with nothing but inputs, outputs and a script.
TABLES = ["predictions", "accuracy_train", "curves", "validation"]
FACES, KEYFRAMES, FLOW = (f"results/{{dataset}}/{file}" for file in ["faces/{n}.h5", "keyframes/{n}.csv", "flow/{n}.h5"])
CACHE, TRAINING = "results/{dataset}/cache.h5", "results/experiments/{network}/{n}"

wildcard_constraints: dataset="[^/]+", n="[^/]+", network="[^/]+"

def of_subjects(dataset):
    return expand([FACES, KEYFRAMES, FLOW], dataset=dataset, n=range(config[dataset]))

rule all:
    input: "results/report.html"

rule align_faces:
    output: FACES, f"{FACES}.source.json"
    script: "bare.smk"

rule select_keyframes:
    input: FACES
    output: KEYFRAMES
    script: "bare.smk"

rule compute_flow:
    input: FACES, KEYFRAMES
    output: FLOW
    script: "bare.smk"

rule build_cache:
    input: lambda w: of_subjects(w.dataset)
    output: CACHE
    script: "bare.smk"

rule train:
    input: expand(CACHE, dataset=["micro", "macro"])
    output: [f"{TRAINING}/{file}" for file in [*TABLES, "model"]]
    script: "bare.smk"

rule gather_folds:
    input: expand(f"{TRAINING}/{{table}}", n=range(config["trainings"]), table=TABLES, allow_missing=True)
    output: "results/experiments/{network}/predictions.csv"
    script: "bare.smk"

rule write_report:
    input: of_subjects("macro"), of_subjects("micro"), expand(rules.gather_folds.output, network=config["networks"])
    output: "results/report.html"
    script: "bare.smk"
