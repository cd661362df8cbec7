"""The model card of an export: data, performance, intended use, and uses that are ruled out.

After Mitchell, Wu, Zaldivar, Barnes, Vasserman, Hutchinson, Spitzer, Raji, Gebru: Model Cards for Model Reporting (FAT*
2019).
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from merflow.datasets.registry import LAYOUTS
from merflow.inference.ensemble import Ensemble
from merflow.inference.settings import ExportSettings
from merflow.inference.system_ensemble import SystemEnsemble
from merflow.report.formats import templates
from merflow.storage.files import atomic_write
from merflow.storage.tables import CALIBRATION, METRICS, read_table

TEMPLATE = "model_card.md.j2"
VERSIONS = ("torch", "onnx", "onnxscript", "onnxruntime", "numpy")
"""Packages that an export depends on."""


def write_card(
    ensemble: Ensemble | SystemEnsemble,
    model: bytes,
    check: Sequence[Mapping[str, Any]],
    settings: ExportSettings,
    all_members: int,
    metrics: Path,
    calibration: Path,
    card: Path,
) -> None:
    """Write ``model_card.md``; ``model`` is the content of ``model.onnx``, ``check`` the rows of ``check.csv``."""
    text = card_text(ensemble, settings, all_members, metrics, calibration, model, check)
    with atomic_write(card) as temporary:
        temporary.write_text(text, encoding="utf-8")


def card_text(
    ensemble: Ensemble | SystemEnsemble,
    settings: ExportSettings,
    all_members: int,
    metrics: Path,
    calibration: Path,
    model: bytes = b"",
    check: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Return the model card of an export; without ``model`` and ``check`` that of packed weights (docs/weights.md)."""
    metadata, datasets, networks = ensemble.metadata, settings.datasets, ensemble.networks
    clip = clip_shapes(networks)
    reads_apex = any(network.input_settings.kind == "flow-image" for network in networks)
    table = read_table(metrics, METRICS)
    pooled = table[(table["scope"] == "pooled") & table["metric"].isin(["accuracy", "uf1", "uar"])]
    figures = {
        name: {row["metric"]: row for row in rows.to_dict("records")} for name, rows in pooled.groupby("experiment")
    }
    table = read_table(calibration, CALIBRATION)
    calibration_rows = table[table["experiment"] == metadata["experiment"]].to_dict("records")
    environment = templates(Path(__file__).parent)
    environment.filters["figure"] = _figure
    return environment.get_template(TEMPLATE).render(
        metadata=metadata,
        classes=ensemble.classes,
        networks={network.metadata["experiment"]: network for network in networks},
        clip=clip,
        datasets=datasets,
        layouts=LAYOUTS,
        counts=settings.counts,
        gated=sorted({dataset["licence"] for dataset in datasets} - {""}),
        unknown=sorted({d["name"] for d in datasets if not d["licence"] and not LAYOUTS[d["layout"]].synthetic}),
        photographs=settings.photographs,
        synthetic=all(LAYOUTS[dataset["layout"]].synthetic for dataset in datasets),
        preparation=settings.preparation,
        reached={name: figures[name] for name in [metadata["experiment"], *settings.floors] if name in figures},
        calibration={row["metric"]: row for row in calibration_rows},
        members=sum(len(network.metadata["members"]) for network in networks),
        all_members=all_members,
        check=check,
        inputs=_inputs(clip, reads_apex),
        versions={name: version(name) for name in VERSIONS} if check else {},
        digest=sha256(model).hexdigest(),
        megabytes=len(model) / 1e6,
    )


def clip_shapes(networks: Sequence[Ensemble]) -> dict[str, int]:
    """Return what a clip must have for some ensembles: ``key_frames, face_size, flows, size``, if they read them."""
    return {name: number for network in networks for name, number in network.metadata["clip"].items()}


def _inputs(clip: Mapping[str, int], reads_apex: bool) -> list[dict[str, str]]:
    """Return the inputs of the graph: ``name, type, shape, meaning``, and ``zeros``, an example in Python."""
    size = clip["size"]
    inputs: list[tuple[str, str, tuple[Any, ...], str]] = []
    if "key_frames" in clip:
        shape = ("n", clip["key_frames"], clip["face_size"], clip["face_size"])
        inputs.append(("spatial", "uint8", shape, "aligned grey crops of the key-frames"))
    if "flows" in clip:
        meaning = "flow to each key-frame: u and v in pixels of the crop, and optical strain"
        inputs.append(("flow", "float32", ("n", clip["flows"], 3, size, size), meaning))
    if reads_apex:
        inputs.append(("apex_index", "int64", ("n",), "index of the apex among the key-frames, from 0"))
    return [
        {"name": name, "type": kind, "shape": f"[{', '.join(map(str, shape))}]", "meaning": meaning}
        | {"zeros": f"np.zeros({(1, *shape[1:])}, np.{kind})"}
        for name, kind, shape, meaning in inputs
    ]


def _figure(row: Mapping[str, Any] | None) -> str:
    """Return a value with its confidence interval, if there is one."""
    if row is None:
        return ""
    value, low, high = (row[name] for name in ("value", "ci_low", "ci_high"))
    return f"{float(value):.3f}" + ("" if low != low or low == "" else f" ({float(low):.3f} to {float(high):.3f})")
