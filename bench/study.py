"""CPU time of the study of Tables IV, V, VI and VII of the TSDGCN paper on the demo. Never run by the tests.

    python bench/study.py [--work FOLDER] [--folds 3] [--json]

Three ways to the same tables, pre-trained weights given, one thread, in one run:

- ours: features are extracted once per network; the heads of all folds train together (tsdgcn/head_training.py);
- one by one: the same features; every head in a plain training loop (merflow.learning.fit.fit);
- naive: features are extracted, and one head is trained, for every cell, fold and repeat.

The second and third are measured on a few cells and folds of every table and multiplied. They use this library's
network, which is ten times as fast as PyTorch Geometric's (bench/sgcn.py).

The workflow first makes the demo's clips, graphs and weights (minutes, not counted), in a temporary folder or in
FOLDER, where the next run reads them.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from common import REPO, parser, show, snakemake, write_study

from merflow.runtime.script_context import THREADS  # noqa: E402

os.environ.update(THREADS)

import numpy as np  # noqa: E402
import torch  # noqa: E402
import yaml  # noqa: E402

from merflow.learning.fit import Rows, fit, repeatable  # noqa: E402
from merflow.learning.losses import make_loss  # noqa: E402
from merflow.protocols.folds import Fold  # noqa: E402
from merflow.protocols.splits import read_folds  # noqa: E402
from merflow.study.load import load_config  # noqa: E402
from merflow.study.plan import Plan, plan_study  # noqa: E402
from merflow.systems.samples import FoldData, Samples  # noqa: E402
from merflow.systems.settings import CellSettings, FinetuneSettings  # noqa: E402
from merflow.systems.tsdgcn.features import extract  # noqa: E402
from merflow.systems.tsdgcn.fusion import load_features  # noqa: E402
from merflow.systems.tsdgcn.heads import Head, Standardizer, TrainedHead  # noqa: E402
from merflow.systems.tsdgcn.variant_tables import run_table  # noqa: E402

TABLES = {"IV": "focal", "V": "focal", "VI": "graphs", "VII": "ablation"}
SAMPLED = {"IV": (6, 18), "V": (6, 18), "VI": (2, 5, 9, 16), "VII": (0, 1, 4, 5)}
"""Cells of each table that are measured: of Table VI one graph and two, spatial and temporal."""
TARGETS = {"naive_over_ours": 20, "one_by_one_over_ours": 2.5}


def prepare(work: Path) -> Plan:
    """Make the demo's caches, graphs and weights by the workflow, and return the study."""
    overlay = yaml.safe_load((REPO / "studies" / "tsdgcn_demo.yaml").read_text()) | {"results": str(work / "results")}
    write_study(work, overlay)
    snakemake(work, "--quiet", "all", "--until", "extract_features", "make_splits")
    return plan_study(load_config(REPO / "config.yaml", overlay))


def cpu_seconds(action: Callable[[], Any]) -> float:
    """Run ``action`` and return its CPU seconds in this process."""
    start = time.process_time()
    action()
    return time.process_time() - start


def extractions(study: Plan, features: dict[str, Path]) -> Iterator[Callable[[], None]]:
    """Yield one call per network that extracts its features; ``features`` maps each file to where it is written."""
    for file, output in features.items():
        name = Path(file).parent.name
        weights = study.paths.weights("demo-macro", "default", name)
        graph = study.paths.graph(study.training.networks_by_weights[name].graph)
        cache = study.paths.cache("demo-micro", "default")
        yield partial(extract, Path(cache), Path(weights), Path(graph), output, "magnitude")


def feature_files(cells: Iterable[CellSettings]) -> list[str]:
    """Return the feature files of all cells, each once."""
    groups = (group for cell in cells for datasets in cell.features.values() for group in datasets)
    return list(dict.fromkeys(str(file) for group in groups for file in group))


def with_features(cell: CellSettings, files: dict[str, Path]) -> CellSettings:
    """Return the cell with the feature files of this run."""
    features = {
        seed: [[files[str(file)] for file in group] for group in datasets] for seed, datasets in cell.features.items()
    }
    return replace(cell, features=features)


def samples_and_folds(cell: CellSettings, seed: int) -> tuple[Samples, np.ndarray, list[Fold]]:
    """Return the samples of a cell, the branch of each row, and the folds of a repeat."""
    settings = cell.finetune
    samples, branch = load_features(cell.features[seed], settings.clips, settings.inputs)
    return samples, branch, list(read_folds(settings.splits[seed], samples.clips))


