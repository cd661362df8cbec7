"""merflow: from raw face clips to a micro-expression recognition study. `snakemake --cores 8` runs config.yaml."""

import os
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.utils import min_version

from merflow.codehash import code_hash as hash_of
from merflow.config import load_config
from merflow.devices import VARIABLE as DEVICE
from merflow.devices import gpus_of_a_job
from merflow.errors import MerflowError
from merflow.files import check_writable
from merflow.headline import headline
from merflow.job import THREADS
from merflow.models.registry import source as network_source
from merflow.predict.plan import NAMED, Prediction
from merflow.runs import Watcher, how_to_resume
from merflow.study import Study

min_version("9.20")
os.environ.update(THREADS)
HERE = Path(workflow.basedir)

try:
    config = load_config(HERE / "config.yaml", overlay=config)
    if not workflow.dryrun:
        check_writable(config["results"])
    study = Study(config)
    study.check()
    prediction = Prediction(study) if config["clips"] else None
except MerflowError as error:
    raise WorkflowError(str(error)) from None
os.environ[DEVICE] = config["device"]
logger.addFilter(
    Watcher(
        typed_in=workflow.workdir_init,
        resume=how_to_resume(HERE, Path.cwd()),
        real=lambda: workflow.is_main_process and not workflow.dryrun and not workflow.touch,
    )
)


pathvars:
    results=config["results"],
    logs=f"{config['results']}/logs",
    benchmarks=f"{config['results']}/benchmarks",


wildcard_constraints:
    dataset=r"[^/]+",
    prep=r"[^/]+",
    subject=r"[^/]+",
    graph=r"[^/]+",
    weights=r"[^/]+",
    signal=r"[^/-]+",
    macro=r"[^/]+",
    experiment=r"[^/]+",


report: "workflow/report/workflow.rst"


rule all:
    default_target: True
    input:
        f"<results>/{study.name}/report.html",
        f"<results>/{study.name}/metrics.csv",
        f"<results>/{study.name}/predictions.csv",
        f"<results>/{study.name}/audit.csv",
        f"<results>/{study.name}/differences.csv",
        f"<results>/{study.name}/calibration.csv",
        f"<results>/{study.name}/reliability.csv",
        f"<results>/{study.name}/coverage.csv",
        expand(f"<results>/{study.name}/experiments/{{experiment}}/ensemble.json", experiment=study.trained),


include: "workflow/rules/common.smk"
include: "workflow/rules/demo.smk"
include: "workflow/rules/index.smk"
include: "workflow/rules/align.smk"
include: "workflow/rules/keyframes.smk"
include: "workflow/rules/flow.smk"
include: "workflow/rules/cache.smk"
include: "workflow/rules/flow_images.smk"
include: "workflow/rules/graph.smk"
include: "workflow/rules/pretrain.smk"
include: "workflow/rules/features.smk"
include: "workflow/rules/splits.smk"
include: "workflow/rules/finetune.smk"
include: "workflow/rules/in_fold.smk"
include: "workflow/rules/ensemble.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/audit.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/export.smk"
include: "workflow/rules/predict.smk"


rule export:
    input:
        expand(f"<results>/{study.name}/export/{{experiment}}/model.onnx", experiment=study.exported),


rule predict:
    input:
        predicted,


rule spotting:
    input:
        f"<results>/{study.name}/spotting.csv",


onsuccess:
    if (Path(config["results"]) / study.name / "report.html").is_file():
        print(headline(Path(config["results"]) / study.name))
