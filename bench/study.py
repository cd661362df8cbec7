"""CPU time of the study of Tables IV, V, VI and VII of the TSDGCN paper on the demo. Never run by the tests.

    python bench/study.py [--work FOLDER] [--folds 3] [--json]

Three ways to the same tables, pre-trained weights given, one thread, in one run:

- ours: features are extracted once per network; heads train together (merflow.systems.tsdgcn.head_training);
- one by one: the same features; every head by itself, in a plain training loop (merflow.learning.fit.fit);
- naive: features are extracted anew, and one head trained, for every cell, fold and repeat.

The second and the third are measured on a few cells of every table and a few folds, and multiplied. They profit from
this library's network, which is ten times as fast as PyTorch Geometric's (bench/sgcn.py).

The demo's clips, graphs and weights are made first by the workflow (minutes, not counted), in a temporary folder or in
FOLDER, where the next run finds them.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
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
from merflow.runtime.params import from_params  # noqa: E402
from merflow.study.config import load_config  # noqa: E402
from merflow.study.study import Study  # noqa: E402
from merflow.systems.samples import FoldData, Samples  # noqa: E402
from merflow.systems.settings import CellSettings, FinetuneSettings  # noqa: E402
from merflow.systems.tsdgcn.features import extract  # noqa: E402
from merflow.systems.tsdgcn.fusion import load_features  # noqa: E402
from merflow.systems.tsdgcn.heads import Head, Standardizer, TrainedHead  # noqa: E402
from merflow.systems.tsdgcn.variant_tables import run_table  # noqa: E402

TABLES = {"IV": "focal", "V": "focal", "VI": "graphs", "VII": "ablation"}
SAMPLED = {"IV": (6, 18), "V": (6, 18), "VI": (2, 5, 9, 16), "VII": (0, 1, 4, 5)}
"""Cells of each table that are measured: of Table VI one graph and two, spatial and temporal."""
TARGETS = {"naive_over_ours": 20, "one_by_one_over_ours": 5}


def prepare(work: Path) -> Study:
    """Make the demo's caches, graphs and weights by the workflow, and return the study."""
    overlay = yaml.safe_load((REPO / "studies" / "tsdgcn_demo.yaml").read_text()) | {"results": str(work / "results")}
    write_study(work, overlay)
    snakemake(work, "--quiet", "all", "--until", "extract_features", "make_splits")
    return Study(load_config(REPO / "config.yaml", overlay))


def seconds(action: Callable[[], Any]) -> float:
    """CPU seconds of this process."""
    start = time.process_time()
    action()
    return time.process_time() - start


def extractions(study: Study, features: dict[str, Path]) -> Iterator[Callable[[], None]]:
    """Extract the features of every network of the study, one call each; ``features``: where each file is to be."""
    for file, output in features.items():
        name = Path(file).parent.name
        weights = Path(study.results, "pretrained", "demo-macro", "default", f"{name}.safetensors")
        graph = Path(study.results, "graphs", f"{study.weights(name)['graph']}.h5")
        cache = Path(study.results, "data", "demo-micro", "default", "cache.h5")
        yield partial(extract, cache, weights, graph, output, "magnitude")


def head_alone(samples: Samples, branch: np.ndarray, fold: Fold, settings: FinetuneSettings) -> None:
    """Train and test one head of one fold by itself."""
    data, own = FoldData.of(fold, samples.labels, (0, fold.number)), settings.head
    standardizer, each = Standardizer.fit(samples.rows, data.train, branch), samples.rows.shape[1]

    def rows(places: np.ndarray, labels: np.ndarray) -> Rows:
        x = standardizer.transform(samples.rows[places])
        return Rows(torch.from_numpy(x.reshape(-1, x.shape[2])), torch.from_numpy(np.repeat(labels, each)))

    with repeatable(*data.seed):
        head = Head(samples.rows.shape[2], own.hidden, len(samples.classes), own.dropout)
        loss = make_loss(settings.loss, len(samples.classes))
        validation = rows(data.validation, data.validation_labels)
        training = fit(head, loss, rows(data.train, data.train_labels), validation, own.schedule)
    trained = TrainedHead(head, standardizer, training)
    trained.probabilities(samples.rows[fold.test])
    trained.probabilities(samples.rows[data.train])