def count_heads(cell: CellSettings) -> int:
    """Return the number of heads of a cell: one per fold and repeat."""
    return sum(len(samples_and_folds(cell, seed)[2]) for seed in cell.features)


def train_single_head(samples: Samples, branch: np.ndarray, fold: Fold, settings: FinetuneSettings) -> None:
    """Train and test the head of one fold in a plain training loop."""
    data, head_settings = FoldData.of(fold, samples.labels, (0, fold.number)), settings.head
    standardizer = Standardizer.fit(samples.rows, data.train, branch)
    _, count, width = samples.rows.shape
    together = count if settings.inputs.fusion == "clip" else 1  # rows of a sample

    def rows(clips: np.ndarray, labels: np.ndarray) -> Rows:
        inputs = standardizer.transform(samples.rows[clips])
        targets = np.repeat(labels, count // together)
        return Rows(torch.from_numpy(inputs.reshape(-1, together * width)), torch.from_numpy(targets))

    with repeatable(*data.seed):
        head = Head(width, head_settings.hidden, len(samples.classes), head_settings.dropout, together)
        loss = make_loss(settings.loss, data.train_labels, len(samples.classes))
        validation = rows(data.validation, data.validation_labels)
        training = fit(head, loss, rows(data.train, data.train_labels), validation, head_settings)
    trained = TrainedHead(head, standardizer, training)
    trained.probabilities(samples.rows[fold.test])
    trained.probabilities(samples.rows[data.train])


def single_head_seconds(cell: CellSettings, count: int) -> list[float]:
    """Return the CPU seconds of ``count`` single heads of a cell, with folds spread over all."""
    samples, branch, folds = samples_and_folds(cell, 0)
    chosen = np.linspace(0, len(folds) - 1, count).round().astype(int)
    return [cpu_seconds(partial(train_single_head, samples, branch, folds[n], cell.finetune)) for n in chosen]


def extraction_seconds(cell: CellSettings, each: float) -> float:
    """Return the CPU seconds to extract what one cell needs: its networks, the images of its branches."""
    return each * len(cell.features[0][0]) * len(cell.finetune.inputs.branches) / 2


def measure(work: Path, folds: int) -> dict[str, Any]:
    """Return all figures."""
    study = prepare(work)
    tables = {table: study.training.cells(name) for table, name in TABLES.items()}
    torch.set_num_threads(1)
    heads, heads_ours, one_by_one, extracted_again = 0, 0.0, 0.0, 0.0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        names = feature_files(cell for cells in tables.values() for cell in cells)
        files = {name: folder / f"{number}.h5" for number, name in enumerate(names)}
        calls = list(extractions(study, files))
        calls[0]()  # Imports and warms up.
        extraction = [cpu_seconds(call) for call in calls]
        for table, stored in tables.items():
            cells = [with_features(cell, files) for cell in stored]
            sampled, half = [cells[index] for index in SAMPLED[table]], len(SAMPLED[table]) // 2
            # Single heads are timed before and after the table, so that a change of the machine's load affects both.
            single = [cost for cell in sampled[:half] for cost in single_head_seconds(cell, folds)]
            together = cpu_seconds(partial(run_table, cells, folder / "t.csv", folder / "t" / "p.csv", None))
            single += [cost for cell in sampled[half:] for cost in single_head_seconds(cell, folds)]
            count = sum(map(count_heads, cells))
            heads, heads_ours = heads + count, heads_ours + together
            one_by_one += statistics.mean(single) * count
            each = statistics.median(extraction)
            extracted_again += sum(extraction_seconds(cell, each) * count_heads(cell) for cell in cells)
    ours, naive = heads_ours + sum(extraction), one_by_one + extracted_again
    return {
        "heads": heads,
        "extraction_s": round(sum(extraction), 1),
        "heads_ours_s": round(heads_ours, 1),
        "ours_s": round(ours, 1),
        "one_by_one_s": round(one_by_one, 1),
        "naive_s": round(naive, 1),
        "naive_over_ours": round(naive / ours, 1),
        "one_by_one_over_ours": round(one_by_one / heads_ours, 2),
    }


def main() -> None:
    """Command line."""
    options = parser(__doc__)
    options.add_argument("--work", type=Path, help="folder for the demo's clips and weights; kept")
    options.add_argument("--folds", type=int, default=3, help="folds of each sampled cell that are trained one by one")
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        figures = measure((arguments.work or Path(temporary)).resolve(), arguments.folds)
    show(figures, arguments.json, TARGETS)


if __name__ == "__main__":
    main()
