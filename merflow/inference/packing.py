"""Pack the trained networks of an experiment as one archive that can be passed on (docs/weights.md)."""

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from merflow.inference.answers import clip_measures, training_ranges
from merflow.inference.ensemble import Ensemble, load_ensemble
from merflow.inference.model_card import card_text
from merflow.inference.packed import ABOUT, FORMAT
from merflow.inference.settings import PackSettings
from merflow.storage.files import atomic_write, scratch_folder
from merflow.storage.tables import AUDIT, COVERAGE, METRICS, read_table, write_table
from merflow.systems.tsdgcn.graph_arrays import load_graph, save_graph

TABLES = {"audit": AUDIT, "metrics": METRICS, "coverage": COVERAGE}
"""Tables of the study whose rows of the experiment are packed."""


def pack_weights(ensemble: Path, settings: PackSettings, tables: Mapping[str, Path], output: Path) -> None:
    """Write the networks of an experiment, and what is known of them, as one archive.

    Args:
        ensemble: ``ensemble.json`` of the experiment.
        settings: what the archive says of the training.
        tables: ``audit``, ``metrics``, ``coverage`` and ``calibration`` of the study.
        output: zip file, written atomically.

    Raises:
        InputError: a file is missing or damaged.
    """
    loaded = load_ensemble(ensemble)
    pairs = zip(settings.training_caches, settings.training_quality, strict=True)
    ranges = training_ranges([clip_measures(*pair) for pair in pairs])
    with scratch_folder(output) as folder:
        about = dict(loaded.metadata) | _copy_arrays(loaded, folder)
        if settings.scorer:
            (folder / "scorer.safetensors").write_bytes(Path(settings.scorer).read_bytes())
        for name, columns in TABLES.items():
            table = read_table(tables[name], columns)
            write_table(table[table["experiment"] == settings.experiment], folder / f"{name}.csv", columns)
        members = len(loaded.metadata["members"])
        card = card_text(loaded, settings.card, members, tables["metrics"], tables["calibration"])
        (folder / "model_card.md").write_text(card, encoding="utf-8")
        files = {
            file.relative_to(folder).as_posix(): file.read_bytes()
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        }
    about |= {
        "format": FORMAT,
        "merflow": settings.version,
        "study": settings.study,
        "preparation": settings.preparation,
        "people": settings.people,
        "clips": settings.clips,
        "datasets": list(settings.card.datasets),
        "fps": list(settings.training_fps),
        "ranges": ranges,
        "digests": {name: sha256(content).hexdigest() for name, content in files.items()},
    }
    files = {ABOUT: (json.dumps(about, indent=1, sort_keys=True) + "\n").encode()} | files
    with atomic_write(output) as temporary, ZipFile(temporary, "w") as archive:
        for name, content in files.items():
            archive.writestr(ZipInfo(name), content, ZIP_DEFLATED)


def _copy_arrays(ensemble: Ensemble, folder: Path) -> dict[str, Any]:
    """Copy models, shared weights and graphs; returns ``members`` and ``networks`` of the metadata with the new names.

    Graphs are HDF5 in a study and safetensors in the archive.
    """
    metadata, results = ensemble.metadata, ensemble.results
    networks = [files for of_seed in metadata["networks"].values() for files in of_seed]
    names = _numbered("models", [member["file"] for member in metadata["members"]])
    names |= _numbered("pretrained", [files["weights"] for files in networks if "weights" in files])
    graphs = _numbered("graphs", [files["graph"] for files in networks])
    for old, new in (names | graphs).items():
        (folder / new).parent.mkdir(exist_ok=True)
        if old in graphs:
            save_graph(load_graph(results / old), folder / new)
        else:
            (folder / new).write_bytes((results / old).read_bytes())
    new_names = names | graphs
    return {
        "members": [member | {"file": new_names[member["file"]]} for member in metadata["members"]],
        "networks": {
            seed: [{kind: new_names[file] for kind, file in files.items()} for files in of_seed]
            for seed, of_seed in metadata["networks"].items()
        },
    }


def _numbered(folder: str, files: Sequence[str]) -> dict[str, str]:
    """Return a new name for each file."""
    return {file: f"{folder}/{number}.safetensors" for number, file in enumerate(dict.fromkeys(files))}