def measure(work: Path, folds: int) -> dict[str, Any]:
    """All figures."""
    study = prepare(work)
    cells = {table: [from_params(CellSettings, cell) for cell in study.cells(name)] for table, name in TABLES.items()}
    torch.set_num_threads(1)
    figures: dict[str, Any] = {}
    heads, batched, alone, anew = 0, 0.0, 0.0, 0.0
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        features = {file: scratch / f"{number}.h5" for number, file in enumerate(_files(cells))}
        extract_all = list(extractions(study, features))
        extract_all[0]()  # Imported, warm.
        costs = [seconds(one) for one in extract_all]
        cells = {
            table: [replace(cell, features=_moved(cell.features, features)) for cell in own]
            for table, own in cells.items()
        }
        for table, own in cells.items():
            samples, half = [own[place] for place in SAMPLED[table]], len(SAMPLED[table]) // 2
            # Interleaved: heads by themselves before and after those side by side.
            single = [head for cell in samples[:half] for head in _heads_alone(cell, folds)]
            together = seconds(lambda own=own: run_table(own, scratch / "t.csv", scratch / "t" / "p.csv", None))
            single += [head for cell in samples[half:] for head in _heads_alone(cell, folds)]
            count = sum(_count(cell) for cell in own)
            each = statistics.mean(single) * count
            figures |= {
                f"table_{table}_heads": count,
                f"table_{table}_ours_s": round(together, 2),
                f"table_{table}_one_by_one_s": round(each, 1),
                f"table_{table}_one_by_one_over_ours": round(each / together, 2),
            }
            heads, batched, alone = heads + count, batched + together, alone + each
            anew += sum(_extraction(cell, statistics.median(costs)) * _count(cell) for cell in own)
    ours, naive = batched + sum(costs), alone + anew
    return figures | {
        "heads": heads,
        "extraction_s": round(sum(costs), 1),
        "heads_ours_s": round(batched, 1),
        "ours_s": round(ours, 1),
        "one_by_one_s": round(alone, 1),
        "naive_s": round(naive, 1),
        "naive_over_ours": round(naive / ours, 1),
        "one_by_one_over_ours": round(alone / batched, 2),
    }


def _files(cells: dict[str, list[CellSettings]]) -> list[str]:
    """Feature files of all cells, each once."""
    found = [cell for own in cells.values() for cell in own]
    return list(dict.fromkeys(f for c in found for d in c.features.values() for files in d for f in files))


def _moved(features: Any, files: dict[str, Path]) -> dict[int, list[list[Path]]]:
    """Feature files of a cell in the folder of this run."""
    return {seed: [[files[f] for f in group] for group in datasets] for seed, datasets in features.items()}


def _count(cell: CellSettings) -> int:
    """Heads of a cell: one per fold of a repeat."""
    return sum(len(_folds(cell, seed)[2]) for seed in cell.features)


def _folds(cell: CellSettings, seed: int) -> tuple[Samples, np.ndarray, list[Fold]]:
    own = cell.finetune
    samples, branch = load_features(cell.features[seed], own.clips, own.branches, own.fusion)
    return samples, branch, list(read_folds(own.splits[seed], samples.clips))


def _heads_alone(cell: CellSettings, folds: int) -> list[float]:
    """CPU seconds of single heads of a cell; the folds are spread over all."""
    samples, branch, parts = _folds(cell, 0)
    chosen = np.linspace(0, len(parts) - 1, folds).round().astype(int)
    return [seconds(lambda n=n: head_alone(samples, branch, parts[n], cell.finetune)) for n in chosen]


def _extraction(cell: CellSettings, each: float) -> float:
    """CPU seconds of extracting what one cell needs, anew: its networks, the images of its branches."""
    networks = len(cell.features[0][0])
    return each * networks * len(cell.finetune.branches) / 2


def main() -> None:
    """Command line."""
    options = parser(__doc__)
    options.add_argument("--work", type=Path, help="folder for the demo's clips and weights; kept")
    options.add_argument("--folds", type=int, default=3, help="folds of each sampled cell that are trained one by one")
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        figures = measure((arguments.work or Path(temporary)).resolve(), arguments.folds)
    figures["missed"] = [
        f"{name} {figures[name]} < {least}" for name, least in TARGETS.items() if figures[name] < least
    ]
    show(figures, arguments.json)


if __name__ == "__main__":
    main()
